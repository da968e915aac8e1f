# SPDX-License-Identifier: Apache-2.0
"""One line of a journal as typed values: the readers' half of the format.

Readers depend on no member order, no escape spelling and no place (``docs/format.md``, section 2): what counts are the
typed values, from which the canonical form is built again. What a line holds beside them (a repeated member, an unknown
member, a value of a wrong type) is listed as a *fault* of the record, so that views can still show the record and the
verification can say what is wrong with it. Nothing here raises for any bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from opentelemetry.instrumentation.mcp_audit.record.attributes import (
    AUDIT_RECORD_ID,
    AUDIT_SEQUENCE_NUMBER,
    STREAM_ID,
    AttributeValue,
)

from .values import MAX_FAULTS, NotARecord, attributes_of, fault, shown

MAX_LINE_BYTES: Final = 512 * 1024
_TIME: Final = re.compile(r"0|[1-9][0-9]{0,19}")
_RECORD_MEMBERS: Final = frozenset(
    ("attributes", "body", "eventName", "observedTimeUnixNano", "spanId", "timeUnixNano", "traceId")
)


@dataclass(slots=True)
class StoredRecord:
    """A record as it was read.

    Times are nanoseconds since the epoch (0 when absent), ids lowercase hex or empty, ``body`` None when there is none
    (absent, empty and ``{}`` are one thing). ``line`` counts from 1, ``offset`` is in bytes; ``raw`` is the line as it
    was, without its end. ``faults`` are sentences about what the format does not allow. ``proven``: the record was read
    in a way that has checked its hash, its types and its spelling already (``quick.py``). Values may be shared between
    records: nobody changes them.
    """

    event_name: str
    time: int
    observed: int
    trace_id: str
    span_id: str
    attributes: dict[str, AttributeValue]
    body: str | None
    resource: dict[str, AttributeValue]
    scope: tuple[str, str]
    faults: tuple[str, ...]
    raw: bytes
    proven: bool = field(default=False, compare=False)
    file: str = ""
    line: int = 0
    offset: int = 0

    @property
    def record_id(self) -> str | None:
        value = self.attributes.get(AUDIT_RECORD_ID)
        return value if isinstance(value, str) else None

    @property
    def number(self) -> int | None:
        value = self.attributes.get(AUDIT_SEQUENCE_NUMBER)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    @property
    def stream_id(self) -> str | None:
        value = self.resource.get(STREAM_ID)
        return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class Problem:
    """A place in a file where no record could be read.

    ``torn``: an unfinished last line, as a crash leaves it. ``zeros``: there are zero bytes in the line, as a power cut
    leaves them where data had not reached the disk.
    """

    file: str
    line: int
    offset: int
    what: str
    torn: bool = False
    zeros: bool = False


def parse_line(raw: bytes) -> list[StoredRecord]:
    """The records of one line (a journal's line holds one; what a Collector wrote may hold several).

    Raises :class:`NotARecord`, and nothing else, for what is no such line.
    """
    tree, faults = load_json(raw)
    return _from_tree(tree, raw, faults)


def load_json(raw: bytes) -> tuple[Any, list[str]]:
    """The JSON value of ``raw`` and its faults (repeated members). Raises :class:`NotARecord` for what is no JSON."""
    if not raw.strip():
        raise NotARecord("an empty line")
    if not raw.strip(b"\0"):
        raise NotARecord("a run of zero bytes")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise NotARecord(f"not UTF-8 text (byte {error.start} of the line)") from None
    repeated: list[str] = []

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            seen: set[str] = set()
            for name, _ in pairs:
                if name in seen:
                    repeated.append(name)
                seen.add(name)
        return made

    try:
        tree = json.loads(text, object_pairs_hook=members, parse_constant=_no_constant)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(tree, ensure_ascii=False).encode()
    except RecursionError:
        raise NotARecord("nested too deeply") from None
    except UnicodeEncodeError:
        raise NotARecord("half of a surrogate pair, which no writer of the trail makes") from None
    except ValueError as error:
        raise NotARecord(f"not JSON ({str(error)[:100]})") from None
    return tree, [f"JSON member {shown(name)} is repeated" for name in repeated[:MAX_FAULTS]]


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _from_tree(tree: Any, raw: bytes, faults: list[str]) -> list[StoredRecord]:
    found: list[StoredRecord] = []
    groups = _member(_members(tree, ("resourceLogs",), faults, "the line"), "resourceLogs")
    for group in groups:
        group = _members(group, ("resource", "scopeLogs"), faults, "resourceLogs")
        resource = group.get("resource", {})
        resource = _members(resource, ("attributes",), faults, "resource")
        resource_attributes = attributes_of(resource.get("attributes", []), faults, "resource attribute")
        for scoped in _member(group, "scopeLogs"):
            scoped = _members(scoped, ("scope", "logRecords"), faults, "scopeLogs")
            scope = _members(scoped.get("scope", {}), ("name", "version"), faults, "scope")
            name, version = scope.get("name", ""), scope.get("version", "")
            if not isinstance(name, str) or not isinstance(version, str):
                raise NotARecord("scope name or version is no string")
            for record in _member(scoped, "logRecords"):
                found.append(record_of(record, raw, list(faults), resource_attributes, (name, version)))
    if not found:
        raise NotARecord("JSON without a log record")
    return found


def record_of(
    tree: Any,
    raw: bytes,
    faults: list[str],
    resource: dict[str, AttributeValue],
    scope: tuple[str, str],
) -> StoredRecord:
    """The RECORD member of a line. Raises :class:`NotARecord` when it is none; adds to ``faults`` what is wrong in it."""
    members = _members(tree, _RECORD_MEMBERS, faults, "the record")
    if "attributes" not in members:
        raise NotARecord("a log record without attributes")
    event = members.get("eventName", "")
    if not isinstance(event, str):
        raise NotARecord("eventName is no string")
    attributes = attributes_of(members["attributes"], faults, "attribute")
    return StoredRecord(
        event_name=event,
        time=_time(members, "timeUnixNano", faults),
        observed=_time(members, "observedTimeUnixNano", faults),
        trace_id=_id(members, "traceId", faults),
        span_id=_id(members, "spanId", faults),
        attributes=attributes,
        body=_body(members.get("body"), faults),
        resource=resource,
        scope=scope,
        faults=tuple(faults),
        raw=raw,
    )


def _members(tree: Any, known: Iterable[str], faults: list[str], where: str) -> dict[str, Any]:
    """``tree`` as an object; members that the format does not name are faults, unless they hold OTLP's default."""
    if not isinstance(tree, dict):
        raise NotARecord(f"{where} is no JSON object")
    for name in tree.keys() - known:
        # 0, "" and null are what OTLP/JSON writers may put for a field that is not set.
        if not (tree[name] is None or tree[name] == 0 or tree[name] == ""):
            fault(faults, f"{where} has a member {shown(name)}, which the format does not know")
    return tree


def _member(tree: Mapping[str, Any], name: str) -> list[Any]:
    value = tree.get(name)
    if not isinstance(value, list):
        raise NotARecord(f"JSON without a list {name}, so no OTLP log line")
    return value


def _time(members: Mapping[str, Any], name: str, faults: list[str]) -> int:
    value = members.get(name, 0)
    if isinstance(value, str) and _TIME.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64:
        return value
    fault(faults, f"{name} is no time in nanoseconds")
    return 0


def _id(members: Mapping[str, Any], name: str, faults: list[str]) -> str:
    value = members.get(name, "")
    if isinstance(value, str):
        return value.lower() if value.strip("0") else ""
    fault(faults, f"{name} is no string")
    return ""


def _body(value: Any, faults: list[str]) -> str | None:
    if value is None or value == {}:
        return None
    if isinstance(value, dict) and len(value) == 1 and isinstance(value.get("stringValue"), str):
        return value["stringValue"] or None
    fault(faults, "the body is no string")
    return None
