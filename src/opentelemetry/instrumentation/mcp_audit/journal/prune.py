# SPDX-License-Identifier: Apache-2.0
"""Deleting the oldest segments for room, by the rules: over, acknowledged, old enough, as the ledger says, and told first.

flock taken -> ledger ``pruned`` -> unlink -> directory synced. Whoever holds a segment's flock is the only one who says
``pruned`` of it; after a kill in between the next one only deletes. A segment whose end is not what the ledger says is
evidence and stays.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from opentelemetry.instrumentation.mcp_audit.integrity.parse import MAX_LINE_BYTES, StoredRecord, parse_line
from opentelemetry.instrumentation.mcp_audit.integrity.values import NotARecord
from opentelemetry.instrumentation.mcp_audit.record.attributes import RECORD_HASH
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord
from opentelemetry.instrumentation.mcp_audit.render.text import iso_milliseconds

from . import events, platform
from .acknowledged import acknowledged_by_delivery
from .delivered import Place, is_delivered, read_delivered
from .disk import Disk
from .ledger import Entry, Ledger
from .reserve import Reserve
from .slots import SLOT_BYTES, Unreadable, read_header
from .tail import line_before, read_at

_SEGMENT: Final = re.compile(r"\d{8}T\d{6}Z-(\d+)-([0-9a-f-]{36})\.jsonl")
_MARKER: Final = ".calls"
# Open at once, and told to the ledger under one lock.
_BATCH: Final = 64
# How many records from the end on tell when the segment was written last: calls of several threads end in any order.
_LAST_RECORDS: Final = 32
# What the ledger does not let go is not looked up again with every measure.
_AGAIN_SECONDS: Final = 60.0
_OVER: Final = ("closed", "adopted", "pruned")


@dataclass(slots=True)
class _Held:
    """A segment that may go as far as it can tell itself. ``entry``: the newest that the ledger has of it."""

    path: Path
    descriptor: int
    size: int
    stream_id: str
    number: int
    head: str
    entry: Entry | None = None


class Pruner:
    """Deletes for one directory. One thread at a time."""

    def __init__(
        self,
        directory: Path,
        disk: Disk,
        ledger: Ledger,
        reserve: Reserve,
        min_age_seconds: float,
        say: Callable[[str], None],
    ) -> None:
        self._directory = directory
        self._disk = disk
        self._ledger = ledger
        self._reserve = reserve
        self._min_age = int(min_age_seconds * 1e9)
        self._say = say
        # Files whose locks are ours: as long as they are open, here or in a child of a fork.
        self._open: set[int] = set()
        self._until = 0
        self._not_before: dict[str, float] = {}
        # How far each file was delivered, where delivery is what acknowledged: a clock set back makes times lie.
        self._delivered: dict[str, Place] | None = None
        self._said: set[str] = set()

    def prune(self, need: int, until: int) -> int:
        """Delete the oldest segments until ``need`` bytes are freed or none may go; the bytes that were freed.

        ``until``: nanoseconds since the epoch up to which records are acknowledged. Raises OSError when the directory or
        the ledger cannot be read or written; nothing is deleted then that the ledger does not say.
        """
        if until <= 0 or not platform.CAN_LOCK:
            return 0  # without locks a living process's segment looks like any other
        if until != self._until:
            self._until, self._not_before = until, {}
        self._delivered = read_delivered(self._directory) if acknowledged_by_delivery(self._directory) else None
        freed = 0
        names = iter(self._names(until))
        while freed < need:
            try:
                going: list[_Held] = []
                for held in islice(self._may_go(names, until), _BATCH):
                    going.append(held)
                    if freed + sum(one.size for one in going) >= need:
                        break
                if not going:
                    break
                freed += self._delete(going, until)
            finally:
                self.release()
        return freed

    def release(self) -> None:
        """Give back every lock. A forked child does so too, or its copies would keep them taken."""
        while self._open:
            self._disk.close(self._open.pop())

    def _names(self, until: int) -> list[str]:
        """Names of segments that began by ``until`` and were not touched for the minimum age, oldest first."""
        now = time.monotonic()
        touched = time.time_ns() - self._min_age
        began = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(until // 1_000_000_000))
        found: list[tuple[str, int, str]] = []
        with os.scandir(self._directory) as entries:
            for entry in entries:
                start = entry.name[: len(began)]
                if _SEGMENT.fullmatch(entry.name) and start <= began:
                    with contextlib.suppress(FileNotFoundError):  # pruned by somebody else meanwhile
                        modified = entry.stat(follow_symlinks=False).st_mtime_ns
                        if modified <= touched:
                            found.append((start, modified, entry.name))
        names = [name for _, _, name in sorted(found)]
        self._not_before = {name: self._not_before[name] for name in names if self._not_before.get(name, now) > now}
        return [name for name in names if name not in self._not_before]

    def _may_go(self, names: Iterator[str], until: int) -> Iterator[_Held]:
        pending: set[str] | None = None
        for name in names:
            held = self._hold(name, until)
            if held is None:
                continue
            # Looked up late: mostly there is nothing to prune, and then no marker need be touched.
            pending = self._pending() if pending is None else pending
            if name.split("-")[1] in pending:
                self._let_go(held.descriptor)
            else:
                yield held

    def _hold(self, name: str, until: int) -> _Held | None:
        """The segment with its lock, if nobody has it and it is acknowledged and old enough; else None."""
        path = self._directory / name
        held: _Held | None = None
        try:
            descriptor = self._disk.open(path, append=True)
        except OSError:
            return None  # gone meanwhile, a link, or not ours: the verification says so
        self._open.add(descriptor)
        try:
            if self._disk.lock(descriptor) and _is_at(descriptor, path):
                held = self._judged(path, descriptor, until)
        except OSError:
            held = None  # what cannot be read is not deleted
        if held is None:
            self._let_go(descriptor)
        return held

    def _judged(self, path: Path, descriptor: int, until: int) -> _Held | None:
        size = os.fstat(descriptor).st_size
        records = list(islice(_records_backwards(descriptor, size), _LAST_RECORDS))
        if not records:
            return None
        last = records[0]
        head, stream_id = last.attributes.get(RECORD_HASH), path.stem[-36:]
        written = max(max(record.time, record.observed) for record in records)
        if written > until:
            # It is over, so this changes only with another acknowledgement. (A live one's lock was not to be had.)
            self._not_before[path.name] = time.monotonic() + _AGAIN_SECONDS
            return None
        if time.time_ns() - written < self._min_age:
            return None
        if self._delivered is not None and not is_delivered(self._delivered, path.name, size):
            return None
        if last.stream_id != stream_id or last.number is None or not isinstance(head, str):
            return None
        return _Held(path, descriptor, size, stream_id, last.number, head)

    def _pending(self) -> set[str]:
        """Pids of dead processes that nobody has adopted yet: only their segments tell which of their calls ended."""
        pids: set[str] = set()
        with os.scandir(self._directory) as entries:
            markers = [entry.name for entry in entries if entry.name.endswith(_MARKER)]
        for name in markers:
            try:
                descriptor = self._disk.open(self._directory / name, append=False)
            except OSError:
                continue
            self._open.add(descriptor)
            try:
                if self._disk.lock(descriptor):
                    with contextlib.suppress(Unreadable):  # no process to know by it; its adopter says so
                        pids.add(str(read_header(read_at(descriptor, SLOT_BYTES, 0)).pid))
            finally:
                self._let_go(descriptor)
        return pids

    def _let_go(self, descriptor: int) -> None:
        self._open.discard(descriptor)
        self._disk.close(descriptor)

    def _delete(self, wanted: list[_Held], until: int) -> int:
        """Delete those of the held segments that the ledger knows as over, and as they are."""
        by_name = {held.path.name: held for held in wanted}
        unknown = len(by_name)
        # Read with the locks held: nobody else can have said `pruned` of one of them after this.
        for entry in self._ledger.backwards():
            held = by_name.get(entry.file)
            if held is not None and held.entry is None and held.stream_id == entry.stream_id:
                held.entry = entry
                unknown -= 1
                if unknown == 0:
                    break
        going = [held for held in wanted if self._agrees(held)]
        if not going:
            return 0
        reason = f"acknowledged until {iso_milliseconds(until)}"
        self._tell(
            *(
                events.ledger_pruned(held.stream_id, held.path.name, held.number, held.head, reason)
                for held in going
                if held.entry is not None and held.entry.kind != "pruned"
            )
        )
        freed = 0
        for held in going:
            if _is_at(held.descriptor, held.path):
                self._disk.unlink(held.path)
                freed += held.size
        self._disk.sync_directory(self._directory)
        return freed

    def _agrees(self, held: _Held) -> bool:
        """Whether the ledger has it as over, with the end that it has. If not, it is left alone for a while."""
        entry = held.entry
        if entry is not None and entry.kind in _OVER and (entry.count, entry.head) == (held.number, held.head):
            return True
        self._not_before[held.path.name] = time.monotonic() + _AGAIN_SECONDS
        if entry is not None and entry.kind in _OVER and held.path.name not in self._said:
            self._said.add(held.path.name)
            self._say(f"{held.path.name} does not end as the ledger says: it is never deleted for room; run verify")
        return False

    def _tell(self, *entries: AuditRecord) -> None:
        if not entries:
            return
        try:
            self._ledger.append(*entries)
        except OSError:
            # Perhaps for want of room: this is what the reserve is for. What did get written is not written twice.
            if not self._reserve.release():
                raise
            self._ledger.append(*entries)


def _records_backwards(descriptor: int, end: int) -> Iterator[StoredRecord]:
    """The records from the end on, until a line that is none; a torn last line is passed over."""
    first = True
    while end > 0:
        line, end = line_before(descriptor, end)
        if line.endswith(b"\n") and len(line) <= MAX_LINE_BYTES:
            try:
                found = parse_line(line[:-1])
            except NotARecord:
                return
            if len(found) != 1:
                return
            yield found[0]
        elif not first or line.endswith(b"\n"):
            return
        first = False


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
