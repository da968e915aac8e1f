# SPDX-License-Identifier: Apache-2.0
"""The canonical form of a record and of a resource, and their hashes: the readers' side.

The form is RFC 8785 (JSON Canonicalization Scheme) of the record's own OTLP/JSON without what may change or expire on
the way (``docs/format.md``, section 2). It holds strings and booleans only, no JSON number, so sorted compact JSON text
*is* RFC 8785 here; a test holds both to each other. The writers' side composes the same text from pieces
(``record/encode.py``), because there one pass must make the line and the hash.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from opentelemetry.instrumentation.mcp_audit.record import sha256
from opentelemetry.instrumentation.mcp_audit.record.attributes import (
    CARRIER_KEYS,
    INTEGRITY_PREFIX,
    RECORD_HASH,
    AttributeValue,
)

sha256_hex: Final = sha256.sha256_hex
"""SHA-256 as 64 lowercase hex characters, the spelling of every unkeyed hash in the trail."""

_text: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def canonical_form(
    attributes: Iterable[tuple[str, AttributeValue]],
    event_name: str,
    time: int,
    trace_id: str = "",
    span_id: str = "",
) -> bytes:
    """The bytes that ``mcp_audit.record.hash`` is the SHA-256 of.

    ``attributes`` are typed values (int, bool, str, list of str), with or without those that the form leaves out.
    Ids are lowercase hex; absent, empty and all-zero ones are one thing.
    """
    kept = [(key, value) for key, value in attributes if in_form(key)]
    kept.sort(key=lambda pair: utf16_order(pair[0]))
    form: dict[str, Any] = {
        "attributes": [{"key": key, "value": wrapped(value)} for key, value in kept],
        "eventName": event_name,
        "timeUnixNano": str(time),
    }
    if trace_id.strip("0"):
        form["traceId"] = trace_id.lower()
    if span_id.strip("0"):
        form["spanId"] = span_id.lower()
    return _text(form).encode()


def resource_form(attributes: Iterable[tuple[str, AttributeValue]], scope_name: str, scope_version: str) -> bytes:
    """The bytes that ``mcp_audit.resource.hash`` is the SHA-256 of."""
    pairs = sorted(attributes, key=lambda pair: utf16_order(pair[0]))
    return _text(
        {
            "resource": {"attributes": [{"key": key, "value": wrapped(value)} for key, value in pairs]},
            "scope": {"name": scope_name, "version": scope_version},
        }
    ).encode()


def in_form(key: str) -> bool:
    """Whether the attribute is covered by the record's hash."""
    return key != RECORD_HASH and key not in CARRIER_KEYS and not key.startswith(INTEGRITY_PREFIX)


def wrapped(value: AttributeValue) -> dict[str, Any]:
    """A typed value as OTLP/JSON writes it. Raises TypeError for what no attribute of 1.x can hold."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, list):
        return {"arrayValue": {"values": [{"stringValue": item} for item in value]}}
    raise TypeError(f"no attribute value of format 1.x: {type(value).__name__}")


def utf16_order(key: str) -> bytes:
    """Sort key that orders strings by UTF-16 code units, as RFC 8785 section 3.2.3 asks."""
    return key.encode("utf-16-be", "surrogatepass")
