# SPDX-License-Identifier: Apache-2.0
"""A database by its URL: the driver, the time limits, and that a COMMIT which returned is on the disk."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

_CONNECT_SECONDS: Final = 5
_STATEMENT_SECONDS: Final = 30
_DRIVERS: Final = {
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
    "sqlite": "sqlite",
}


def engine_of(url: str, *, connections: int = 4) -> Engine:
    """An engine for a URL of :data:`_DRIVERS`. Raises ValueError that says what is wrong, without the password."""
    scheme = url.partition(":")[0]
    if scheme not in _DRIVERS:
        raise ValueError(f"{scheme}: no database of this kind; known are {', '.join(_DRIVERS)}")
    try:
        made = make_url(url).set(drivername=_DRIVERS[scheme])
    except (SQLAlchemyError, ValueError):
        raise ValueError(f"{scheme}: no database URL of the form {scheme}://USER:PASSWORD@HOST:PORT/NAME") from None
    engine = create_engine(made, hide_parameters=True, pool_pre_ping=True, **_options(made, connections))
    if made.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _sqlite_durable)
        event.listen(engine, "begin", _sqlite_begin)
    elif made.get_backend_name() == "postgresql":
        event.listen(engine, "connect", _postgresql_lz4)
    return engine


def why(error: BaseException) -> str:
    """What went wrong, for people: the first line of what the driver said: never the statement, whose parameters are the records."""
    said = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    return f"{type(error).__name__}: {(said.splitlines() or [''])[0][:300]}"


def _options(url: URL, connections: int) -> dict[str, Any]:
    kind = url.get_backend_name()
    if kind == "sqlite":
        return {"connect_args": {"timeout": _STATEMENT_SECONDS}}
    pool = {"pool_size": connections, "max_overflow": 0, "pool_timeout": _CONNECT_SECONDS}
    if kind == "postgresql":
        limits = f"-c statement_timeout={_STATEMENT_SECONDS * 1000} -c lock_timeout={_CONNECT_SECONDS * 1000}"
        return {**pool, "connect_args": {"connect_timeout": _CONNECT_SECONDS, "options": limits}}
    limits_of_pymysql = {
        "connect_timeout": _CONNECT_SECONDS,
        "read_timeout": _STATEMENT_SECONDS,
        "write_timeout": _STATEMENT_SECONDS,
        "charset": "utf8mb4",
        "init_command": "SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES'",
        # Else a row that was there already counts as one that was written.
        "client_flag": 0,
    }
    # Not the dialect's REPEATABLE READ, in which a row that another connection wrote just now is there and not seen.
    return {**pool, "connect_args": limits_of_pymysql, "isolation_level": "READ COMMITTED"}


def _postgresql_lz4(connection: Any, _: Any) -> None:
    # A row is larger than what PostgreSQL leaves as it is, and lz4 takes a fifth of the time of its default. Not all have it.
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config(name, 'lz4', false) FROM pg_settings "
            "WHERE name = 'default_toast_compression' AND 'lz4' = ANY(enumvals)"
        )
    connection.commit()


def _sqlite_durable(connection: Any, _: Any) -> None:
    # The driver begins a transaction where it pleases, so that a savepoint's end may be a COMMIT: it must not, we do.
    connection.isolation_level = None
    # COMMIT returns when the record is on the disk, and readers do not stop the writer.
    connection.execute("PRAGMA journal_mode=WAL").close()
    connection.execute("PRAGMA synchronous=FULL").close()


def _sqlite_begin(connection: Connection) -> None:
    # IMMEDIATE: a transaction that reads first and writes later would fail where another came between.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
