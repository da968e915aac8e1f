# SPDX-License-Identifier: Apache-2.0
"""Insert rows whose ids are not there yet, in each dialect's fastest way. Each returns how many were new.

The statements are made of the table's own column names; every value is a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from .copy_text import NAMES, copy_text
from .rows import Row
from .schema import COLUMNS

Insert = Callable[[Connection, Sequence[Row]], int]

_NAMES: Final = ", ".join(COLUMNS)
_INTO: Final = f"INSERT INTO audit_log ({_NAMES})"
_VALUES: Final = f"VALUES ({', '.join(f':{name}' for name in COLUMNS)})"
_TEMPORARY: Final = "audit_incoming"
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_UNIQUE_VIOLATION: Final = "23505"
_SQLITE_TIME: Final = "%Y-%m-%d %H:%M:%S.%f"


def for_dialect(name: str) -> Insert:
    """The insert of a dialect. Raises ValueError for one that is not known."""
    if name == "postgresql":
        return Copied()
    known = {"mysql": _left_alone, "mariadb": _left_alone, "sqlite": _passed_over}
    if name not in known:
        raise ValueError(f"no way is known to write to {name}")
    return known[name]


class Copied:
    """PostgreSQL: COPY into a table of this session, and from there what is new.

    Nearly always all of it is new, and then the way by that table costs half as much again as COPY to where the rows
    belong. So that is tried, under a savepoint, until a batch repeats a record (a sender that was not answered; a replay),
    and again when one does not: who repeats does so for some time, and each attempt that fails leaves dead rows behind.
    """

    def __init__(self) -> None:
        self._all_new = True

    def __call__(self, connection: Connection, rows: Sequence[Row]) -> int:
        content = copy_text(rows)
        if self._all_new:
            try:
                with connection.begin_nested():
                    return _by_driver(connection, lambda driver: _copy(driver, "audit_log", content))
            except IntegrityError as error:
                if getattr(error.orig, "sqlstate", None) != _UNIQUE_VIOLATION:
                    raise
        new = _by_driver(connection, lambda driver: _through_temporary(driver, content))
        self._all_new = new == len(rows)
        return new


def _by_driver(connection: Connection, work: Callable[[Any], int]) -> int:
    """Do what SQLAlchemy has no word for, on the driver's own connection; what it says must look as everywhere else."""
    driver: Any = connection.connection.driver_connection
    try:
        return work(driver)
    except connection.dialect.loaded_dbapi.Error as error:
        if driver.closed:
            connection.invalidate(error)
        raise DBAPIError.instance(
            "COPY",
            None,
            error,
            connection.dialect.loaded_dbapi.Error,
            hide_parameters=True,
            connection_invalidated=driver.closed,
            dialect=connection.dialect,
        ) from error


def _copy(driver: Any, table: str, content: bytes) -> int:
    with driver.cursor() as cursor:
        with cursor.copy(f"COPY {table} ({', '.join(NAMES)}) FROM STDIN") as copy:
            copy.write(content)
        rows: int = cursor.rowcount
    return rows


def _through_temporary(driver: Any, content: bytes) -> int:
    with driver.cursor() as cursor:
        cursor.execute(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {_TEMPORARY} ON COMMIT DELETE ROWS AS "
            f"SELECT {_NAMES} FROM audit_log WITH NO DATA"
        )
        # COMMIT empties it; what an earlier part of the same batch left is not to be taken for this one's.
        cursor.execute(f"DELETE FROM {_TEMPORARY}")
        _copy(driver, _TEMPORARY, content)
        cursor.execute(f"{_INTO} SELECT {_NAMES} FROM {_TEMPORARY} ON CONFLICT (record_id) DO NOTHING")
        new: int = cursor.rowcount
    return new


def _left_alone(connection: Connection, rows: Sequence[Row]) -> int:
    """MySQL, MariaDB: a row that is there is set to what it is. Not INSERT IGNORE, which forgives every other fault too."""
    statement = text(f"{_INTO} {_VALUES} ON DUPLICATE KEY UPDATE record_id = record_id")
    return connection.execute(statement, list(rows)).rowcount


def _passed_over(connection: Connection, rows: Sequence[Row]) -> int:
    """SQLite, which knows no type of time: text, as SQLAlchemy reads it again."""
    statement = text(f"{_INTO} {_VALUES} ON CONFLICT (record_id) DO NOTHING")
    times = ("timestamp", "received_at")
    values = [{**row, **{name: row[name].strftime(_SQLITE_TIME) for name in times}} for row in rows]
    return connection.execute(statement, values).rowcount
