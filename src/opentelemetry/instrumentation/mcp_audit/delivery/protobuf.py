# SPDX-License-Identifier: Apache-2.0
"""The batch as protobuf, written by hand: ``opentelemetry/proto/collector/logs/v1/logs_service.proto`` and what it holds.

Made from the journal's own JSON text; each segment's resource and scope are encoded once and kept. No dependency; held to
the official classes by a test.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from .otlp import Batch, joined

# What :func:`encode` raises for text that is no OTLP JSON.
NOT_OTLP: Final = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, struct.error)
_TAIL: Final = b"]}]}]}"
_VARINT: Final = 0
_FIXED64: Final = 1
_BYTES: Final = 2
_FIXED32: Final = 5
_U64: Final = (1 << 64) - 1


def _loads() -> Callable[[bytes], Any]:
    try:
        import orjson  # of the extra `fast`
    except ImportError:
        return json.loads
    fast: Callable[[bytes], Any] = orjson.loads
    return fast


_LOADS: Final = _loads()


def encode(batch: Batch) -> bytes:
    """The batch as one ``ExportLogsServiceRequest``. Raises one of :data:`NOT_OTLP` for text that is none."""
    request = bytearray()
    for run in batch:
        _put(request, b"\x0a", _resource_logs(run.head, _LOADS(b"[" + joined(run) + b"]")))
    return bytes(request)


def rejections(answer: bytes) -> tuple[int, str]:
    """``rejected_log_records`` and ``error_message`` of an ``ExportLogsServiceResponse``. Raises ValueError."""
    partial = b"".join(_bytes(value) for number, value in _fields(answer) if number == 1)
    count, message = 0, ""
    for number, value in _fields(partial):
        if number == 1 and isinstance(value, int):
            count = value
        elif number == 2:
            message = _bytes(value).decode("utf-8", "replace")
    return count, message


# --- reading -------------------------------------------------------------------------------------------------------


def _fields(data: bytes) -> list[tuple[int, int | bytes]]:
    found: list[tuple[int, int | bytes]] = []
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _read_varint(data, at)
            found.append((key >> 3, value))
            continue
        if kind == _BYTES:
            length, at = _read_varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if key >> 3 == 0 or at + length > len(data):
            raise ValueError("cut off")
        found.append((key >> 3, data[at : at + length]))
        at += length
    return found


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number too long")


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a message should be")
    return value


# --- writing -------------------------------------------------------------------------------------------------------


def _varint(value: int) -> bytes:
    if value < 0x80:
        return _SMALL[value]
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_SMALL: Final = [bytes((value,)) for value in range(0x80)]


def _put(out: bytearray, key: bytes, value: bytes | bytearray) -> None:
    """One length-delimited field."""
    out += key
    out += _varint(len(value))
    out += value


@lru_cache(maxsize=256)
def _around(head: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """A segment's resource and scope fields, and the schema URLs behind the records and behind the scope."""
    tree = json.loads(head + _TAIL)["resourceLogs"][0]
    scope_logs = tree["scopeLogs"][0]
    resource, scope, inner, outer = bytearray(), bytearray(), bytearray(), bytearray()
    if "resource" in tree:
        _put(resource, b"\x0a", _resource(tree["resource"]))
    if "scope" in scope_logs:
        _put(scope, b"\x0a", _scope(scope_logs["scope"]))
    if scope_logs.get("schemaUrl"):
        _put(inner, b"\x1a", scope_logs["schemaUrl"].encode())
    if tree.get("schemaUrl"):
        _put(outer, b"\x1a", tree["schemaUrl"].encode())
    return bytes(resource), bytes(scope), bytes(inner), bytes(outer)


def _resource_logs(head: bytes, records: list[dict[str, Any]]) -> bytes:
    resource, scope, inner_url, outer_url = _around(head)
    inner = bytearray(scope)
    for record in records:
        _put(inner, b"\x12", _record(record))
    inner += inner_url
    out = bytearray(resource)
    _put(out, b"\x12", inner)
    out += outer_url
    return bytes(out)


def _resource(tree: Mapping[str, Any]) -> bytes:
    out = bytearray()
    _attributes(out, b"\x0a", tree.get("attributes", ()))
    if tree.get("droppedAttributesCount"):
        out += b"\x10" + _varint(int(tree["droppedAttributesCount"]))
    return bytes(out)


