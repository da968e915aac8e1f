# SPDX-License-Identifier: Apache-2.0
"""A call in flight as a slot of the start marker (``slots.py``): pure functions, both ways.

What is written always fits into a slot and always names the call: what does not fit is cut or left out by a fixed rule.
Nothing here raises anything but :class:`~.slots.Unreadable` for any bytes read.
"""

from __future__ import annotations

import re
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Final, NamedTuple

from opentelemetry.instrumentation.mcp_audit.record.attributes import (
    ACTOR_PROVENANCE,
    AUDIT_ACTION,
    AUDIT_ACTOR_ID,
    AUDIT_ACTOR_TYPE,
    AUDIT_RECORD_ID,
    AUDIT_SCHEMA_VERSION,
    AUDIT_TARGET_ID,
    AUDIT_TARGET_TYPE,
    CALL_ID,
    CARRIER_KEYS,
    CLIENT_ADDRESS,
    CONTENT_DIGEST,
    GEN_AI_OPERATION_NAME,
    GEN_AI_PROMPT_NAME,
    GEN_AI_TOOL_NAME,
    INTEGRITY_PREFIX,
    LEVEL,
    MCP_METHOD_NAME,
    MCP_RESOURCE_URI,
    POLICY_HASH,
    POLICY_RULE,
    RECORD_HASH,
    REQUEST_ID,
    SEQUENCE_PREFIX,
    TABLE,
    TENANT_ID,
    TRUNCATED,
    USER_ID,
    AttributeValue,
)

from .slots import ID, MAX_PAYLOAD, Unreadable, packed, text_in, tree_of

# When a call does not fit, its attributes are put in in this order (then the rest by name) as long as there is room.
# The first ten are always there: cut to their limits they fit whatever they hold.
_ORDER: Final = (
    AUDIT_RECORD_ID,
    CALL_ID,
    MCP_METHOD_NAME,
    AUDIT_ACTION,
    AUDIT_SCHEMA_VERSION,
    LEVEL,
    AUDIT_ACTOR_TYPE,
    ACTOR_PROVENANCE,
    AUDIT_ACTOR_ID,
    REQUEST_ID,
    GEN_AI_TOOL_NAME,
    AUDIT_TARGET_TYPE,
    AUDIT_TARGET_ID,
    MCP_RESOURCE_URI,
    GEN_AI_PROMPT_NAME,
    USER_ID,
    TENANT_ID,
    CLIENT_ADDRESS,
    POLICY_RULE,
    GEN_AI_OPERATION_NAME,
    POLICY_HASH,
)
_ALWAYS: Final = 10
_RANK: Final = {name: rank for rank, name in enumerate(_ORDER)}
# Of a JSON string, without its quotes; less for ids and for words of our own, which are never so long.
_CUT_BYTES: Final = 96
_LIMITS: Final = {
    AUDIT_RECORD_ID: 40,
    CALL_ID: 40,
    AUDIT_ACTION: 20,
    AUDIT_SCHEMA_VERSION: 20,
    LEVEL: 20,
    AUDIT_ACTOR_TYPE: 20,
    ACTOR_PROVENANCE: 20,
}
# Shorter than an id (36): those never come again and would only push out what does.
_RECURRING_CHARS: Final = 35

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*")
_EVENT: Final = re.compile(r"mcp_audit\.[a-z_]{1,64}")
_TIME: Final = re.compile(r"[0-9]{1,19}")
_TRACE: Final = re.compile(r"(?:[0-9a-f]{32})?")
_SPAN: Final = re.compile(r"(?:[0-9a-f]{16})?")


class OpenCall(NamedTuple):
    """A call in flight, as far as its marker knows it. ``received`` is nanoseconds since the epoch, ids are hex or empty.

    ``attributes`` hold no content and nothing of how the call ended; ``audit.record.id`` must be among them.
    """

    event: str
    received: int
    attributes: dict[str, AttributeValue]
    trace_id: str
    span_id: str


class Slot(NamedTuple):
    """What stands in a slot of a call: which, the call, and the stream that was the newest one when it began."""

    number: int
    call: OpenCall
    stream: str


def call_slot(call: OpenCall, stream: str) -> bytes:
    """A slot for the call, not padded. Raises TypeError or ValueError for what no record can hold."""
    payload = _around(call, stream, ",".join([_member(name, value) for name, value in call.attributes.items()]))
    if len(payload) > MAX_PAYLOAD:
        payload = _fitted(call, stream)
        if len(payload) > MAX_PAYLOAD:
            raise ValueError("a call without end: its event or ids are no such thing")
    return packed(payload)


