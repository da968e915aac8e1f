# SPDX-License-Identifier: Apache-2.0
"""A record as a row of ``audit_log``: what is asked for often in columns, the record as JSON, its exact line beside it.

Pure. Columns are for searching: they are cut to their width, and have U+FFFD where a database takes no NUL. The line is
for verification, and is what came.
"""

from __future__ import annotations

import re
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord
from opentelemetry.instrumentation.mcp_audit.integrity.values import NotARecord
from opentelemetry.instrumentation.mcp_audit.record import attributes as a
from opentelemetry.instrumentation.mcp_audit.render.seed import body_of, user_of

from .compact import compact
from .received import Received

SHORT: Final = 255
LONG: Final = 1024
Row = dict[str, Any]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LATEST: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone.utc)
_SERVICE: Final = "service.name"
_HALF: Final = re.compile("[\ud800-\udfff]")
_UUID: Final = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

# Column -> the attribute it shows, and its width; the order is the table's.
_TEXTS: Final[dict[str, tuple[str, int]]] = {
    "tool": (a.GEN_AI_TOOL_NAME, SHORT),
    "request_id": (a.REQUEST_ID, SHORT),
    "client_ip": (a.CLIENT_ADDRESS, 45),
    "tenant_id": (a.TENANT_ID, SHORT),
    "outcome": (a.AUDIT_OUTCOME, 16),
    "outcome_detail": (a.OUTCOME_DETAIL, 32),
    "decision": (a.DECISION, 16),
    "decision_by": (a.DECISION_BY, SHORT),
    "decision_reason": (a.DECISION_REASON, SHORT),
    "error_type": (a.ERROR_TYPE, SHORT),
    "method": (a.MCP_METHOD_NAME, SHORT),
    "action": (a.AUDIT_ACTION, 32),
    "target": (a.AUDIT_TARGET_ID, LONG),
    "actor_id": (a.AUDIT_ACTOR_ID, SHORT),
    "actor_type": (a.AUDIT_ACTOR_TYPE, 32),
    "actor_provenance": (a.ACTOR_PROVENANCE, 16),
    "user_email": (a.USER_EMAIL, SHORT),
    "client_id": (a.ACTOR_CLIENT_ID, SHORT),
    "session_id": (a.MCP_SESSION_ID, SHORT),
    "call_id": (a.CALL_ID, 64),
    "level": (a.LEVEL, 32),
    "content_digest": (a.CONTENT_DIGEST, 128),
    "record_hash": (a.RECORD_HASH, 128),
    "previous_hash": (a.AUDIT_SEQUENCE_PREVIOUS_HASH, 128),
}


def row_of(received: Received) -> Row:
    """The row. Raises :class:`NotARecord` when the record has no UUID to be found again by."""
    record = received.record
    get = record.attributes.get
    params, whole = _documents(record)
    row: Row = {
        "record_id": _record_id(record),
        "timestamp": moment(record.time),
        "event_name": text(record.event_name, SHORT),
        "user_id": text(user_of(record), SHORT),
        "params": params,
        "trace_id": record.trace_id[:32] or None,
        "span_id": record.span_id[:16] or None,
        "duration_us": _integer(get(a.DURATION_US)),
        "stream_id": text(record.stream_id, SHORT),
        "sequence_number": _integer(get(a.AUDIT_SEQUENCE_NUMBER)),
        "service_name": text(record.resource.get(_SERVICE), SHORT),
        "record": whole,
        "line": received.line,
    }
    for column, (name, width) in _TEXTS.items():
        value = get(name)
        # Nearly all fit as they are.
        fits = value is None or (type(value) is str and len(value) <= width and "\0" not in value)
        row[column] = value if fits else text(value, width)
    return row


def _documents(record: StoredRecord) -> tuple[str | None, str | None]:
    """The arguments and the record as JSON; the body in it as an object where it is one, else as the text it is."""
    body = body_of(record)
    try:
        return as_json(body.get("arguments")), as_json({"attributes": record.attributes, "body": body or record.body})
    except (ValueError, RecursionError):
        # Only this language reads it as JSON: a number that is infinite, brackets without an end.
        return None, as_json({"attributes": record.attributes, "body": record.body})


def text(value: Any, width: int) -> str | None:
    """A string as a column takes it; None for anything else."""
    if type(value) is not str:
        return None
    return (value.replace("\0", "�") if "\0" in value else value)[:width]


def as_json(value: Any) -> str | None:
    """JSON text that every database takes: no NUL, which JSONB refuses, no half of a pair. None for None.

    Raises ValueError, RecursionError for what is no JSON.
    """
    if value is None:
        return None
    made = compact(value)
    if "\\u0000" in made or not _whole(made):
        made = compact(_without_nul(value))
    return made


def _whole(made: str) -> bool:
    """Whether UTF-8 can write it: JSON text in a body may spell half of a surrogate pair."""
    if made.isascii():
        return True
    try:
        made.encode()
    except UnicodeEncodeError:
        return False
    return True


def moment(nanoseconds: int) -> datetime:
    """Nanoseconds since the epoch, as a time of a database: microseconds, no later than the year 9999."""
    try:
        return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return _LATEST


def _record_id(record: StoredRecord) -> str:
    given = record.record_id
    if given is not None and _UUID.fullmatch(given):
        return given
    try:
        return str(uuid.UUID(given))
    except (ValueError, TypeError, AttributeError):
        raise NotARecord("audit.record.id is no UUID") from None


def _integer(value: Any) -> int | None:
    return value if type(value) is int else None


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return _HALF.sub("�", value.replace("\0", "�"))
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    return [_without_nul(item) for item in value] if isinstance(value, list) else value
