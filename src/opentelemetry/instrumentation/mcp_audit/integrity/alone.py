# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with one record, whatever stands around it: form, hash, content, observed time, who it says it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from opentelemetry.instrumentation.mcp_audit.record.attributes import (
    AUDIT_INTEGRITY_CANONICALIZATION,
    AUDIT_SCHEMA_VERSION,
    AUDIT_SEQUENCE_STREAM_ID,
    CANONICALIZATION,
    CARRIER_KEYS,
    CONTENT_DIGEST,
    DURATION_US,
    INTEGRITY_PREFIX,
    OUTCOME_EVENTS,
    RECORD_HASH,
    SCHEMA_VERSION,
    TABLE,
)

from .canonical import canonical_form, sha256_hex
from .parse import StoredRecord
from .report import Kind

MAJOR: Final = SCHEMA_VERSION.split(".")[0]
"""The major version of the format that this release reads."""

_ALWAYS: Final = frozenset(name for name, row in TABLE.items() if row.need == "always")
_OUTCOMES: Final = _ALWAYS | {name for name, row in TABLE.items() if row.need == "outcomes"}


def wrong_alone(record: StoredRecord, view: bool = False) -> Iterator[tuple[Kind, str]]:
    """What is wrong with a record, whatever stands around it. ``view``: it may have been stripped of its body on the way."""
    attributes = record.attributes
    for fault in record.faults:
        yield "violation", fault
    needed = _OUTCOMES if record.event_name in OUTCOME_EVENTS else _ALWAYS
    missing = needed - attributes.keys()
    if missing:
        yield "violation", f"the record has no {', '.join(sorted(missing))}"
    if not record.proven:
        yield from _hash(record)
    yield from _content(record, view)
    yield from _observed(record)
    stream = record.stream_id
    if stream is None or attributes.get(AUDIT_SEQUENCE_STREAM_ID, stream) != stream:
        yield "violation", "the record belongs to another stream than its resource says"
    version = attributes.get(AUDIT_SCHEMA_VERSION)
    if version != SCHEMA_VERSION and isinstance(version, str) and version.split(".")[0] != MAJOR:
        yield "violation", f"{AUDIT_SCHEMA_VERSION} is {version[:20]} within a stream of {MAJOR}.x"
    if not record.proven:
        yield from _around(record)


def _hash(record: StoredRecord) -> Iterator[tuple[Kind, str]]:
    stated = record.attributes.get(RECORD_HASH)
    pairs = record.attributes.items()
    form = canonical_form(pairs, record.event_name, record.time, record.trace_id, record.span_id)
    if stated is not None and stated != sha256_hex(form):
        yield "violation", "the record is not what was written: its hash differs (an attribute, name, time or id)"


def _around(record: StoredRecord) -> Iterator[tuple[Kind, str]]:
    """Attributes that the hash does not cover."""
    if record.attributes.get(AUDIT_INTEGRITY_CANONICALIZATION, CANONICALIZATION) != CANONICALIZATION:
        yield "violation", f"{AUDIT_INTEGRITY_CANONICALIZATION} is not {CANONICALIZATION}"
    for key in record.attributes:
        if key in CARRIER_KEYS or (key.startswith(INTEGRITY_PREFIX) and key != AUDIT_INTEGRITY_CANONICALIZATION):
            yield "note", f"{key} was added on the way and is covered by no hash"


def _content(record: StoredRecord, view: bool) -> Iterator[tuple[Kind, str]]:
    digest, body = record.attributes.get(CONTENT_DIGEST), record.body
    if digest is None:
        if body is not None and body != "{}":
            yield "violation", "the record has a body but no digest of it"
    elif body is None:
        if view:
            yield "note", "the body is not here, only its digest"
        else:
            yield "violation", "the body is missing: the record has a digest of one"
    elif sha256_hex(body.encode()) != digest:
        yield "violation", "the body is not what was written: its digest differs"


def _observed(record: StoredRecord) -> Iterator[tuple[Kind, str]]:
    """``observed`` is no part of the form, but it is time + duration, and the duration is."""
    if record.observed == 0:
        yield "violation", "the record has no observed time"
        return
    duration = record.attributes.get(DURATION_US)
    rest = record.observed - record.time - (duration if isinstance(duration, int) else 0) * 1000
    # A duration is in whole microseconds; where there is none, nothing lasted.
    if not 0 <= rest < (1 if duration is None else 1000):
        yield "violation", "the observed time is not the time plus the duration"