def read_call(number: int, data: bytes) -> Slot | None:
    """What stands in the slot; None when it is free. Raises :class:`Unreadable`."""
    tree = tree_of(data)
    if tree is None:
        return None
    attributes = tree.get("attributes")
    if not isinstance(attributes, dict):
        raise Unreadable("no attributes")
    kept = {name: value for name, value in attributes.items() if _fits_table(name, value)}
    record_id = kept.get(AUDIT_RECORD_ID)
    if not isinstance(record_id, str) or not ID.fullmatch(record_id):
        raise Unreadable("no record id")
    call = OpenCall(
        text_in(tree, "event", _EVENT),
        int(text_in(tree, "received", _TIME)),
        kept,
        text_in(tree, "trace", _TRACE),
        text_in(tree, "span", _SPAN),
    )
    return Slot(number, call, text_in(tree, "stream", ID))


# --- writing -----------------------------------------------------------------------------------------------------------


def _around(call: OpenCall, stream: str, attributes: str) -> bytes:
    # Half of a surrogate pair becomes a question mark: the marker must not fail on what the record will settle.
    return (
        f'{{"attributes":{{{attributes}}},"event":"{call.event}","received":"{call.received}",'
        f'"span":"{call.span_id}","stream":"{stream}","trace":"{call.trace_id}"}}'
    ).encode("utf-8", "replace")


def _member(name: str, value: AttributeValue) -> str:
    kind = type(value)
    if kind is str:
        # Most of a call's are those of the call before: same tool, same actor, same client.
        if len(value) <= _RECURRING_CHARS:  # type: ignore[arg-type]
            return _recurring(name, value)  # type: ignore[arg-type]
        return f"{_quoted(name)}:{encode_basestring(value)}"  # type: ignore[arg-type]
    if kind is bool:
        return f"{_quoted(name)}:{'true' if value else 'false'}"
    if kind is int:
        return f"{_quoted(name)}:{value}"
    if kind is list:
        return f"{_quoted(name)}:[{','.join([encode_basestring(item) for item in value])}]"  # type: ignore[union-attr]
    raise TypeError(f"attribute {name}: format 1.x has no {kind.__name__}")


@lru_cache(maxsize=2048)
def _recurring(name: str, value: str) -> str:
    return f"{encode_basestring(name)}:{encode_basestring(value)}"


@lru_cache(maxsize=512)
def _quoted(name: str) -> str:
    return encode_basestring(name)


def _fitted(call: OpenCall, stream: str) -> bytes:
    """The payload of a call that is too long: strings cut, then attributes put in by rank while there is room."""
    given = call.attributes
    members: list[str] = []
    notes = [item for item in _strings(given.get(TRUNCATED)) if _bytes(item) <= _CUT_BYTES][:4]
    room = MAX_PAYLOAD - len(_around(call, stream, ""))
    for name in sorted(given.keys() - {TRUNCATED}, key=lambda name: (_RANK.get(name, len(_ORDER)), name)):
        value, remarks = given[name], notes
        if type(value) is str:
            short = _cut(value, _LIMITS.get(name, _CUT_BYTES))
            if short != value:
                remarks = [f"{name} {len(value)}", *notes]
                value = short
        member = _member(name, value)
        size = _bytes(member) + 1
        always = _RANK.get(name, _ALWAYS) < _ALWAYS
        while remarks and size + _bytes(_member(TRUNCATED, remarks)) > room and (always or remarks is notes):
            # Rather what was asked and who than the remark that something was cut.
            remarks = remarks[:-1]
        if size + (_bytes(_member(TRUNCATED, remarks)) if remarks else 0) <= room or always:
            members.append(member)
            notes, room = remarks, room - size
    return _around(call, stream, ",".join([*members, *([_member(TRUNCATED, notes)] if notes else [])]))


def _cut(value: str, limit: int) -> str:
    """As much of the value as takes ``limit`` bytes in JSON."""
    short = value[:limit]
    while _bytes(encode_basestring(short)) - 2 > limit:
        short = short[: len(short) * 7 // 8]
    return short


def _strings(value: AttributeValue | None) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


# --- reading -----------------------------------------------------------------------------------------------------------


def _fits_table(name: str, value: object) -> bool:
    """Whether a record can carry it as it is. What the journal adds itself, and the digest of a body that is not there, not."""
    if (
        not _NAME.fullmatch(name)
        or name.startswith((SEQUENCE_PREFIX, INTEGRITY_PREFIX))
        or name in CARRIER_KEYS
        or name in (RECORD_HASH, CONTENT_DIGEST)
    ):
        return False
    row = TABLE.get(name)
    kind = _kind(value)
    return kind is not None and (row is None or row.type == kind)


def _kind(value: object) -> str | None:
    if type(value) is str:
        return "string"
    if type(value) is bool:
        return "bool"
    if type(value) is int:
        return "int" if -(2**63) <= value < 2**63 else None
    if type(value) is list and value and all(type(item) is str for item in value):
        return "strings"
    return None
