# SPDX-License-Identifier: Apache-2.0
"""OTLP in protobuf taken apart: a request is cut into its records, and each is parsed by itself.

So a body of any size is there once and never as objects, and a record whose bytes are broken costs no other one.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord
from opentelemetry.instrumentation.mcp_audit.integrity.values import NotARecord, attributes_of
from opentelemetry.instrumentation.mcp_audit.record.attributes import TABLE

from .compact import compact
from .parts import MAX_REJECTED_CHARACTERS, Rejected, Scoped, Undecodable, few, read_tree, rejected, show_tree

MAX_DEPTH: Final = 64
# Attributes that the table has no strings for.
_TYPED: Final = frozenset(name for name, row in TABLE.items() if row.type != "string")
_INTEGERS: Final = frozenset(name for name, row in TABLE.items() if row.type == "int")
# Field numbers: of a request; of its groups; of their scopes.
_GROUP: Final = 1
_RESOURCE, _SCOPED = 1, 2
_SCOPE, _RECORD = 1, 2
_VARINT, _BYTES = 0, 2
_FIXED: Final = {1: 8, 5: 4}


class _Broken(ValueError):
    """The bytes are no message."""


def scopes(body: bytes | bytearray) -> Iterator[Scoped | Rejected]:
    """Raises :class:`Undecodable`, before the first if ever."""
    try:
        groups = [list(_fields(group)) for number, group in _fields(memoryview(body)) if number == _GROUP]
        # A message that comes in several parts is those parts joined.
        found = [
            (_joined(group, _RESOURCE), list(_fields(scoped)))
            for group in groups
            for number, scoped in group
            if number == _SCOPED
        ]
    except _Broken as error:
        raise Undecodable(f"no protobuf of an export request ({error})") from None
    return (_scoped(resource, parts) for resource, parts in found)


def _scoped(resource: bytes, parts: list[tuple[int, memoryview]]) -> Scoped | Rejected:
    try:
        described, scope = Resource.FromString(resource), InstrumentationScope.FromString(_joined(parts, _SCOPE))
    except DecodeError as error:
        return rejected(f"resource or scope: {_said(error)}", _show_bytes(b"".join(part for _, part in parts)))
    tree = {"attributes": _pairs(described.attributes, 0)} if described.attributes else {}
    named = {name: text for name, text in (("name", scope.name), ("version", scope.version)) if text}
    return Scoped(tree, named, (part for number, part in parts if number == _RECORD), _read, _show_bytes)


def _read(raw: memoryview, resource: dict[str, Any], scope: tuple[str, str]) -> tuple[str, StoredRecord]:
    try:
        message = LogRecord.FromString(raw)
    except DecodeError as error:
        raise NotARecord(f"no protobuf of a log record ({_said(error)})") from None
    few(len(message.attributes))
    attributes: dict[str, Any] = {}
    pairs: list[dict[str, Any]] = []
    for pair in message.attributes:
        key, value = pair.key, pair.value
        text = value.string_value
        # Nearly all are such. What is not, and any oddity, is read from its tree, which says what is wrong with it.
        if text and key not in _TYPED and key not in attributes:
            attributes[key] = text
            pairs.append({"key": key, "value": {"stringValue": text}})
            continue
        if key in _INTEGERS and key not in attributes and value.WhichOneof("value") == "int_value":
            number = attributes[key] = value.int_value
            pairs.append({"key": key, "value": {"intValue": str(number)}})
            continue
        tree = {"key": key, "value": _value(value, 0) or {}}
        faults: list[str] = []
        made = attributes_of([tree], faults, "attribute")
        if faults or key in attributes:
            return read_tree(_record_tree(message), resource, scope)
        attributes |= made
        pairs.append(tree)
    body = message.body
    text = body.string_value
    if not text and body.WhichOneof("value") is not None:
        return read_tree(_record_tree(message), resource, scope)
    trace, span = message.trace_id, message.span_id
    record = StoredRecord(
        event_name=message.event_name,
        time=message.time_unix_nano,
        observed=message.observed_time_unix_nano,
        trace_id=trace.hex() if any(trace) else "",
        span_id=span.hex() if any(span) else "",
        attributes=attributes,
        body=text or None,
        resource=resource,
        scope=scope,
        faults=(),
        raw=b"",
    )
    return compact(_tree(message, pairs, {"stringValue": text} if text else None)), record


def _record_tree(record: Any) -> dict[str, Any]:
    return _tree(record, _pairs(record.attributes, 0), _value(record.body, 0))


def _tree(record: Any, pairs: list[dict[str, Any]], body: dict[str, Any] | None) -> dict[str, Any]:
    """The members in the order in which the journal writes them; what is empty is left out, as there."""
    tree: dict[str, Any] = {"attributes": pairs}
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
    if kind not in _KINDS or depth > MAX_DEPTH:
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


def _show_bytes(raw: bytes | memoryview) -> str:
    """The record as JSON where it is one, else its bytes in base64."""
    try:
        return show_tree(_record_tree(LogRecord.FromString(raw)))
    except DecodeError:
        return base64.b64encode(raw[:MAX_REJECTED_CHARACTERS]).decode()


def _said(error: DecodeError) -> str:
    return str(error)[:100]


# --- the wire: https://protobuf.dev/programming-guides/encoding --------------------------------------------------------


def _joined(parts: list[tuple[int, memoryview]], number: int) -> bytes:
    return b"".join(part for name, part in parts if name == number)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and bytes of the fields that have a length; others are passed over. Raises :class:`_Broken`."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _BYTES:
            length, at = _varint(message, at)
            if length > end - at:
                raise _Broken("it is cut off")
            yield tag >> 3, message[at : at + length]
            at += length
        elif kind == _VARINT:
            _, at = _varint(message, at)
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:
            raise _Broken("a field of a kind that OTLP has none of")
        if not tag >> 3:
            raise _Broken("a field without a number")
    if at > end:
        raise _Broken("it is cut off")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise _Broken("it is cut off")
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise _Broken("a number without an end")
