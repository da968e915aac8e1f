# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL: ``audit_log`` in months, made ahead, so that old ones can be detached whole. Elsewhere nothing is to do.

A month is a range of record ids: a UUIDv7 (RFC 9562, section 5.7) begins with 48 bits of milliseconds.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

MONTHS_AHEAD: Final = 3
# Two processes that start at once must not both make them. A number of ours, as good as any.
_LOCK: Final = 0x6D63705F61756474


class Month(NamedTuple):
    """One partition: its name, the first id in it, the first one behind it."""

    name: str
    first: str
    behind: str


def wanted(now: datetime) -> list[Month]:
    """The month of ``now``, the one before (records that come late) and those ahead."""
    return [_month(now.year, now.month + step) for step in range(-1, MONTHS_AHEAD + 1)]


def make_ahead(engine: Engine, now: datetime | None = None) -> list[str]:
    """Make the partitions that are missing. Returns sentences about those that could not be made.

    One cannot be made where its records lie in ``audit_log_other`` already; they stay there, and nothing is lost.
    """
    if engine.dialect.name != "postgresql":
        return []
    said: list[str] = []
    for month in _lacking(engine, now):
        try:
            with engine.begin() as connection:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
                # Names and bounds are made here, of digits; a partition's bound cannot be a parameter.
                connection.execute(
                    text(
                        f"CREATE TABLE IF NOT EXISTS {month.name} PARTITION OF audit_log "
                        f"FOR VALUES FROM ('{month.first}') TO ('{month.behind}')"
                    )
                )
        except DBAPIError as error:
            said.append(f"partition {month.name} could not be made: {str(error.orig).splitlines()[0]}")
    return said


def missing(engine: Engine, now: datetime | None = None) -> list[str]:
    """The months ahead that have no partition, in sentences."""
    if engine.dialect.name != "postgresql":
        return []
    return [f"there is no partition {month.name}: run sink --migrate" for month in _lacking(engine, now)]


def _lacking(engine: Engine, now: datetime | None) -> Iterator[Month]:
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
                "WHERE i.inhparent = CAST('audit_log' AS regclass)"
            )
        )
        there = {name for (name,) in rows}
    return (month for month in wanted(now or datetime.now(timezone.utc)) if month.name not in there)


def _month(year: int, month: int) -> Month:
    first, behind = (
        datetime(year + (m - 1) // 12, (m - 1) % 12 + 1, 1, tzinfo=timezone.utc) for m in (month, month + 1)
    )
    return Month(f"audit_log_{first:%Y_%m}", _lowest_id(first), _lowest_id(behind))


def _lowest_id(moment: datetime) -> str:
    milliseconds = int(moment.timestamp() * 1000)
    return str(uuid.UUID(int=milliseconds << 80))
