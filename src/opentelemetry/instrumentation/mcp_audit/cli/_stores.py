# SPDX-License-Identifier: Apache-2.0
"""Databases where the reading commands take a path: ``postgresql://…``, ``mysql://…``, ``sqlite:///…``, ``clickhouse://…``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit, urlunsplit

import click

from opentelemetry.instrumentation.mcp_audit.clickhouse.address import SCHEMES, address
from opentelemetry.instrumentation.mcp_audit.clickhouse.client import ClickHouseError
from opentelemetry.instrumentation.mcp_audit.clickhouse.stored import ClickHouseRecords
from opentelemetry.instrumentation.mcp_audit.integrity.parse import Problem, StoredRecord
from opentelemetry.instrumentation.mcp_audit.integrity.report import Finding, Report

from ._exits import EXIT_UNREADABLE

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

_SQL: Final = ("postgresql://", "postgres://", "mysql://", "mariadb://", "sqlite://")


class Records(Protocol):
    """What a database holds, as the commands read it. ``name`` is its URL without the password."""

    name: str

    def records(self, since: int | None = None, until: int | None = None) -> Iterator[StoredRecord | Problem]:
        """All records, oldest first, received at or after ``since`` and before ``until`` (nanoseconds since the epoch)."""

    def record_ids(self) -> Iterator[str]:
        """The id of every record, in lower case."""

    def has_record(self, record_id: str) -> bool:
        """Whether a record is there."""

    def check(self, report: Report, boot_id: str | None) -> None:
        """Verify what is there into ``report``."""


class SqlRecords:
    """What `sink` wrote."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name = engine.url.render_as_string(hide_password=True)

    # Imported in the methods: what it needs is there only with the extra, which `opened` has asked for.

    def records(self, since: int | None = None, until: int | None = None) -> Iterator[StoredRecord | Problem]:
        from opentelemetry.instrumentation.mcp_audit.sink.stored import records

        return records(self._engine, since, until)

    def record_ids(self) -> Iterator[str]:
        from opentelemetry.instrumentation.mcp_audit.sink.stored import record_ids

        return record_ids(self._engine)

    def has_record(self, record_id: str) -> bool:
        from opentelemetry.instrumentation.mcp_audit.sink.stored import has_record

        return has_record(self._engine, record_id)

    def check(self, report: Report, boot_id: str | None) -> None:
        from opentelemetry.instrumentation.mcp_audit.sink.stored import check_store

        check_store(self._engine, self.name, report, boot_id)


def is_store(path: str) -> bool:
    """Whether a path is the URL of a database."""
    return path.startswith((*_SQL, *SCHEMES))


def without_password(place: str) -> str:
    """A URL or path as it may be shown."""
    parts = urlsplit(place)
    if parts.password is None:
        return place
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:***@{host}"))


def split(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """Files and directories, and the URLs of databases."""
    return [path for path in paths if not is_store(path)], [path for path in paths if is_store(path)]


@contextmanager
def opened(url: str) -> Iterator[Records]:
    """The database. Says what is wrong with it, and leaves with 2, also when that shows later."""
    if not url.startswith(SCHEMES):
        with _opened_sql(url) as sql:
            yield sql
        return
    try:
        found = ClickHouseRecords(address(url, os.environ))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        yield found
    except ClickHouseError as error:
        click.echo(f"{found.name}: {error}", err=True)
        raise click.exceptions.Exit(EXIT_UNREADABLE) from None


@contextmanager
def _opened_sql(url: str) -> Iterator[Records]:
    try:
        from sqlalchemy.exc import SQLAlchemyError
    except ModuleNotFoundError:
        raise click.ClickException(
            "reading a database needs the extra sql: pip install 'opentelemetry-instrumentation-mcp-audit[cli,sql]'"
        ) from None
    from opentelemetry.instrumentation.mcp_audit.sink.engine import engine_of, why

    try:
        engine = engine_of(url, connections=1)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        yield SqlRecords(engine)
    except SQLAlchemyError as error:
        click.echo(f"{engine.url.render_as_string(hide_password=True)}: {why(error)}", err=True)
        raise click.exceptions.Exit(EXIT_UNREADABLE) from None
    finally:
        engine.dispose()


def stored(urls: Sequence[str], since: int | None, until: int | None) -> Iterator[StoredRecord | Problem]:
    """The records of the databases, one database after the other, each oldest first."""
    for url in urls:
        with opened(url) as found:
            yield from found.records(since, until)


def checked(urls: Sequence[str], report: Report, boot_id: str | None) -> None:
    """Verify the databases into ``report``."""
    for url in urls:
        with opened(url) as found:
            before = len(report.streams)
            found.check(report, boot_id)
            if len(report.streams) == before:
                report.findings.append(Finding("unreadable", found.name, "there is no record in it"))
