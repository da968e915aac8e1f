# SPDX-License-Identifier: Apache-2.0
"""What came in one OTLP request: records, each as one line of OTLP/JSON and as typed values, and what is none.

Pure. Both encodings of OTLP become the same: the line is what verification reads, in the spelling of the journal. A record
that cannot be one of the trail is set apart with its reason; the good ones beside it are kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord, load_json, record_of
from opentelemetry.instrumentation.mcp_audit.integrity.values import NotARecord, attributes_of

from .compact import compact

Encoding = Literal["json", "protobuf"]

MAX_LINE_CHARACTERS: Final = 1024 * 1024
MAX_ATTRIBUTES: Final = 1_000
MAX_DEPTH: Final = 64
CHUNK: Final = 500
_LARGE_BYTES: Final = 2 * 1024 * 1024
# Of what is set apart, so much is kept: enough to find where it came from.
MAX_REJECTED_CHARACTERS: Final = 64 * 1024


class Undecodable(ValueError):
    """The body is no OTLP request at all; the message says why."""


@dataclass(frozen=True, slots=True)
class Received:
    """One record: ``line`` is OTLP/JSON, without its end, with the resource and scope it came in."""

    line: str
    record: StoredRecord


@dataclass(frozen=True, slots=True)
class Rejected:
    """What cannot be a record of the trail: why, and what it was (cut, if it is long)."""

    reason: str
    line: str


@dataclass(frozen=True, slots=True)
class Batch:
    """The body of one request, decoded again for each place that keeps it: a large one as trees would fill the memory."""

    body: bytes | bytearray
    encoding: Encoding

    def chunks(self, size: int = CHUNK) -> Iterator[tuple[list[Received], list[Rejected]]]:
        """The records and what is none, so many at a time. Raises :class:`Undecodable`, at the first step if ever."""
        good: list[Received] = []
        bad: list[Rejected] = []
        for item in decode(self.body, self.encoding):
            if isinstance(item, Received):
                good.append(item)
            else:
                bad.append(item)
            if len(good) + len(bad) >= size:
                yield good, bad
                good, bad = [], []
        if good or bad:
            yield good, bad


def decode(body: bytes | bytearray, encoding: Encoding) -> Iterator[Received | Rejected]:
    """What stands in a request's body. Raises :class:`Undecodable`, and nothing else, before the first, for any bytes."""
    for group in _json_groups(body) if encoding == "json" else _protobuf_groups(body):
        scopes = group.get("scopeLogs", []) if isinstance(group, dict) else None
        if not isinstance(scopes, list):
            yield _rejected("resourceLogs holds no list scopeLogs", group)
            continue
        for scoped in scopes:
            yield from _records(scoped, group.get("resource") or {})


def _json_groups(body: bytes | bytearray) -> list[Any]:
    try:
        tree, faults = (
            load_json(bytes(body)) if len(body) <= _LARGE_BYTES else (json.loads(body, object_hook=_packed), [])
        )
    except (NotARecord, ValueError) as error:
        raise Undecodable(str(error)[:200]) from None
    except RecursionError:
        raise Undecodable("nested too deeply") from None
    if faults:
        raise Undecodable(faults[0])
    groups = tree.get("resourceLogs", []) if isinstance(tree, dict) else None
    if not isinstance(groups, list):
        raise Undecodable("JSON without a list resourceLogs")
    return groups


class _Packed(str):
    """The text of a record of a large body. As a tree it takes eleven times as much, and all are there at once."""

    __slots__ = ()


def _packed(tree: dict[str, Any]) -> Any:
    # Only a record has attributes and a time; a resource has no time, an attribute's value neither.
    return _Packed(compact(tree)) if "attributes" in tree and "timeUnixNano" in tree else tree


def _protobuf_groups(body: bytes | bytearray) -> Iterator[Any]:
    # Imported here: whoever sends JSON does not need it.
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    try:
        request = ExportLogsServiceRequest.FromString(body)
    except DecodeError as error:
        raise Undecodable(f"no protobuf of an export request ({str(error)[:100]})") from None
    return map(_group_tree, request.resource_logs)


def _records(scoped: Any, resource: Any) -> Iterator[Received | Rejected]:
    records = scoped.get("logRecords", []) if isinstance(scoped, dict) else None
    if records is None or not isinstance(records, list | map):
        yield _rejected("scopeLogs holds no list logRecords", scoped)
        return
    scope = scoped.get("scope") or {}
    try:
        attributes, named = _resource(resource), _scope(scope)
        head = (
            f'{{"resourceLogs":[{{"resource":{compact(resource)},"scopeLogs":[{{"scope":{compact(scope)},"logRecords":['
        )
    except (NotARecord, ValueError, RecursionError) as error:
        yield from (_rejected(f"resource or scope: {error}", record) for record in records)
        return
    for tree in records:
        try:
            whole = load_json(tree.encode("utf-8", "surrogatepass"))[0] if isinstance(tree, _Packed) else tree
            yield _received(whole, head, attributes, named)
        except (NotARecord, RecursionError) as error:
            yield _rejected(str(error) or "nested too deeply", tree)


