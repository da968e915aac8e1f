# SPDX-License-Identifier: Apache-2.0
"""Adoption: whoever starts next answers for the calls of a process that died, and settles its segments, once.

For each start marker whose lock can be taken, in this order, so that another adopter can go on after a kill anywhere:
segments made whole -> slots whose outcome is recorded, cleared -> marker names the adopter's stream -> ``abandoned`` for
the rest -> all that on the disk -> their slots cleared -> ledger ``adopted`` -> marker removed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from opentelemetry.instrumentation.mcp_audit.record.attributes import AUDIT_RECORD_ID
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord

from . import events, platform, torn
from .abandoned import abandoned
from .disk import Disk
from .ledger import Entry, Ledger
from .marker import SUFFIX, UNFINISHED, Contents, read_descriptor
from .outcomes import recorded
from .remains import Files, Found, Past, Process, chained, first_record, from_stream_on, open_to_read, process_of
from .slots import FREE, SLOT_BYTES, Header, NewerVersion, Slot, header_slot

_MAX_MARKERS: Final = 10_000
_MAX_SAID: Final = 8
_STALE_SECONDS: Final = 3600


class Adopted(NamedTuple):
    """How many dead processes were adopted, how many segments settled, how many calls answered for with ``abandoned``."""

    processes: int
    segments: int
    calls: int


class _Settled(NamedTuple):
    """A segment made whole, and what the ledger is to be told of it."""

    entry: Entry
    whole: torn.Whole
    torn_bytes: int
    reason: events.Adoption
    boot: str


class Stopping(Exception):
    """Raised by what an adopter writes with, when it ends itself: what is not adopted yet is left to the next one."""


class _InUse(Exception):
    """A segment of the process is locked: the process, or a child of it that kept its files, is alive."""


def adopt(
    directory: Path,
    disk: Disk,
    ledger: Ledger,
    append: Callable[[AuditRecord], object],
    durable: Callable[[], None],
    own: Callable[[], str],
    say: Callable[[str], None],
) -> Adopted:
    """Adopt every dead process of the directory. Never raises for what it finds: that is said, and left for the next time.

    ``append`` writes into the adopter's own stream, whose id ``own`` tells; ``durable`` returns when all of that is on the
    disk. Each may raise; :class:`Stopping` ends the pass and is raised again.
    """
    if not platform.CAN_LOCK:
        return Adopted(0, 0, 0)
    adoption = _Adoption(directory, disk, ledger, append, durable, own, _Voice(say))
    done = [adoption.marker(name) for name in adoption.markers()]
    adoption.voice.end()
    return Adopted(*(sum(column) for column in zip(*done, strict=True))) if done else Adopted(0, 0, 0)


@dataclass(slots=True)
class _Voice:
    """Says so much and counts the rest: a directory full of rubbish must not fill a terminal."""

    say: Callable[[str], None]
    said: int = 0

    def __call__(self, sentence: str) -> None:
        self.said += 1
        if self.said <= _MAX_SAID:
            self.say(sentence)

    def end(self) -> None:
        if self.said > _MAX_SAID:
            self.say(f"adoption: {self.said - _MAX_SAID} more things of this kind")


class _Adoption:
    """One pass over a directory."""

    def __init__(
        self,
        directory: Path,
        disk: Disk,
        ledger: Ledger,
        append: Callable[[AuditRecord], object],
        durable: Callable[[], None],
        own: Callable[[], str],
        voice: _Voice,
    ) -> None:
        self.voice = voice
        self._directory = directory
        self._disk = disk
        self._ledger = ledger
        self._append = append
        self._durable = durable
        self._own = own
        self._past = Past(ledger)
        self._boot = platform.boot_id()

    def markers(self) -> list[str]:
        """The names of the directory's markers. Leftovers of one that was never finished are removed."""
        names: list[str] = []
        try:
            with os.scandir(self._directory) as entries:
                for entry in entries:
                    if entry.name.endswith((SUFFIX, UNFINISHED)):
                        if not entry.is_file(follow_symlinks=False):
                            self.voice(f"{_shown(entry.name)} is not a regular file; it is left alone")
                        else:
                            names.append(entry.name)
        except OSError as error:
            self.voice(f"dead processes could not be looked for: {error}")
        for name in names:
            if name.endswith(UNFINISHED):
                self._guarded(name, self._remove_unfinished)
        return sorted(name for name in names if name.endswith(SUFFIX))[:_MAX_MARKERS]

    def marker(self, name: str) -> Adopted:
        """Adopt the process of this marker, if it is dead."""
        return self._guarded(name, self._adopt) or Adopted(0, 0, 0)

    def _guarded(self, name: str, step: Callable[[Path, int], Adopted | None]) -> Adopted | None:
        """Do ``step`` with the file open and locked, if it can be."""
        path = self._directory / name
        try:
            descriptor = self._disk.open(path, append=False)
            try:
                # Who waited for the lock may hold a file that was adopted and removed meanwhile.
                if self._disk.lock(descriptor) and os.path.samestat(os.fstat(descriptor), path.lstat()):
                    return step(path, descriptor)
            finally:
                self._disk.close(descriptor)
        except FileNotFoundError:
            return None  # another adopter was faster
        except _InUse:
            return None
        except Stopping:
            raise
        except NewerVersion as error:
            self.voice(f"{_shown(name)} was left by a newer release ({error}); it is left alone")
        except Exception as error:
            self.voice(f"{_shown(name)} could not be adopted now: {type(error).__name__}: {error}")
        return None

    def _remove_unfinished(self, path: Path, descriptor: int) -> None:
        # One that is being made right now may not be locked yet.
        if abs(time.time() - os.fstat(descriptor).st_mtime) > _STALE_SECONDS:
            self._disk.unlink(path)

    def _adopt(self, path: Path, descriptor: int) -> Adopted:
        contents = read_descriptor(descriptor)
        first = path.name.removesuffix(SUFFIX)
        files = Files(self._directory)
        if contents.header is None and not contents.calls and not contents.blank and files.stream(first) is None:
            self.voice(f"{_shown(path.name)} is not a marker of calls in flight; it is left alone")
            return Adopted(0, 0, 0)
        if contents.torn:
            self.voice(
                f"{path.name}: {contents.torn} calls in flight when the power went cannot be read; they are in no record"
            )
        header = contents.header or Header("", "", 0, "", first)
        streams = list(dict.fromkeys([header.stream, *(slot.stream for slot in contents.calls), first]))
        process = process_of(contents.header, streams, files)
        unsettled = self._unsettled(first, process)
        linked = chained([found for _, found in unsettled], set(streams))
        settled: list[_Settled] = []
        for entry, found in unsettled:
            made = self._made_whole(entry, found, surely_theirs=found.stream in linked)
            if made is not None:
                settled.append(made)
        calls, total = self._answer(descriptor, header, contents.calls, files, process)
        self._tell_ledger(settled, total)
        self._remove(path, contents)
        return Adopted(1, len(settled), calls)

    def _unsettled(self, first: str, process: Process | None) -> list[tuple[Entry, Found]]:
        """What the ledger has as opened by the process (of an unknown one: by any) and not over."""
        entries: list[tuple[Entry, Found]] = []
        for entry in self._past.open_since(first):
            found = first_record(self._directory / Path(entry.file).name)
            if found is not None and found.stream == entry.stream_id and process in (None, found.process):
                entries.append((entry, found))
        return entries

    def _made_whole(self, entry: Entry, found: Found, surely_theirs: bool) -> _Settled | None:
        """Cut off what is torn and sync. None for a segment that is another's, or of which not even one record is left."""
        boot = found.process.boot
        descriptor = self._disk.open(found.path, append=False)
        try:
            if not self._disk.lock(descriptor):
                if surely_theirs:
                    raise _InUse
                return None  # the same process went on as another (exec), or nobody knows whose it is: it lives
            same_boot = self._same_boot(boot)
            whole = torn.whole_part(descriptor, same_boot)
            if whole.number == 0 or whole.head is None:
                self.voice(f"{entry.file} holds no whole record; it is left as it is")
                return None
            torn_bytes, kept = torn.set_aside(self._disk, descriptor, whole, self._directory, entry.file)
        finally:
            self._disk.close(descriptor)
        if kept is not None:
            self.voice(f"{entry.file}: {torn_bytes} bytes behind its last whole record set aside in {kept}")
        reason: events.Adoption = "ended" if whole.ended else "killed" if same_boot else "power"
        return _Settled(entry, whole, torn_bytes, reason, boot)

    def _answer(
        self, descriptor: int, header: Header, slots: list[Slot], files: Files, process: Process | None
    ) -> tuple[int, int]:
        """Bring every call in flight to its one outcome record. How many were written now, and how many in all."""
        left = dict(sorted(_by_id(slots).items(), key=lambda item: (item[1][0].call.received, item[0])))
        told = header.abandoned or 0 if header.adopter is not None else 0
        if left:
            mine = files.of(process) if process is not None else {}
            done = self._recorded(from_stream_on(mine, {slot.stream for slot in slots}), set(left))
            if header.adopter is not None:
                # The adopter before may have written some of them, and be dead by now as well.
                former = files.stream(header.adopter)
                theirs = {} if former is None else files.of(former.process)
                done |= self._recorded(from_stream_on(theirs, {header.adopter}), set(left) - done)
            self._clear(descriptor, [slot for record_id in done for slot in left.pop(record_id)])
        if not left:
            return 0, told
        total = told or len(left)
        own = self._own()
        if not own:
            raise OSError("there is no stream to write to")
        named = header._replace(adopter=own, abandoned=total)
        self._disk.write_at(descriptor, header_slot(named), 0)
        self._disk.sync(descriptor)
        for found in left.values():
            self._append(abandoned(found[0].call))
        self._durable()
        self._clear(descriptor, [slot for found in left.values() for slot in found])
        return len(left), total

    def _recorded(self, segments: list[Found], wanted: set[str]) -> set[str]:
        """Those of the record ids that a segment holds in its whole part, which is then on the disk."""
        done: set[str] = set()
        for found in sorted(segments, reverse=True):
            if len(done) == len(wanted):
                break
            descriptor = open_to_read(found.path)
            try:
                whole = torn.whole_part(descriptor, self._same_boot(found.process.boot))
                here = recorded(descriptor, whole.end, wanted - done)
                if here:
                    self._disk.sync(descriptor)
            finally:
                os.close(descriptor)
            done |= here
        return done

    def _clear(self, descriptor: int, slots: Iterable[Slot]) -> None:
        cleared = False
        for slot in slots:
            self._disk.write_at(descriptor, FREE, slot.number * SLOT_BYTES)
            cleared = True
        if cleared:
            self._disk.sync(descriptor)

    def _tell_ledger(self, settled: list[_Settled], open_calls: int) -> None:
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

    def _remove(self, path: Path, contents: Contents) -> None:
        if contents.torn or (contents.header is None and not contents.blank):
            # What cannot be read is kept for whoever can.
            quarantine = self._directory / "quarantine"
            self._disk.make_directory(quarantine)
            self._disk.replace(path, quarantine / path.name)
        else:
            self._disk.unlink(path)
        self._disk.sync_directory(self._directory)

    def _same_boot(self, boot: str) -> bool:
        return boot != "" and boot == self._boot


def _by_id(slots: list[Slot]) -> dict[str, list[Slot]]:
    """Slots by record id: one call may stand in two, when clearing the first one failed."""
    found: dict[str, list[Slot]] = {}
    for slot in slots:
        found.setdefault(str(slot.call.attributes[AUDIT_RECORD_ID]), []).append(slot)
    return found


def _shown(name: str) -> str:
    """A file's name as one line of text, whatever somebody called it."""
    return ascii(name)[1:-1][:128]
