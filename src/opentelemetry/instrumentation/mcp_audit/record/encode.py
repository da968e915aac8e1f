# SPDX-License-Identifier: Apache-2.0
"""A record as bytes: one pass makes the text that is hashed and the line that is written.

The sequence attributes are known only under the journal's lock, everything else before. They sort together, so the text
is made in advance as what stands before and after them (:func:`encode`), and :func:`seal` puts them in, hashes, and
puts hash and body in. Strings are escaped by the C encoder of the standard library, whose escapes (without
``ensure_ascii``) are those of RFC 8785; attribute names are ASCII, so sorting them by code point is RFC 8785's order.
"""

from __future__ import annotations

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
from .sha256 import sha256_hex

MAX_LINE_BYTES: Final = 512 * 1024


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
    before, after = _recurring_text(record) or _text(record.attributes)
    span = f'"spanId":"{record.span_id}",' if record.span_id else ""
    trace = f',"traceId":"{record.trace_id}"' if record.trace_id else ""
    return Encoded(
        before=before,
        after=after,
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
    before, after = encoded.before, encoded.after
    head = f'{{"attributes":[{before}{"," if before else ""}{sequence}{"," if after else ""}{after}'
    digest = sha256_hex(f"{head}],{encoded.event}{encoded.ids}".encode())
    return Sealed(
        f"{head},{attribute(RECORD_HASH, digest)},{_CANONICALIZATION}]{encoded.body},"
        f"{encoded.event}{encoded.observed}{encoded.ids}",
        digest,
    )


def _text(attributes: Mapping[str, AttributeValue]) -> tuple[str, str]:
    """The attributes before the sequence, and those after it."""
    before: list[str] = []
    after: list[str] = []
    part = before
    for key in sorted(attributes):
        if part is before and key > SEQUENCE_PREFIX:
            part = after
        part.append(attribute(key, attributes[key]))
    return ",".join(before), ",".join(after)


class _Layout(NamedTuple):
    """The text of attributes that recur, cut where the others stand: text, hole, text, hole, …, text."""

    before: list[str]
    after: list[str]


def _recurring_text(record: AuditRecord) -> tuple[str, str] | None:
    """What :func:`_text` says, when all but a few of the attributes were written before: one substitution makes it.

    None where nothing recurs.
    """
    recurring, own = record.recurring, record.own
    if recurring is None or own is None:
        return None
    names = tuple(own)
    layout = recurring.texts.get(names)
    if layout is None:
        if list(names) != sorted(names):
            return None
        layout = recurring.texts[names] = _lay_out(recurring.values, names)
    texts = [
        f'{{"stringValue":{encode_basestring(value)}}}' if type(value) is str else _value("", value)
        for value in own.values()
    ]
    before, after = layout.before.copy(), layout.after.copy()
    first = len(before) // 2
    before[1::2] = texts[:first]
    after[1::2] = texts[first:]
    return "".join(before), "".join(after)


def _lay_out(values: Mapping[str, AttributeValue], names: tuple[str, ...]) -> _Layout:
    """Text as :func:`_text` makes it, where the values of ``names``, which are in order, are left open."""
    before, after = [""], [""]
    for key in sorted((*values, *names)):
        parts = after if key > SEQUENCE_PREFIX else before
        comma = "," if parts != [""] else ""
        if key in names:
            parts[-1] += comma + _prefix(key)
            parts += ("", "}")
        else:
            parts[-1] += comma + attribute(key, values[key])
    return _Layout(before, after)


def attribute(key: str, value: AttributeValue) -> str:
    """One OTLP/JSON attribute, in RFC 8785 text."""
    return f"{_prefix(key)}{_value(key, value)}}}"


def _value(key: str, value: AttributeValue) -> str:
    kind = type(value)
    if kind is str:
        return f'{{"stringValue":{encode_basestring(value)}}}'  # type: ignore[arg-type]
    if kind is bool:
        return f'{{"boolValue":{"true" if value else "false"}}}'
    if kind is int:
        return f'{{"intValue":"{value}"}}'
    if kind is list:
        items = ",".join(f'{{"stringValue":{encode_basestring(item)}}}' for item in value)  # type: ignore[union-attr]
        return f'{{"arrayValue":{{"values":[{items}]}}}}'
    raise TypeError(f"attribute {key}: format 1.x has no {kind.__name__}")


@lru_cache(maxsize=512)
def _prefix(key: str) -> str:
    return f'{{"key":{encode_basestring(key)},"value":'


_CANONICALIZATION: Final = attribute(AUDIT_INTEGRITY_CANONICALIZATION, CANONICALIZATION)
