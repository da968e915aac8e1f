# SPDX-License-Identifier: Apache-2.0
"""What the ledger says of a directory's segments, and what follows from it for those that are there.

Pure: it knows no file. The ledger's own chain is checked as that of any stream (``segment.py``); here its entries are
put together, stream by stream, and held against what was found in the segment (``docs/format.md`` 6).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from opentelemetry.instrumentation.mcp_audit.record.attributes import (
    EVENT_LIFECYCLE,
    LIFECYCLE_KIND,
    STREAM_COUNT,
    STREAM_FILE,
    STREAM_HEAD,
    STREAM_ID,
    STREAM_REASON,
)

from .parse import StoredRecord
from .report import Kind, StreamReport
from .segment import Holes

ENTRY_KINDS: Final = frozenset(("opened", "closed", "adopted", "pruned"))
_UNSURE: Final = frozenset(("power", "sealed"))
"""Reasons of an adoption after which the disk may hold less than was written: a power cut, a disk that refused."""


class Entry(NamedTuple):
    """One line of the ledger about one segment. ``line`` is its place in the ledger; ``number`` and ``head`` are those of
    the segment's last record by then (its first, when it was opened)."""

    line: int
    kind: str
    stream_id: str
    file: str
    number: int
    head: str
    reason: str


@dataclass(slots=True)
class Standing:
    """All that the ledger says of one stream. ``settled`` is the entry by which it is over, closed or adopted."""

    stream_id: str
    file: str
    first_line: int
    opened: Entry | None = None
    settled: Entry | None = None
    pruned: Entry | None = None
    wrong: list[tuple[Kind, int, str]] = field(default_factory=list)
    """What is wrong with the entries themselves: kind of finding, line of the ledger, sentence."""

    @property
    def holes(self) -> Holes:
        """Where in this stream what is no record may stand without anybody being to blame."""
        if self.settled is None:
            return "boot"
        return "always" if self.settled.kind == "adopted" and self.settled.reason in _UNSURE else "never"


def entry_of(record: StoredRecord) -> Entry | str | None:
    """The record as an entry; None when it is about no segment; a sentence when it is one that does not say enough."""
    attributes = record.attributes
    kind, stream_id = attributes.get(LIFECYCLE_KIND), attributes.get(STREAM_ID)
    if record.event_name != EVENT_LIFECYCLE or kind not in ENTRY_KINDS:
        return None
    file, count, head = (attributes.get(name) for name in (STREAM_FILE, STREAM_COUNT, STREAM_HEAD))
    if stream_id is None and record.number == 1:
        return None  # the ledger's own first record
    if kind == "opened" and count is None:
        count = 1
    if not (isinstance(stream_id, str) and isinstance(file, str) and isinstance(count, int) and isinstance(head, str)):
        return f"the entry ({kind}) does not say which segment, how many records or which hash"
    reason = attributes.get(STREAM_REASON)
    return Entry(record.line, str(kind), stream_id, file, count, head, reason if isinstance(reason, str) else "")


def standing(entries: Iterable[Entry]) -> Standing | None:
    """The entries of one stream, in the ledger's order, put together. None when there are none."""
    made: Standing | None = None
    for entry in entries:
        if made is None:
            made = Standing(entry.stream_id, entry.file, entry.line)
        _take(made, entry)
    return made


def _take(made: Standing, entry: Entry) -> None:
    if entry.file != made.file:
        made.wrong.append(("violation", entry.line, f"it names another file than line {made.first_line}"))
    if entry.kind == "opened":
        if made.opened is None:
            if made.settled or made.pruned:
                made.wrong.append(("violation", entry.line, "a stream is opened that was over before"))
            made.opened = entry
        else:
            made.wrong.append(_again(made.opened, entry))
        return
    if made.opened is None:
        made.wrong.append(("violation", entry.line, f"a stream is {entry.kind} that was never opened"))
    over = made.settled or made.pruned
    if over is not None and (over.number, over.head) != (entry.number, entry.head):
        made.wrong.append(_again(over, entry))
    elif entry.kind == "pruned":
        if made.pruned is not None:
            made.wrong.append(_again(made.pruned, entry))
    elif over is not None:
        made.wrong.append(_again(over, entry))
    if entry.kind == "pruned":
        made.pruned = made.pruned or entry
    else:
        made.settled = made.settled or entry


def _again(first: Entry, again: Entry) -> tuple[Kind, int, str]:
    """A second entry where one is enough: a note when it says the same (a process died in between), else a lie."""
    if (first.number, first.head, first.file) == (again.number, again.head, again.file):
        return "note", again.line, f"the stream was {first.kind} in line {first.line} already: the same again"
    return "violation", again.line, f"it contradicts line {first.line} ({first.kind}): another count, hash or file"


def against(said: Standing, found: StreamReport, still_there: bool = True) -> Iterator[tuple[Kind, str]]:
    """What the ledger says of a stream, held against what is in its file (or was, until it was deleted meanwhile)."""
    name = os.path.basename(found.file)
    if name != said.file:
        yield "violation", f"the file was renamed: the ledger (line {said.first_line}) has it as {said.file[:200]}"
    if said.opened is not None and found.first_hash != said.opened.head:
        yield "violation", f"its first record is not the one that the ledger has (line {said.opened.line})"
    over = said.settled or said.pruned
    if over is not None and (found.last_number, found.last_hash) != (over.number, over.head):
        yield _other_end(over, found)
    if found.ended and said.settled is None and said.pruned is None:
        yield (
            "note",
            "it has its end record, but the ledger does not say so yet: its process died or is just closing it",
        )
    if said.pruned is not None and still_there:
        yield "note", f"the ledger (line {said.pruned.line}) has it as pruned, but the file is still there"


def _other_end(over: Entry, found: StreamReport) -> tuple[Kind, str]:
    last = found.last_number or 0
    ledger = f"the ledger (line {over.line}, {over.kind}) has {over.number} records"
    if last == over.number:
        return "violation", f"its last record, number {last}, is not the one that the ledger has (line {over.line})"
    if last > over.number:
        return "violation", f"it holds {last} records: {ledger}"
    if over.kind == "adopted" and over.reason in _UNSURE and found.verdict == "valid":
        # The disk had refused, or lost power, when this was counted: what was read then may be gone with the page cache.
        return "note", f"it holds {last} whole records: {ledger}, of which the last were never safe ({over.reason})"
    return "violation", f"it holds {last} whole records: {ledger}. The tail is missing or was replaced"


def unknown(found: StreamReport, why: str) -> tuple[Kind, str]:
    """A segment that the ledger does not have. ``why`` says what was looked for."""
    if found.lines > 1:
        return "violation", f"{why}: a writer enters a segment before its second record, so it was brought here"
    return "note", f"{why}: its process got no further than its first record, or is just entering it"
