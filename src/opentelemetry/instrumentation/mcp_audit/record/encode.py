# SPDX-License-Identifier: Apache-2.0
"""A record as bytes: one pass makes the text that is hashed and the line that is written.

The sequence attributes are known only under the journal's lock, everything else before. They sort together, so the text
is made in advance as what stands before and after them (:func:`encode`), and :func:`seal` puts them in, hashes, and
puts hash and body in. Strings are escaped by the C encoder of the standard library, whose escapes (without
``ensure_ascii``) are those of RFC 8785; attribute names are ASCII, so sorting them by code point is RFC 8785's order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Final, NamedTuple

from .attributes import (
    AUDIT_INTEGRITY_CANONICALIZATION,
    AUDIT_SEQUENCE_END,
    AUDIT_SEQUENCE_NUMBER,
    AUDIT_SEQUENCE_PREVIOUS_HASH,
    AUDIT_SEQUENCE_STREAM_ID,
    CANONICALIZATION,
    RECORD_HASH,
    SEQUENCE_PREFIX,
    AttributeValue,
)
from .record import AuditRecord

MAX_LINE_BYTES: Final = 512 * 1024
# Shorter than an id (36) or a hash (64), which never recur and would only push out what does.
_RECURRING_CHARS: Final = 35


class Encoded(NamedTuple):
    """A record in text, ready for its number: see the module's docstring."""

    before: str
    after: str
    body: str
    event: str
    observed: str
    ids: str


class Sealed(NamedTuple):
    """The RECORD member of a line, and the hash that the next record of the stream points back to."""

    text: str
    hash: str


@dataclass(frozen=True, slots=True)
class Envelope:
    """What stands around every record of one segment: the same bytes in every line."""

    head: str
    tail: str = "]}]}]}\n"

    def line(self, record_text: str) -> bytes:
        return (self.head + record_text + self.tail).encode()


def envelope(resource: Mapping[str, AttributeValue], scope_name: str, scope_version: str) -> Envelope:
    """The envelope of a segment. ``resource`` keeps its order: the stream id must come first."""
    attributes = ",".join(attribute(key, value) for key, value in resource.items())
    return Envelope(
        f'{{"resourceLogs":[{{"resource":{{"attributes":[{attributes}]}},"scopeLogs":[{{"scope":{{"name":'
        f'{encode_basestring(scope_name)},"version":{encode_basestring(scope_version)}}},"logRecords":['
    )


def encode(record: AuditRecord) -> Encoded:
    """Everything of the record that does not depend on its place in the stream.

    Attribute values must be clean already (no lone surrogates); absent ones and empty lists must not be there.
    """
    before: list[str] = []
    after: list[str] = []
    attributes = record.attributes
    part = before
    for key in sorted(attributes):
        if part is before and key > SEQUENCE_PREFIX:
            part = after
        value = attributes[key]
        if type(value) is str and len(value) <= _RECURRING_CHARS:
            part.append(_string(key, value))
        else:
            part.append(attribute(key, value))
    span = f'"spanId":"{record.span_id}",' if record.span_id else ""
    trace = f',"traceId":"{record.trace_id}"' if record.trace_id else ""
    return Encoded(
        before=",".join(before),
        after=",".join(after),
        body="" if record.body is None else f',"body":{{"stringValue":{encode_basestring(record.body)}}}',
        event=f'"eventName":{encode_basestring(record.event_name)},',
        observed=f'"observedTimeUnixNano":"{record.observed}",',
        ids=f'{span}"timeUnixNano":"{record.time}"{trace}}}',
    )


def seal(encoded: Encoded, stream_id: str, number: int, previous_hash: str | None, end: bool = False) -> Sealed:
    """Give the record its place: the sequence attributes, the hash over the canonical form, the RECORD member."""
    sequence = attribute(AUDIT_SEQUENCE_NUMBER, number)
    if end:
        sequence = f"{attribute(AUDIT_SEQUENCE_END, True)},{sequence}"
    if previous_hash is not None:
        sequence = f"{sequence},{attribute(AUDIT_SEQUENCE_PREVIOUS_HASH, previous_hash)}"
    sequence = f"{sequence},{attribute(AUDIT_SEQUENCE_STREAM_ID, stream_id)}"
    attributes = ",".join(part for part in (encoded.before, sequence, encoded.after) if part)
    head = f'{{"attributes":[{attributes}'
    digest = hashlib.sha256(f"{head}],{encoded.event}{encoded.ids}".encode()).hexdigest()
    return Sealed(
        f"{head},{attribute(RECORD_HASH, digest)},{_CANONICALIZATION}]{encoded.body},"
        f"{encoded.event}{encoded.observed}{encoded.ids}",
        digest,
    )


def attribute(key: str, value: AttributeValue) -> str:
    """One OTLP/JSON attribute, in RFC 8785 text."""
    prefix = _prefix(key)
    kind = type(value)
    if kind is str:
        return f'{prefix}{{"stringValue":{encode_basestring(value)}}}}}'  # type: ignore[arg-type]
    if kind is bool:
        return f'{prefix}{{"boolValue":{"true" if value else "false"}}}}}'
    if kind is int:
        return f'{prefix}{{"intValue":"{value}"}}}}'
    if kind is list:
        items = ",".join(f'{{"stringValue":{encode_basestring(item)}}}' for item in value)  # type: ignore[union-attr]
        return f'{prefix}{{"arrayValue":{{"values":[{items}]}}}}}}'
    raise TypeError(f"attribute {key}: format 1.x has no {kind.__name__}")


@lru_cache(maxsize=2048)
def _string(key: str, value: str) -> str:
    """A short string attribute. Most of a record's are those of the record before: same tool, same actor, same client."""
    return f'{_prefix(key)}{{"stringValue":{encode_basestring(value)}}}}}'


@lru_cache(maxsize=512)
def _prefix(key: str) -> str:
    return f'{{"key":{encode_basestring(key)},"value":'


_CANONICALIZATION: Final = attribute(AUDIT_INTEGRITY_CANONICALIZATION, CANONICALIZATION)
