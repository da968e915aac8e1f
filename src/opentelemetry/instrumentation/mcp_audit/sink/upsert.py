# SPDX-License-Identifier: Apache-2.0
"""Insert rows whose ids are not there yet, in each dialect's fastest way. Each returns how many were new.

The statements are made of the table's own column names; every value is a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from .copy_text import NAMES, copy_text
from .rows import Row
from .schema import COLUMNS

_NAMES: Final = ", ".join(COLUMNS)
_INTO: Final = f"INSERT INTO audit_log ({_NAMES})"
_VALUES: Final = f"VALUES ({', '.join(f':{name}' for name in COLUMNS)})"
_TEMPORARY: Final = "audit_incoming"
_SQLITE_TIME: Final = "%Y-%m-%d %H:%M:%S.%f"


def for_dialect(name: str) -> Callable[[Connection, Sequence[Row]], int]:
    """The insert of a dialect. Raises ValueError for one that is not known."""
    known = {"postgresql": _copied, "mysql": _left_alone, "mariadb": _left_alone, "sqlite": _passed_over}
    if name not in known:
        raise ValueError(f"no way is known to write to {name}")
    return known[name]


def _copied(connection: Connection, rows: Sequence[Row]) -> int:
    """PostgreSQL: COPY into a table of this session, and from there what is new."""
    driver: Any = connection.connection.driver_connection
    try:
        return _through_copy(driver, rows)
    except connection.dialect.loaded_dbapi.Error as error:
        # We speak to the driver ourselves here; what it says must look as everywhere else.
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


def _through_copy(driver: Any, rows: Sequence[Row]) -> int:
    with driver.cursor() as cursor:
        cursor.execute(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {_TEMPORARY} ON COMMIT DELETE ROWS AS "
            f"SELECT {_NAMES} FROM audit_log WITH NO DATA"
        )
        # COMMIT empties it; what an earlier part of the same batch left is not to be taken for this one's.
        cursor.execute(f"DELETE FROM {_TEMPORARY}")
        with cursor.copy(f"COPY {_TEMPORARY} ({', '.join(NAMES)}) FROM STDIN") as copy:
            copy.write(copy_text(rows))
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
