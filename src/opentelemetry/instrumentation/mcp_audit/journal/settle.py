# SPDX-License-Identifier: Apache-2.0
"""The segments that a dead process left open: made whole, and over in the ledger. A part of adoption (``adopt.py``)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from . import events, torn
from .disk import Disk
from .ledger import Entry, Ledger
from .remains import Found, Past, Process, chained, first_record


class Settled(NamedTuple):
    """A segment made whole, and what the ledger is to be told of it."""

    entry: Entry
    whole: torn.Whole
    torn_bytes: int
    reason: events.Adoption
    boot: str


class InUse(Exception):
    """A segment of the process is locked: the process, or a child of it that kept its files, is alive."""


class Settling:
    """Settles segments of one directory. ``boot``: the id of this boot; ``say`` gets what was set aside or left."""

    def __init__(self, directory: Path, disk: Disk, ledger: Ledger, boot: str, say: Callable[[str], None]) -> None:
        self._directory = directory
        self._disk = disk
        self._ledger = ledger
        self._past = Past(ledger)
        self._boot = boot
        self._say = say

    def made_whole(self, first: str, streams: list[str], process: Process | None) -> list[Settled]:
        """Cut off what is torn in the segments of the process, and sync them. ``first``: its first stream; ``streams``:
        those its marker names. Raises OSError, and :class:`InUse` when it is alive."""
        unsettled = self._unsettled(first, process)
        linked = chained([found for _, found in unsettled], set(streams))
        settled: list[Settled] = []
        for entry, found in unsettled:
            made = self._made_whole(entry, found, surely_theirs=found.stream in linked)
            if made is not None:
                settled.append(made)
        return settled

    def tell_ledger(self, settled: list[Settled], open_calls: int) -> None:
        """Write ``adopted`` for each segment that the ledger has not as over yet. Raises OSError."""
        self._past.refresh()
        entries = [
            events.ledger_adopted(
                item.entry.stream_id,
                item.entry.file,
                item.whole.number,
                item.whole.head or "",
                torn_bytes=item.torn_bytes,
                reason=item.reason,
                open_calls=open_calls,
                boot_id=item.boot,
            )
            for item in settled
            if self._past.is_open(item.entry.stream_id)
        ]
        if entries:
            self._ledger.append(*entries)

    def _unsettled(self, first: str, process: Process | None) -> list[tuple[Entry, Found]]:
        """What the ledger has as opened by the process (of an unknown one: by any) and not over."""
        entries: list[tuple[Entry, Found]] = []
        for entry in self._past.open_since(first):
            found = first_record(self._directory / Path(entry.file).name)
            if found is not None and found.stream == entry.stream_id and process in (None, found.process):
                entries.append((entry, found))
        return entries

    def _made_whole(self, entry: Entry, found: Found, surely_theirs: bool) -> Settled | None:
        """Cut off what is torn and sync. None for a segment that is another's, or of which not even one record is left."""
        boot = found.process.boot
        descriptor = self._disk.open(found.path, append=False)
        try:
            if not self._disk.lock(descriptor):
                if surely_theirs:
                    raise InUse
                return None  # the same process went on as another (exec), or nobody knows whose it is: it lives
            same_boot = boot != "" and boot == self._boot
            whole = torn.whole_part(descriptor, same_boot)
            if whole.number == 0 or whole.head is None:
                self._say(f"{entry.file} holds no whole record; it is left as it is")
                return None
            torn_bytes, kept = torn.set_aside(self._disk, descriptor, whole, self._directory, entry.file)
        finally:
            self._disk.close(descriptor)
        if kept is not None:
            self._say(f"{entry.file}: {torn_bytes} bytes behind its last whole record set aside in {kept}")
        reason: events.Adoption = "ended" if whole.ended else "killed" if same_boot else "power"
        return Settled(entry, whole, torn_bytes, reason, boot)