def _received(tree: Any, head: str, resource: dict[str, Any], scope: tuple[str, str]) -> Received:
    if isinstance(tree, dict) and isinstance(tree.get("attributes"), list) and len(tree["attributes"]) > MAX_ATTRIBUTES:
        raise NotARecord(f"{len(tree['attributes'])} attributes, at most {MAX_ATTRIBUTES} are taken")
    line = f"{head}{compact(tree)}]}}]}}]}}"
    if len(line) > MAX_LINE_CHARACTERS:
        raise NotARecord(f"a record of {len(line)} characters, at most {MAX_LINE_CHARACTERS} are taken")
    record = record_of(tree, b"", [], resource, scope)
    if record.record_id is None:
        raise NotARecord("no audit.record.id")
    return Received(line, record)


def _resource(tree: Any) -> dict[str, Any]:
    if not isinstance(tree, dict):
        raise NotARecord("no JSON object")
    return attributes_of(tree.get("attributes", []), [], "resource attribute")


def _scope(tree: Any) -> tuple[str, str]:
    if not isinstance(tree, dict):
        raise NotARecord("no JSON object")
    name, version = tree.get("name", ""), tree.get("version", "")
    if not isinstance(name, str) or not isinstance(version, str):
        raise NotARecord("the scope's name or version is no string")
    return name, version


def _rejected(reason: str, tree: Any) -> Rejected:
    try:
        text = compact(tree)
    except (ValueError, RecursionError, TypeError):
        text = repr(type(tree))
    return Rejected(reason, text[:MAX_REJECTED_CHARACTERS])


# --- protobuf as the tree that OTLP/JSON would be ------------------------------------------------------------------


def _group_tree(group: Any) -> dict[str, Any]:
    resource: dict[str, Any] = {}
    if group.resource.attributes:
        resource["attributes"] = _pairs(group.resource.attributes, 0)
    return {"resource": resource, "scopeLogs": [_scope_tree(scoped) for scoped in group.scope_logs]}


def _scope_tree(scoped: Any) -> dict[str, Any]:
    scope = {name: text for name, text in (("name", scoped.scope.name), ("version", scoped.scope.version)) if text}
    return {"scope": scope, "logRecords": map(_record_tree, scoped.log_records)}


def _record_tree(record: Any) -> dict[str, Any]:
    """The members in the order in which the journal writes them; what is empty is left out, as there."""
    tree: dict[str, Any] = {"attributes": _pairs(record.attributes, 0)}
    body = _value(record.body, 0)
    if body is not None:
        tree["body"] = body
    if record.event_name:
        tree["eventName"] = record.event_name
    if record.observed_time_unix_nano:
        tree["observedTimeUnixNano"] = str(record.observed_time_unix_nano)
    if record.span_id:
        tree["spanId"] = record.span_id.hex()
    if record.time_unix_nano:
        tree["timeUnixNano"] = str(record.time_unix_nano)
    if record.trace_id:
        tree["traceId"] = record.trace_id.hex()
    return tree


def _pairs(pairs: Any, depth: int) -> list[dict[str, Any]]:
    return [{"key": pair.key, "value": _value(pair.value, depth) or {}} for pair in pairs]


def _value(value: Any, depth: int) -> dict[str, Any] | None:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return {"stringValue": value.string_value}
    if kind is None or depth > MAX_DEPTH:
        return None
    name, plain = _KINDS[kind]
    return {name: plain(getattr(value, kind), depth)}


def _list(array: Any, depth: int) -> dict[str, Any]:
    return {"values": [_value(item, depth + 1) or {} for item in array.values]}


# What the format has no use for is carried all the same: the record is then set apart, or shown as faulty, whole.
_KINDS: Final[dict[str, tuple[str, Callable[[Any, int], Any]]]] = {
    "int_value": ("intValue", lambda value, _: str(value)),
    "bool_value": ("boolValue", lambda value, _: value),
    "double_value": ("doubleValue", lambda value, _: value if value - value == 0 else str(value)),
    "bytes_value": ("bytesValue", lambda value, _: value.hex()),
    "array_value": ("arrayValue", _list),
    "kvlist_value": ("kvlistValue", lambda value, depth: {"values": _pairs(value.values, depth + 1)}),
}