def _scope(tree: Mapping[str, Any]) -> bytes:
    out = bytearray()
    if tree.get("name"):
        _put(out, b"\x0a", tree["name"].encode())
    if tree.get("version"):
        _put(out, b"\x12", tree["version"].encode())
    _attributes(out, b"\x1a", tree.get("attributes", ()))
    if tree.get("droppedAttributesCount"):
        out += b"\x20" + _varint(int(tree["droppedAttributesCount"]))
    return bytes(out)


def _record(tree: Mapping[str, Any]) -> bytes:
    out = bytearray()
    if "timeUnixNano" in tree and (time := int(tree["timeUnixNano"])):
        out += b"\x09" + struct.pack("<Q", time)
    if tree.get("severityNumber"):
        out += b"\x10" + _varint(int(tree["severityNumber"]))
    if tree.get("severityText"):
        _put(out, b"\x1a", tree["severityText"].encode())
    if tree.get("body") is not None:
        _put(out, b"\x2a", _value(tree["body"]))
    _attributes(out, b"\x32", tree.get("attributes", ()))
    if tree.get("droppedAttributesCount"):
        out += b"\x38" + _varint(int(tree["droppedAttributesCount"]))
    if tree.get("flags"):
        out += b"\x45" + struct.pack("<I", int(tree["flags"]))
    if tree.get("traceId"):
        _put(out, b"\x4a", bytes.fromhex(tree["traceId"]))
    if tree.get("spanId"):
        _put(out, b"\x52", bytes.fromhex(tree["spanId"]))
    if "observedTimeUnixNano" in tree and (time := int(tree["observedTimeUnixNano"])):
        out += b"\x59" + struct.pack("<Q", time)
    if tree.get("eventName"):
        _put(out, b"\x62", tree["eventName"].encode())
    return bytes(out)


@lru_cache(maxsize=4096)
def _key(name: str) -> bytes:
    """The key of an attribute, as a field. There are few, and they come with every record."""
    out = bytearray()
    _put(out, b"\x0a", name.encode())
    return bytes(out)


def _attributes(out: bytearray, field: bytes, attributes: Any) -> None:
    for attribute in attributes:
        name = attribute.get("key", "")
        key = _key(name) if name else b""
        given = attribute.get("value")
        if given is None:
            _put(out, field, key)
            continue
        text = given.get("stringValue")
        if text is not None and len(given) == 1:
            # By far the most: without a call for each of its parts.
            data = text.encode()
            value = b"\x0a" + (_SMALL[len(data)] if len(data) < 0x80 else _varint(len(data))) + data
        else:
            value = _value(given)
        size = _varint(len(value))
        out += field
        out += _varint(len(key) + 1 + len(size) + len(value))
        out += key
        out += b"\x12"
        out += size
        out += value


def _value(tree: Mapping[str, Any]) -> bytes:
    """An ``AnyValue``: exactly one member, or none for the empty value."""
    for kind, given in tree.items():
        writer = _KINDS.get(kind)
        if writer is None:
            raise ValueError(f"a value of kind {kind!r}")
        out = bytearray()
        writer(out, given)
        return bytes(out)
    return b""


def _string(out: bytearray, value: Any) -> None:
    _put(out, b"\x0a", value.encode())


def _bool(out: bytearray, value: Any) -> None:
    out += b"\x10\x01" if value else b"\x10\x00"


def _int(out: bytearray, value: Any) -> None:
    out += b"\x18" + _varint(int(value) & _U64)


def _double(out: bytearray, value: Any) -> None:
    # "NaN", "Infinity", "-Infinity" are strings in proto3 JSON; float() reads them.
    out += b"\x21" + struct.pack("<d", float(value))


def _array(out: bytearray, value: Any) -> None:
    inner = bytearray()
    for item in value.get("values", ()):
        _put(inner, b"\x0a", _value(item))
    _put(out, b"\x2a", inner)


def _kvlist(out: bytearray, value: Any) -> None:
    inner = bytearray()
    _attributes(inner, b"\x0a", value.get("values", ()))
    _put(out, b"\x32", inner)


def _binary(out: bytearray, value: Any) -> None:
    _put(out, b"\x3a", base64.b64decode(value, validate=True))


_KINDS: Final[dict[str, Callable[[bytearray, Any], None]]] = {
    "stringValue": _string,
    "boolValue": _bool,
    "intValue": _int,
    "doubleValue": _double,
    "arrayValue": _array,
    "kvlistValue": _kvlist,
    "bytesValue": _binary,
}
