# SPDX-License-Identifier: Apache-2.0
"""``otel-mcp-audit sink``: keep what a Collector sends in SQL databases and JSON-lines files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._exits import EXIT_UNREADABLE
from ._listen import listen_options, listening, needed, serve

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from opentelemetry.instrumentation.mcp_audit.sink.store import Store

_PACKAGES = ("alembic", "sqlalchemy", "starlette", "uvicorn")


@click.command(
    epilog="""\b
Examples:
  otel-mcp-audit sink --to postgresql://audit@db/audit --migrate
  otel-mcp-audit sink --to postgresql://audit@db/audit --to 'file:/var/log/mcp/audit.jsonl?format=seed'
  AUDIT_SINK_TO=mysql://audit:secret@db/audit otel-mcp-audit sink --token-file /run/secrets/sink

\b
A URL is postgresql://, mysql://, mariadb://, sqlite:///PATH or
file:PATH[?format=otlp|seed|ocsf][&max_megabytes=N]. Give one with a password by the
variable AUDIT_SINK_TO (several with spaces between): others see a command line.

\b
Exit codes: 0 stopped, or --check found all there; 1 --check found something
missing; 2 a store cannot be used, or wrong usage."""
)
@click.option(
    "--to", "urls", multiple=True, envvar="AUDIT_SINK_TO", metavar="URL", help="Where to keep records; repeat."
)
@listen_options(4319)
@click.option("--token-file", type=click.Path(dir_okay=False), help="File with the token that senders must show.")
@click.option(
    "--max-body-mib", type=click.IntRange(1, 512), default=16, show_default=True, help="Largest body, unpacked."
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Batches written at once; for a database server, each by a process of its own.",
)
@click.option("--migrate", is_flag=True, help="Bring the databases to this release's schema, and end.")
@click.option("--check", is_flag=True, help="Say what the databases lack, and end.")
def command(
    urls: Sequence[str],
    listen: str,
    token_file: str | None,
    tls_certificate: str | None,
    tls_key: str | None,
    tls_client_ca: str | None,
    max_body_mib: int,
    workers: int,
    migrate: bool,
    check: bool,
) -> None:
    """An OTLP/HTTP endpoint that keeps records in SQL databases and files.

    It answers 200 when every store has the records on its disk, each once; 503 while one has not.
    """
    needed(_PACKAGES, "sql")
    if not urls:
        raise click.UsageError("give at least one --to URL")
    if migrate or check:
        raise click.exceptions.Exit(_schemas(urls, migrate))
    where = listening(listen, tls_certificate, tls_key, tls_client_ca)
    token = None if token_file is None else _token(token_file)
    if token is None and not where.proves_clients and not where.is_loopback:
        raise click.UsageError(
            f"{where.host} can be reached from elsewhere: give --token-file or --tls-client-ca, or listen on 127.0.0.1"
        )
    with ExitStack() as closing:
        stores = [_store(url, workers, closing) for url in urls]
        for store in stores:
            click.echo(f"records go to {store.name}", err=True)

        from opentelemetry.instrumentation.mcp_audit.sink.app import Limits, Service
        from opentelemetry.instrumentation.mcp_audit.sink.writers import collect_seldom

        body = max_body_mib * 1024 * 1024
        collect_seldom()
        serve(Service(stores, Limits(body, 2 * body, workers), token).asgi(), where)


def _store(url: str, workers: int, closing: ExitStack) -> Store:
    """The store of a URL, ready to be written to. Leaves with 2 and a sentence where it is not."""
    from sqlalchemy.exc import SQLAlchemyError

    from opentelemetry.instrumentation.mcp_audit.sink.engine import why
    from opentelemetry.instrumentation.mcp_audit.sink.files import file_store
    from opentelemetry.instrumentation.mcp_audit.sink.migrate import missing
    from opentelemetry.instrumentation.mcp_audit.sink.sql import SqlStore, sql_store
    from opentelemetry.instrumentation.mcp_audit.sink.writers import Writers

    store: Store
    if url.startswith("file:"):
        try:
            store = file_store(url)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
    else:
        engine = _engine(url, workers)
        store = SqlStore(engine)
        try:
            for sentence in store.tend():
                click.echo(f"{store.name}: {sentence}", err=True)
            lacks = missing(engine)
        except SQLAlchemyError as error:
            raise _unusable(f"{store.name}: {why(error)}") from None
        if lacks:
            raise _unusable(f"{store.name}: {'; '.join(lacks)}")
        # SQLite has one writer at a time, whoever it is.
        if workers > 1 and engine.dialect.name != "sqlite":
            store = Writers(store, partial(sql_store, url), workers)
    closing.callback(store.close)
    return store


def _schemas(urls: Sequence[str], migrate: bool) -> int:
    """``--migrate`` or ``--check`` on each database; the exit code."""
    from alembic.util.exc import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    from opentelemetry.instrumentation.mcp_audit.sink import migrate as schema
    from opentelemetry.instrumentation.mcp_audit.sink.engine import why

    lacking = False
    for url in urls:
        if url.startswith("file:"):
            continue
        engine = _engine(url, 1)
        name = engine.url.render_as_string(hide_password=True)
        try:
            if migrate:
                before, after = schema.migrate(engine)
                click.echo(f"{name}: schema {after}" + (f" (was {before or 'empty'})" if before != after else ""))
            lacks = schema.missing(engine)
        except (SQLAlchemyError, CommandError, OSError) as error:
            raise _unusable(f"{name}: {why(error)}") from None
        finally:
            engine.dispose()
        for sentence in lacks:
            click.echo(f"{name}: {sentence}")
        lacking = lacking or bool(lacks)
        if not lacks and not migrate:
            click.echo(f"{name}: all there")
    return 1 if lacking else 0


def _engine(url: str, connections: int) -> Engine:
    from opentelemetry.instrumentation.mcp_audit.sink.engine import engine_of

    try:
        return engine_of(url, connections=connections)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _token(file: str) -> bytes:
    try:
        token = Path(file).read_bytes().strip()
        mode = os.stat(file).st_mode
    except OSError as error:
        raise click.UsageError(f"--token-file: {file}: {error.strerror}") from None
    if len(token) < 16:
        raise click.UsageError(f"--token-file: {file} holds no token of at least 16 bytes")
    if os.name == "posix" and mode & 0o007:
        raise click.UsageError(f"--token-file: {file} can be read by everybody: chmod o-rwx {file}")
    return token


def _unusable(sentence: str) -> click.exceptions.Exit:
    """What to raise when a store cannot be used; says it."""
    click.echo(sentence, err=True)
    return click.exceptions.Exit(EXIT_UNREADABLE)
