# SPDX-License-Identifier: Apache-2.0
"""OTLP in protobuf taken apart: a request is cut into its records, and each is parsed by itself.

So a body of any size is there once and never as objects, and a record whose bytes are broken costs no other one.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord
from opentelemetry.instrumentation.mcp_audit.integrity.values import NotARecord, attributes_of
from opentelemetry.instrumentation.mcp_audit.record.attributes import TABLE, AttributeValue

from .compact import compact
from .parts import MAX_REJECTED_CHARACTERS, Read, Rejected, Scoped, Undecodable, few, read_tree, rejected, show_tree

MAX_DEPTH: Final = 64
# Attributes that the table has no strings for.
_TYPED: Final = frozenset(name for name, row in TABLE.items() if row.type != "string")
# Name, value (None: not as the format has it), OTLP/JSON.
_Attribute = tuple[str, AttributeValue | None, str]
# So many attributes are known at a time, and none that is longer: what is long is seldom the same twice.
_KNOWN: Final = 2048
_KNOWN_BYTES: Final = 256
# Field numbers: of a request; of its groups; of their scopes.
_GROUP: Final = 1
_RESOURCE, _SCOPED = 1, 2
_SCOPE, _RECORD = 1, 2
# The byte before an attribute of a record: field 6, of the kind that has a length.
_PAIR: Final = 6 << 3 | 2
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
    read = _Reader().read
    return (_scoped(resource, parts, read) for resource, parts in found)


def _scoped(resource: bytes, parts: list[tuple[int, memoryview]], read: Read) -> Scoped | Rejected:
    try:
        described, scope = Resource.FromString(resource), InstrumentationScope.FromString(_joined(parts, _SCOPE))
    except DecodeError as error:
        return rejected(f"resource or scope: {_said(error)}", _show_bytes(b"".join(part for _, part in parts)))
    tree = {"attributes": _pairs(described.attributes, 0)} if described.attributes else {}
    named = {name: text for name, text in (("name", scope.name), ("version", scope.version)) if text}
    return Scoped(tree, named, (part for number, part in parts if number == _RECORD), read, _show_bytes)


class _Reader:
    """Reads the records of one request. Most attributes of a record are, to the byte, those of one before: they are known."""

    def __init__(self) -> None:
        self._known: dict[bytes, _Attribute] = {}
        self._names: dict[bytes, tuple[str, str]] = {}

    def read(self, part: memoryview, resource: dict[str, Any], scope: tuple[str, str]) -> tuple[str, StoredRecord]:
        raw = bytes(part)
        try:
            pairs, rest = _attributes_and_rest(raw)
            few(len(pairs))
            attributes: dict[str, Any] = {}
            texts = []
            for pair in pairs:
                key, value, text = self._known.get(pair) or self._attribute(pair)
                if value is None or key in attributes:
                    # Any oddity is read from the whole tree, which says what is wrong with it.
                    return read_tree(_record_tree(LogRecord.FromString(raw)), resource, scope)
                attributes[key] = value
                texts.append(text)
            message = LogRecord.FromString(rest)
        except (DecodeError, UnicodeDecodeError, _Broken) as error:
            raise NotARecord(f"no protobuf of a log record ({_said(error)})") from None
        tree = _tree(message)
        body = tree.get("body")
        if body is not None and not body.get("stringValue"):
            return read_tree(_record_tree(LogRecord.FromString(raw)), resource, scope)
        trace, span = message.trace_id, message.span_id
        record = StoredRecord(
            event_name=message.event_name,
            time=message.time_unix_nano,
            observed=message.observed_time_unix_nano,
            trace_id=trace.hex() if any(trace) else "",
            span_id=span.hex() if any(span) else "",
            attributes=attributes,
            body=None if body is None else body["stringValue"],
            resource=resource,
            scope=scope,
            faults=(),
            raw=b"",
        )
        behind = compact(tree)[1:]
        return f'{{"attributes":[{",".join(texts)}]{"," if tree else ""}{behind}', record

    def _attribute(self, raw: bytes) -> _Attribute:
        found = self._short_string(raw) or _any_attribute(raw)
        if len(raw) <= _KNOWN_BYTES:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[raw] = found
        return found

    def _short_string(self, raw: bytes) -> _Attribute | None:
        """An attribute that is a string of fewer than 126 bytes, as nearly all are; None for any other."""
        # 0A, length of the name, name; 12, length of the value; 0A, length of the string, string.
        at = raw[1] + 2 if len(raw) > 1 else 0
        behind = len(raw) - at
        if raw[:1] != b"\n" or not 4 < behind < 130 or raw[at : at + 4] != bytes((18, behind - 2, 10, behind - 4)):
            return None
        name = raw[2:at]
        if name not in self._names:
            key = name.decode()
            if key in _TYPED or len(name) > 127 or len(self._names) >= _KNOWN:
                return None
            self._names[name] = key, f'{{"key":{compact(key)},"value":{{"stringValue":'
        key, before = self._names[name]
        text = raw[at + 4 :].decode()
        return key, text, f"{before}{compact(text)}}}}}"


def _any_attribute(raw: bytes) -> _Attribute:
    pair = KeyValue.FromString(raw)
    tree = {"key": pair.key, "value": _value(pair.value, 0) or {}}
    return pair.key, attributes_of([tree], [], "attribute").get(pair.key), compact(tree)


def _record_tree(record: Any) -> dict[str, Any]:
    return {"attributes": _pairs(record.attributes, 0), **_tree(record)}


def _tree(record: Any) -> dict[str, Any]:
    """All members but the attributes, in the order in which the journal writes them; what is empty is left out, as there."""
    tree: dict[str, Any] = {}
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


def _said(error: Exception) -> str:
    return str(error)[:100]


# --- the wire: https://protobuf.dev/programming-guides/encoding --------------------------------------------------------


def _joined(parts: list[tuple[int, memoryview]], number: int) -> bytes:
    return b"".join(part for name, part in parts if name == number)


def _attributes_and_rest(record: bytes) -> tuple[list[bytes], bytes]:
    """The attributes of a log record, each by itself, and the record without them. Raises :class:`_Broken`."""
    pairs: list[bytes] = []
    rest: list[bytes] = []
    at, end = 0, len(record)
    while at < end:
        if record[at] == _PAIR and at + 1 < end:
            length, start = (record[at + 1], at + 2) if record[at + 1] < 128 else _varint(record, at + 1)
            at = start + length
            pairs.append(record[start:at])
        else:
            start, at = at, _behind_field(record, at)
            rest.append(record[start:at])
    if at > end:
        raise _Broken("it is cut off")
    return pairs, b"".join(rest)


def _behind_field(message: bytes | memoryview, at: int) -> int:
    tag, at = _varint(message, at)
    kind = tag & 7
    if not tag >> 3:
        raise _Broken("a field without a number")
    if kind == _BYTES:
        length, at = _varint(message, at)
        return at + length
    if kind == _VARINT:
        return _varint(message, at)[1]
    if kind in _FIXED:
        return at + _FIXED[kind]
    raise _Broken("a field of a kind that OTLP has none of")


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and bytes of the fields that have a length; others are passed over. Raises :class:`_Broken`."""
    at, end = 0, len(message)
    while at < end:
        start, at = at, _behind_field(message, at)
        if at > end:
            raise _Broken("it is cut off")
        tag, behind = _varint(message, start)
        if tag & 7 == _BYTES:
            yield tag >> 3, message[_varint(message, behind)[1] : at]


def _varint(message: bytes | memoryview, at: int) -> tuple[int, int]:
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
