# SPDX-License-Identifier: Apache-2.0
"""Records out of a database again: to be shown, and to be verified against what they were when they were written.

The line is the record. The columns are for searching, so verification also holds them against the line: an edit of a
column alone, made with plain SQL, changes what people find.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any, Final

from sqlalchemy import Engine, Row, Select, select

from opentelemetry.instrumentation.mcp_audit.integrity.collected import CollectedCheck
from opentelemetry.instrumentation.mcp_audit.integrity.parse import Problem, StoredRecord, parse_line
from opentelemetry.instrumentation.mcp_audit.integrity.report import Finding, Report
from opentelemetry.instrumentation.mcp_audit.integrity.values import NotARecord

from .received import Received
from .rows import moment, row_of
from .schema import AUDIT_CONFLICT, AUDIT_LOG, AUDIT_REJECTED, COLUMNS

_AT_ONCE: Final = 500
_JSON: Final = frozenset(("params", "record"))
_NOT_COMPARED: Final = frozenset(("line", "received_at"))


def records(engine: Engine, since: int | None = None, until: int | None = None) -> Iterator[StoredRecord | Problem]:
    """All records, oldest first; those received at or after ``since`` and before ``until``, nanoseconds since the epoch.

    Raises SQLAlchemyError.
    """
    table = AUDIT_LOG.c
    query = select(table.id, table.line).order_by(table.timestamp, table.stream_id, table.sequence_number)
    # The column has microseconds: the filter may let a record too many through, never one too few.
    if since is not None:
        query = query.where(table.timestamp >= _bound(engine, since))
    if until is not None:
        query = query.where(table.timestamp <= _bound(engine, until))
    for row in _rows(engine, query):
        yield _parsed(engine, row.id, row.line)


def record_ids(engine: Engine) -> Iterator[str]:
    """The id of every record. Raises SQLAlchemyError."""
    for row in _rows(engine, select(AUDIT_LOG.c.record_id)):
        yield str(row.record_id)


def has_record(engine: Engine, record_id: str) -> bool:
    """Whether a record is there. Raises SQLAlchemyError."""
    with engine.connect() as connection:
        return connection.execute(select(AUDIT_LOG.c.id).where(AUDIT_LOG.c.record_id == record_id)).first() is not None


def check_store(engine: Engine, name: str, report: Report, boot_id: str | None) -> None:
    """Hash, content and chain of each record, and its columns, into ``report``. Raises SQLAlchemyError."""
    check = CollectedCheck(name, boot_id)
    table = AUDIT_LOG.c
    try:
        query = select(AUDIT_LOG).order_by(table.stream_id, table.sequence_number)
        for row in _rows(engine, query):
            item = _parsed(engine, row.id, row.line)
            check.feed(item)
            if isinstance(item, Problem):
                sentence = f"the line is no record: {item.what}"
                report.findings.append(Finding("violation", name, sentence, row.id, None, str(row.record_id)))
                continue
            for column in _edited(row, item):
                sentence = f"column {column} does not say what the record says"
                number = item.number
                report.findings.append(Finding("violation", name, sentence, row.id, None, item.record_id, number))
        checks, findings = check.finish()
    finally:
        check.close()
    report.findings += [finding for finding in findings if finding.kind != "note"]
    report.findings += _set_apart(engine, name)
    report.streams += [one.report for one in checks]


def _set_apart(engine: Engine, name: str) -> Iterator[Finding]:
    for row in _rows(engine, select(AUDIT_CONFLICT.c.record_id, AUDIT_CONFLICT.c.reason)):
        sentence = f"a second copy that is not the same was sent (audit_conflict): {row.reason}"
        yield Finding("note", name, sentence, None, None, str(row.record_id))
    for row in _rows(engine, select(AUDIT_REJECTED.c.id, AUDIT_REJECTED.c.reason)):
        yield Finding("note", name, f"what is no record was sent (audit_rejected {row.id}): {row.reason}")


def _edited(row: Row[Any], record: StoredRecord) -> Iterator[str]:
    """The columns that differ from what the line makes them."""
    try:
        wanted = row_of(Received(row.line, record))
    except NotARecord:
        yield "record_id"
        return
    for column in COLUMNS:
        if column in _NOT_COMPARED:
            continue
        there, expected = getattr(row, column), wanted[column]
        if column in _JSON:
            same = _loose(there) == _loose(None if expected is None else json.loads(expected))
        elif column == "timestamp":
            same = _utc(there) == expected
        else:
            same = there == expected
        if not same:
            yield column


def _loose(value: Any) -> Any:
    """A JSON value as databases give it back: a number may have become a float, and JSON null nothing."""
    if isinstance(value, dict):
        return {key: _loose(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_loose(item) for item in value]
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)


def _bound(engine: Engine, nanoseconds: int) -> datetime:
    bound = moment(nanoseconds)
    # SQLite and MySQL keep UTC without saying so.
    return bound if engine.dialect.name == "postgresql" else bound.replace(tzinfo=None)


def _parsed(engine: Engine, number: int, line: str) -> StoredRecord | Problem:
    name = engine.url.render_as_string(hide_password=True)
    try:
        (record,) = parse_line(line.encode("utf-8", "surrogatepass"))
    except NotARecord as error:
        return Problem(name, number, 0, str(error))
    except ValueError:
        return Problem(name, number, 0, "a line of several records")
    record.file, record.line = name, number
    return record


def _rows(engine: Engine, query: Select[Any]) -> Iterator[Row[Any]]:
    """The rows of a query, some at a time, whatever their number."""
    with engine.connect().execution_options(stream_results=True, yield_per=_AT_ONCE) as connection:
        yield from connection.execute(query)
