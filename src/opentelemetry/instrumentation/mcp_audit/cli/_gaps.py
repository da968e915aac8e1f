# SPDX-License-Identifier: Apache-2.0
"""The losses that a journal itself tells of: its newest ``gap`` records, found without parsing anything else."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord, parse_line
from opentelemetry.instrumentation.mcp_audit.integrity.reading import open_inside
from opentelemetry.instrumentation.mcp_audit.integrity.values import NotARecord
from opentelemetry.instrumentation.mcp_audit.journal.tail import read_at
from opentelemetry.instrumentation.mcp_audit.record.attributes import EVENT_GAP, GAP_COUNT, GAP_REASON
from opentelemetry.instrumentation.mcp_audit.render.text import iso_milliseconds

from ._checks import Check
from ._words import size, some

_MAX_BYTES: Final = 64 * 1024 * 1024
_MAX_FILES: Final = 1000
_MAX_GROUPS: Final = 5
_BLOCK: Final = 1024 * 1024
# As this package writes it. Inside a value the quotes would be escaped.
_GAP: Final = f'"eventName":"{EVENT_GAP}"'.encode()
_UNSAFE: Final = "fsync:"


@dataclass(slots=True)
class Gaps:
    """Gap records of one reason (numbers in it left out of the comparison). ``lost``: records that they count; ``unsafe``:
    they count none, but name records that may not outlive a power cut. ``newest``: nanoseconds since the epoch."""

    reason: str
    unsafe: bool
    records: int
    lost: int
    newest: int


@dataclass(slots=True)
class Looked:
    """What was found in how many of the newest bytes of a journal."""

    groups: list[Gaps]
    bytes: int
    all: bool


def gaps(newest_first: Sequence[str]) -> Looked:
    """Look through the ends of the segments, newest first, as far as a bound goes."""
    found: dict[tuple[str, bool], Gaps] = {}
    left, whole = _MAX_BYTES, len(newest_first) <= _MAX_FILES
    for file in newest_first[:_MAX_FILES]:
        if left <= 0:
            whole = False
            break
        try:
            with open_inside(file) as opened:
                descriptor = opened.fileno()
                end = os.fstat(descriptor).st_size
                start = max(0, end - left)
                whole = whole and start == 0
                left -= end - start
                for line in _lines_with(descriptor, start, end):
                    _count(line, found)
        except OSError:
            continue  # pruned just now, or not ours to read: told elsewhere
    groups = sorted(found.values(), key=lambda group: group.newest, reverse=True)
    return Looked(groups, _MAX_BYTES - left, whole)


def gaps_checks(directory: str, looked: Looked) -> Iterator[Check]:
    """What is to be said of them."""
    where = "" if looked.all else f" (in the newest {size(looked.bytes)})"
    for group in looked.groups[:_MAX_GROUPS]:
        when = f"the newest of {iso_milliseconds(group.newest)}"
        if group.unsafe:
            text = f"records are named that may not outlive a power cut, by {some(group.records, 'gap record')}, {when}"
        else:
            text = (
                f"{some(group.lost, 'record was', 'records were')} lost, by {some(group.records, 'gap record')}, {when}"
            )
        yield Check("gaps", "yellow", f"{directory}: {text}{where}: {group.reason}")
    more = len(looked.groups) - _MAX_GROUPS
    if more > 0:
        yield Check("gaps", "yellow", f"{directory}: and for {some(more, 'more reason')}: query --event gap")


def _lines_with(descriptor: int, start: int, end: int) -> Iterator[bytes]:
    """The whole lines between two places that hold a gap record."""
    rest, at = b"", start
    while at < end:
        data = read_at(descriptor, min(_BLOCK, end - at), at)
        if not data:
            return
        at += len(data)
        rest += data
        cut = rest.rfind(b"\n") + 1
        position = rest.find(_GAP, 0, cut)
        while position >= 0:
            begin, stop = rest.rfind(b"\n", 0, position) + 1, rest.find(b"\n", position)
            yield rest[begin:stop]
            position = rest.find(_GAP, stop, cut)
        rest = rest[cut:]
        if len(rest) > _BLOCK:
            rest = b""  # no line of a journal is so long


def _count(line: bytes, found: dict[tuple[str, bool], Gaps]) -> None:
    try:
        records = parse_line(line)
    except NotARecord:
        return  # the first line of the window, cut in two; or nothing of ours
    for record in records:
        if record.event_name == EVENT_GAP:
            _add(record, found)


def _add(record: StoredRecord, found: dict[tuple[str, bool], Gaps]) -> None:
    lost, reason = record.attributes.get(GAP_COUNT), record.attributes.get(GAP_REASON)
    count = lost if isinstance(lost, int) else 0
    text = reason if isinstance(reason, str) else "no reason given"
    unsafe = count == 0 and text.startswith(_UNSAFE)
    key = (re.sub(r"[0-9a-f-]{36}|\d+", "", text), unsafe)
    group = found.setdefault(key, Gaps(text, unsafe, 0, 0, 0))
    group.records += 1
    group.lost += count
    if record.time >= group.newest:
        group.newest, group.reason = record.time, text
