# SPDX-License-Identifier: Apache-2.0
"""A row of ``mcp_audit`` as the OTLP/JSON line it was, and what its derived columns must say.

Pure. The exporter keeps attributes as JSON text of plain values: a boolean, an integer, a string and a list of strings are
told apart there, so the line has the types of the one that the server wrote. A double or an object is none of the format; it
is carried all the same, so that verification names it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord, parse_line
from opentelemetry.instrumentation.mcp_audit.integrity.values import NotARecord
from opentelemetry.instrumentation.mcp_audit.record import attributes as a

# What the exporter wrote, in this order; integers as text, because JSON's are not exact everywhere.
STORED: Final = (
    "toString(toUnixTimestamp64Nano(Timestamp))",
    "TraceId",
    "SpanId",
    "SeverityText",
    "EventName",
    "Body",
    "ResourceAttributes",
    "ScopeName",
    "ScopeVersion",
    "LogAttributes",
)
# Column that the table makes for searching -> the attribute that it shows.
_TEXTS: Final = {
    "RecordHash": a.RECORD_HASH,
    "PreviousHash": a.AUDIT_SEQUENCE_PREVIOUS_HASH,
    "TenantId": a.TENANT_ID,
    "Tool": a.GEN_AI_TOOL_NAME,
    "Method": a.MCP_METHOD_NAME,
    "Action": a.AUDIT_ACTION,
    "Target": a.AUDIT_TARGET_ID,
    "Outcome": a.AUDIT_OUTCOME,
    "OutcomeDetail": a.OUTCOME_DETAIL,
    "Decision": a.DECISION,
    "DecisionReason": a.DECISION_REASON,
    "ErrorType": a.ERROR_TYPE,
    "ActorId": a.AUDIT_ACTOR_ID,
    "ActorType": a.AUDIT_ACTOR_TYPE,
    "Provenance": a.ACTOR_PROVENANCE,
    "UserId": a.USER_ID,
    "ClientAddress": a.CLIENT_ADDRESS,
    "SessionId": a.MCP_SESSION_ID,
    "CallId": a.CALL_ID,
    "RequestId": a.REQUEST_ID,
    "Purpose": a.PURPOSE,
    "DataSubject": a.DATA_SUBJECT,
}
_INTEGERS: Final = {"SequenceNumber": a.AUDIT_SEQUENCE_NUMBER, "DurationUs": a.DURATION_US}
_OTHERS: Final = ("RecordId", "StreamId", "ServiceName", "DataClasses")
DERIVED: Final = (*_TEXTS, *_OTHERS, *(f"toString({column})" for column in _INTEGERS))


def record_of(row: Sequence[Any]) -> StoredRecord:
    """The record in the values of :data:`STORED`. Raises :class:`NotARecord`."""
    time, trace, span, carried, event, body, resource, scope, version, attributes = row[: len(STORED)]
    observed, separator, _ = carried.partition(" ")
    record: dict[str, Any] = {"attributes": _pairs(attributes, "LogAttributes", _own_order)}
    # An empty object is how some Collectors spell a body that is not there.
    if body not in ("", "{}"):
        record["body"] = {"stringValue": body}
    record["eventName"] = event
    if separator:
        record["observedTimeUnixNano"] = observed
    record |= {"spanId": span} if span else {}
    record["timeUnixNano"] = time
    record |= {"traceId": trace} if trace else {}
    around = {"name": scope, "version": version}
    scoped = {"scope": {name: text for name, text in around.items() if text}, "logRecords": [record]}
    group = {
        "resource": {"attributes": _pairs(resource, "ResourceAttributes", _stream_first)},
        "scopeLogs": [scoped],
    }
    line = json.dumps({"resourceLogs": [group]}, ensure_ascii=False, separators=(",", ":"))
    (made,) = parse_line(line.encode("utf-8", "surrogatepass"))
    return made


def edited(row: Sequence[Any], record: StoredRecord) -> Iterator[str]:
    """The columns of :data:`DERIVED`, behind those of STORED in ``row``, that do not say what the record says."""
    there = dict(zip((*_TEXTS, *_OTHERS, *_INTEGERS), row[len(STORED) :], strict=True))
    get = record.attributes.get
    wanted: dict[str, Any] = {column: get(name, "") for column, name in _TEXTS.items()}
    wanted |= {column: str(get(name, 0)) for column, name in _INTEGERS.items()}
    wanted["RecordId"] = (record.record_id or "").lower()
    wanted["StreamId"] = record.stream_id or ""
    wanted["ServiceName"] = record.resource.get("service.name", "")
    wanted["DataClasses"] = get(a.DATA_CLASSES, [])
    return (column for column, value in wanted.items() if there[column] != value)


def _pairs(text: str, column: str, order: Any) -> list[dict[str, Any]]:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        raise NotARecord(f"column {column} is no JSON") from None
    if not isinstance(tree, dict):
        raise NotARecord(f"column {column} is no JSON object")
    return [{"key": key, "value": _typed(tree[key])} for key in sorted(tree, key=order)]


def _typed(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_typed(item) for item in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": [{"key": key, "value": _typed(item)} for key, item in value.items()]}}
    return {}


def _own_order(key: str) -> tuple[bool, bool, str]:
    """As the journal writes them: by name, hash and what is about integrity last."""
    return key.startswith(a.INTEGRITY_PREFIX), key == a.RECORD_HASH, key


def _stream_first(key: str) -> tuple[bool, str]:
    return key != a.STREAM_ID, key
