# SPDX-License-Identifier: Apache-2.0
"""The start marker: the calls of this process that are in flight, in a file, so that ``kill -9`` leaves their names.

One file a process, ``<its first stream>.calls``, locked as long as the process lives. A call costs two small writes into
room that was made before: one when it begins, four zeros when its outcome is in the journal. No memory map: on a full
tmpfs or a cut file that would be a SIGBUS. ``marker_contents.py`` reads what stands in one,
live or left by a dead process.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

from . import platform
from .disk import Disk
from .lock import Busy, OwnedLock, Reentered
from .open_call import OpenCall, call_slot
from .slots import FREE, MAX_SLOTS, SLOT_BYTES, Header, header_slot
from .tail import read_at

SUFFIX: Final = ".calls"
UNFINISHED: Final = ".calls.new"
_FIRST_SLOTS: Final = 64
_ATTEMPTS: Final = 8
# How long a call waits while another makes room; without it, it goes on unmarked.
_GROW_SECONDS: Final = 0.5
_LOCK_SECONDS: Final = 1.0
# A slot's number is what is left of its token, divided by this.
_TOKEN: Final = 2 * MAX_SLOTS


class _File(NamedTuple):
    path: Path
    descriptor: int


class Marker:
    """The marker of one process in one directory. Safe to use from any thread; ``set`` and ``clear`` take no lock."""

    def __init__(self, directory: Path, disk: Disk, say: Callable[[str], None]) -> None:
        self.failures = 0
        """How many calls went on unmarked, or could not be cleared, because a write failed."""
        self.unmarked = 0
        """How many calls went on unmarked because all slots were taken."""
        self._directory = directory
        self._disk = disk
        self._say = say
        self._header = Header("", "", 0, "", "")
        # Tells a slot that is given out from every other time that it is: cleared twice, it must not clear another call.
        self._serial = count(1)
        self._failing = False
        self._full = False
        self._forget()

    @property
    def open_calls(self) -> int:
        """How many calls are in flight and marked."""
        return self._slots - len(self._free)

    def open(self, stream_id: str) -> None:
        """Make this process's marker, named by its first stream; nothing if there is one. Raises OSError.

        It is locked and whole before it gets its name: nobody ever sees one that looks dead and is not.
        """
        try:
            self._lock.hold(_LOCK_SECONDS, lambda: self._open(stream_id))
        except (Busy, Reentered):
            raise OSError("the marker of calls in flight is busy") from None

    def moved_to(self, stream_id: str) -> None:
        """The newest stream of this process is now this one. Raises OSError."""
        file = self._file
        if file is not None:
            self._header = self._header._replace(stream=stream_id)
            self._write(file, header_slot(self._header), 0)

    def set(self, call: OpenCall) -> int | None:
        """Mark the call as in flight. What to clear, or None when it could not be marked. Raises nothing of its own."""
        try:
            slot = self._free.pop()
        except IndexError:
            grown = self._grow()
            if grown is None:
                return None
            slot = grown
        try:
            file = self._file
            assert file is not None  # slots are free only while the file is open, and one taken keeps it open
            self._write(file, call_slot(call, self._header.stream), slot * SLOT_BYTES)
            token = next(self._serial) * _TOKEN + slot
            self._taken.add(token)
        except Exception as error:
            self._failed(error)
            # What stands there half written is torn, and the next call that takes the slot writes over it.
            self._free.append(slot)
            return None
        except BaseException:
            # A signal handler raised: whether it is written is not known, but its outcome will be looked for.
            self._free.append(slot)
            raise
        self._failing = False
        return token

    def clear(self, slot: int) -> None:
        """The outcome of the call is in the journal. Raises nothing of its own; what is not marked is let be."""
        file = self._file
        if file is None or slot not in self._taken:
            return
        self._taken.discard(slot)
        number = slot % _TOKEN
        try:
            self._write(file, FREE, number * SLOT_BYTES)
        except Exception as error:
            # It looks open until another call takes the slot; an adopter finds the outcome and clears it.
            self._failed(error)
        finally:
            self._free.append(number)
        if self._closing is not None:
            self.close(self._closing)

    def close(self, settled: bool = True) -> None:
        """Remove the marker, if no call is in flight. Else it stays, locked, until the last one ends, or the process does.

        ``settled=False``: a segment is left to whoever adopts this process, who finds it by this file. Never raises.
        """
        try:
            self._lock.hold(_LOCK_SECONDS, lambda: self._close(settled))
        except (Busy, Reentered):
            return  # it stays, and whoever adopts this process removes it
        except OSError as error:
            self._failed(error)

    def renew(self) -> None:
        """Make the file again if somebody deleted it, with the calls that are in flight. Raises OSError."""
        file = self._file
        if file is None or os.fstat(file.descriptor).st_nlink or not os.path.isdir(self._directory):
            return  # where the whole directory went, the segment's own check says so, and its next one makes it again
        try:
            self._lock.hold(_LOCK_SECONDS, lambda: self._renew(file))
        except (Busy, Reentered):
            return  # the next tick looks again

    def after_fork_in_child(self) -> None:
        """Forget the parent's marker; closing our copy gives no lock back, it is one with the parent's."""
        file = self._file
        self._forget()
        if file is not None:
            self._disk.close(file.descriptor)

    # -------------------------------------------------------------------------------------------------------------------

    def _forget(self) -> None:
        self._file: _File | None = None
        self._slots = 0
        self._free: deque[int] = deque()
        self._taken: set[int] = set()
        self._closing: bool | None = None
        self._lock = OwnedLock()

    def _write(self, file: _File, data: bytes, offset: int) -> None:
        written = self._disk.write_at(file.descriptor, data, offset)
        if written != len(data):
            raise OSError(f"only {written} of {len(data)} bytes could be written")

    def _open(self, stream_id: str) -> None:
        self._closing = None
        if self._file is not None:
            return
        path = self._directory / f"{stream_id}{SUFFIX}"
        self._header = Header(platform.boot_id(), _host(), os.getpid(), platform.process_start(), stream_id)
        self._file = _File(path, self._made(path))
        self._slots = _FIRST_SLOTS
        self._free.extend(range(_FIRST_SLOTS, 0, -1))

    def _close(self, settled: bool) -> None:
        file = self._file
        if file is None:
            return
        self._closing = settled
        # Whoever has a slot may be about to write: only with all of them in hand may the file be closed.
        held: list[int] = []
        while self._free:
            try:
                held.append(self._free.pop())
            except IndexError:
                break
        if len(held) < self._slots:
            self._free.extend(reversed(held))
            return
        self._forget()
        try:
            if settled:
                self._disk.unlink(file.path)
        finally:
            self._disk.close(file.descriptor)

    def _renew(self, file: _File) -> None:
        if self._file is not file:
            return
        descriptor = self._made(file.path)
        self._disk.allocate(descriptor, (1 + self._slots) * SLOT_BYTES)
        for slot in {token % _TOKEN for token in list(self._taken)}:
            self._disk.write_at(descriptor, read_at(file.descriptor, SLOT_BYTES, slot * SLOT_BYTES), slot * SLOT_BYTES)
        self._file = _File(file.path, descriptor)
        # The old descriptor stays open: a call that took its slot just now may be about to write there.
        self._say(f"{file.path.name} was deleted while calls were in flight; it is made again")

    def _grow(self) -> int | None:
        """One of twice as many slots; None when there is no file, no room, or another thread takes too long."""
        try:
            return self._lock.hold(_GROW_SECONDS, self._double)
        except (Busy, Reentered):
            self.unmarked += 1
        except Exception as error:
            self._failed(error)
        return None

    def _double(self) -> int | None:
        file = self._file
        if file is None:
            return None
        try:
            return self._free.pop()  # another thread was here before
        except IndexError:
            more = min(2 * self._slots, MAX_SLOTS)
        if more == self._slots:
            self.unmarked += 1
            if not self._full:
                self._full = True
                self._say(
                    f"{MAX_SLOTS} calls are in flight; of more nothing is known if the process is killed before they end"
                )
            return None
        self._disk.allocate(file.descriptor, (1 + more) * SLOT_BYTES)
        first, self._slots = self._slots + 1, more
        self._free.extend(range(more, first, -1))
        return first

    def _made(self, path: Path) -> int:
        """The file under its name, whole and locked. Raises OSError."""
        unfinished = path.with_name(f"{path.name}.new")
        for _ in range(_ATTEMPTS):
            descriptor = self._disk.create(unfinished, append=False)
            try:
                # Somebody who clears away what is left over may have it for a moment, or may just have removed it.
                if self._disk.lock(descriptor):
                    self._disk.allocate(descriptor, (1 + _FIRST_SLOTS) * SLOT_BYTES)
                    self._disk.write_at(descriptor, header_slot(self._header), 0)
                    self._disk.sync(descriptor)
                    self._disk.replace(unfinished, path)
                    return descriptor
            except FileNotFoundError:
                self._disk.close(descriptor)
                continue
            except BaseException:
                self._disk.close(descriptor)
                self._disk.unlink(unfinished)
                raise
            self._disk.close(descriptor)
            self._disk.unlink(unfinished)
        raise OSError(f"{unfinished} was taken away {_ATTEMPTS} times while it was made")

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        if not self._failing:
            self._failing = True
            self._say(
                f"calls in flight cannot be marked (they are audited when they end): {type(error).__name__}: {error}"
            )


def _host() -> str:
    return os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
