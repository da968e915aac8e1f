# SPDX-License-Identifier: Apache-2.0
"""Databases where the reading commands take a path: ``postgresql://…``, ``mysql://…``, ``sqlite:///…``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from opentelemetry.instrumentation.mcp_audit.integrity.parse import Problem, StoredRecord
from opentelemetry.instrumentation.mcp_audit.integrity.report import Finding, Report

from ._exits import EXIT_UNREADABLE

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

_SCHEMES: Final = ("postgresql://", "postgres://", "mysql://", "mariadb://", "sqlite://")


def is_store(path: str) -> bool:
    """Whether a path is the URL of a database."""
    return path.startswith(_SCHEMES)


def split(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """Files and directories, and the URLs of databases."""
    return [path for path in paths if not is_store(path)], [path for path in paths if is_store(path)]


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    """The database. Says what is wrong with it, and leaves with 2, also when that shows later."""
    try:
        from sqlalchemy.exc import SQLAlchemyError
    except ModuleNotFoundError:
        raise click.ClickException(
            "reading a database needs the extra sql: pip install 'opentelemetry-instrumentation-mcp-audit[cli,sql]'"
        ) from None
    from opentelemetry.instrumentation.mcp_audit.sink.sql import engine_of, why

    try:
        engine = engine_of(url, connections=1)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        yield engine
    except SQLAlchemyError as error:
        click.echo(f"{engine.url.render_as_string(hide_password=True)}: {why(error)}", err=True)
        raise click.exceptions.Exit(EXIT_UNREADABLE) from None
    finally:
        engine.dispose()


def stored(urls: Sequence[str], since: int | None, until: int | None) -> Iterator[StoredRecord | Problem]:
    """The records of the databases, one database after the other, each oldest first."""
    for url in urls:
        with opened(url) as engine:
            from opentelemetry.instrumentation.mcp_audit.sink.stored import records

            yield from records(engine, since, until)


def checked(urls: Sequence[str], report: Report, boot_id: str | None) -> None:
    """Verify the databases into ``report``."""
    for url in urls:
        with opened(url) as engine:
            # Here, not above: what it needs is there only with the extra, which `opened` has asked for.
            from opentelemetry.instrumentation.mcp_audit.sink.stored import check_store

            name = engine.url.render_as_string(hide_password=True)
            before = len(report.streams)
            check_store(engine, name, report, boot_id)
            if len(report.streams) == before:
                report.findings.append(Finding("unreadable", name, "there is no record in it"))
