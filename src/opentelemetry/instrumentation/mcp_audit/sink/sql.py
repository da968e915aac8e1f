# SPDX-License-Identifier: Apache-2.0
"""Records into a SQL database: one transaction a batch, each record once, whoever sends it again.

A second copy of a record that is not the same goes into ``audit_conflict``; what the database itself refuses of a batch
is found by halving it, and goes into ``audit_rejected``. Everything else that fails is the database's trouble, not the
record's: the sender keeps it and comes again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any, Final

from sqlalchemy import Connection, Engine, insert, select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError, SQLAlchemyError

from opentelemetry.instrumentation.mcp_audit.integrity.canonical import canonical_form
from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord, parse_line
from opentelemetry.instrumentation.mcp_audit.integrity.values import NotARecord

from . import partitions, upsert
from .engine import engine_of, why
from .received import MAX_REJECTED_CHARACTERS, Batch, Received, Rejected
from .rows import Row, row_of
from .schema import AUDIT_CONFLICT, AUDIT_LOG, AUDIT_REJECTED
from .store import Away, Kept

# What their driver takes for trouble of the server: no JSON (3140, 3141), JSON too deep (3157), a check that failed (3819 MySQL,
# 4025 MariaDB, whose JSON columns are checked in that way).
_REFUSED_BY_MYSQL: Final = frozenset((3140, 3141, 3157, 3819, 4025))


def sql_store(url: str) -> SqlStore:
    """A store for one batch at a time. Raises as :func:`~.engine.engine_of`."""
    return SqlStore(engine_of(url, connections=1))


class SqlStore:
    """One database. Made by :func:`~.engine.engine_of`; its schema is there (``migrate.py``)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._insert: upsert.Insert = upsert.for_dialect(engine.dialect.name)

    @property
    def name(self) -> str:
        return self._engine.url.render_as_string(hide_password=True)

    def write(self, batch: Batch) -> Kept:
        """One transaction; returns after COMMIT."""
        kept, now = Kept(), datetime.now(timezone.utc)
        try:
            with self._engine.begin() as connection:
                for records, rejected in batch.chunks():
                    kept += self._chunk(connection, records, rejected, now)
        except (SQLAlchemyError, OSError) as error:
            raise Away(why(error)) from error
        return kept

    def reject(self, item: Rejected) -> None:
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(AUDIT_REJECTED), [_reject(item, datetime.now(timezone.utc))])
        except (SQLAlchemyError, OSError) as error:
            raise Away(why(error)) from error

    def ping(self) -> None:
        try:
            with self._engine.connect() as connection:
                connection.execute(select(1))
        except (SQLAlchemyError, OSError) as error:
            raise Away(f"{self.name}: {why(error)}") from error

    def tend(self) -> list[str]:
        """The partitions of the months ahead."""
        try:
            return partitions.make_ahead(self._engine)
        except SQLAlchemyError as error:
            return [why(error)]

    def close(self) -> None:
        self._engine.dispose()

    # ---------------------------------------------------------------------------------------------------------------

    def _chunk(
        self, connection: Connection, records: Sequence[Received], rejected: Sequence[Rejected], now: datetime
    ) -> Kept:
        first, again, bad = _rows(records, now)
        stored, more = self._halve(connection, list(first.values()))
        there, conflicts = self._compare(connection, first, again, stored, refused=len(more))
        if conflicts:
            connection.execute(insert(AUDIT_CONFLICT), [_conflict(row, why, now) for row, why in conflicts])
        refused = [*rejected, *bad, *more]
        if refused:
            connection.execute(insert(AUDIT_REJECTED), [_reject(item, now) for item in refused])
        return Kept(stored, there, len(conflicts), len(refused))

    def _halve(self, connection: Connection, rows: list[Row]) -> tuple[int, list[Rejected]]:
        """Insert; of rows of which the database refuses one, each half by itself. How many are new, and the refused."""
        if not rows:
            return 0, []
        try:
            with connection.begin_nested():
                return self._insert(connection, rows), []
        except DBAPIError as error:
            if not _about_a_row(error):
                raise
            if len(rows) == 1:
                return 0, [Rejected(f"the database refuses it: {why(error)}", rows[0]["line"])]
        middle = len(rows) // 2
        first, refused = self._halve(connection, rows[:middle])
        second, more = self._halve(connection, rows[middle:])
        return first + second, refused + more

    def _compare(
        self,
        connection: Connection,
        first: dict[str, Row],
        again: list[Row],
        stored: int,
        *,
        refused: int,
    ) -> tuple[int, list[tuple[Row, str]]]:
        """How many rows were there already the same, and those that were there otherwise, with the difference."""
        rows = list(again)
        if stored + refused < len(first):
            rows += first.values()
        if not rows:
            return 0, []
        there = _lines(connection, {row["record_id"] for row in rows})
        same, conflicts = -stored if len(rows) > len(again) else 0, []
        for row in rows:
            line = there.get(row["record_id"])
            if line is None:
                continue  # refused
            difference = None if line == row["line"] else _difference(line, row["line"])
            if difference is None:
                same += 1
            else:
                conflicts.append((row, difference))
        return same, conflicts


def _about_a_row(error: DBAPIError) -> bool:
    """Whether the database refuses what is in a row: then waiting mends nothing."""
    if isinstance(error, DataError | IntegrityError):
        return True
    said: tuple[object, ...] = getattr(error.orig, "args", ())
    return isinstance(error, OperationalError) and bool(said) and said[0] in _REFUSED_BY_MYSQL


def _rows(records: Sequence[Received], now: datetime) -> tuple[dict[str, Row], list[Row], list[Rejected]]:
    """The rows by record id, further ones of an id, and what is none."""
    first: dict[str, Row] = {}
    again: list[Row] = []
    bad: list[Rejected] = []
    for received in records:
        try:
            row = row_of(received)
        except NotARecord as error:
            bad.append(Rejected(str(error), received.line))
            continue
        row["received_at"] = now
        if first.setdefault(row["record_id"], row) is not row:
            again.append(row)
    return first, again, bad


def _lines(connection: Connection, ids: set[str]) -> dict[str, str]:
    rows = connection.execute(select(AUDIT_LOG.c.record_id, AUDIT_LOG.c.line).where(AUDIT_LOG.c.record_id.in_(ids)))
    return {str(record_id): line for record_id, line in rows}


def _difference(stored: str, came: str) -> str | None:
    """Why two lines of one id are not the same record; None when they are, though spelled or carried otherwise.

    A copy without content is a view of the same record; its digest is under the hash.
    """
    before, after = parse_line(stored.encode())[0], parse_line(came.encode())[0]
    if _form(before) != _form(after):
        return "other attributes, event, time or trace"
    if before.body is not None and after.body is not None and before.body != after.body:
        return "another body"
    return None


def _form(record: StoredRecord) -> bytes:
    return canonical_form(record.attributes.items(), record.event_name, record.time, record.trace_id, record.span_id)


def _conflict(row: Row, why: str, now: datetime) -> dict[str, Any]:
    return {
        "record_id": row["record_id"],
        "reason": why,
        "received_at": now,
        "line_hash": _hash(row["line"]),
        "line": row["line"],
    }


def _reject(item: Rejected, now: datetime) -> dict[str, Any]:
    return {
        "reason": item.reason.replace("\0", "�")[:1024],
        "received_at": now,
        "line_hash": _hash(item.line),
        "line": item.line[:MAX_REJECTED_CHARACTERS].replace("\0", "�"),
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
