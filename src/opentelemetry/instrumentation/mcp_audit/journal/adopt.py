# SPDX-License-Identifier: Apache-2.0
"""Adoption: whoever starts next answers for the calls of a process that died, and settles its segments, once.

For each start marker whose lock can be taken, in this order, so that another adopter can go on after a kill anywhere:
segments made whole -> slots whose outcome is recorded, cleared -> marker names the adopter's stream -> ``abandoned`` for
the rest -> all that on the disk -> their slots cleared -> ledger ``adopted`` -> marker removed.
The segments are ``settle.py``'s work, the calls ``answer.py``'s.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord

from . import platform
from .answer import Answering
from .disk import Disk
from .ledger import Ledger
from .marker import SUFFIX, UNFINISHED
from .marker_contents import Contents, read_descriptor
from .remains import Files, process_of
from .settle import InUse, Settling
from .slots import Header, NewerVersion

_MAX_MARKERS: Final = 10_000
_MAX_SAID: Final = 8
_STALE_SECONDS: Final = 3600


class Adopted(NamedTuple):
    """How many dead processes were adopted, how many segments settled, how many calls answered for with ``abandoned``."""

    processes: int
    segments: int
    calls: int


class Stopping(Exception):
    """Raised by what an adopter writes with, when it ends itself: what is not adopted yet is left to the next one."""


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
        boot = platform.boot_id()
        self._settling = Settling(directory, disk, ledger, boot, voice)
        self._answering = Answering(disk, append, durable, own, boot)

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
        except InUse:
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
        settled = self._settling.made_whole(first, streams, process)
        calls, total = self._answering.answer(descriptor, header, contents.calls, files, process)
        self._settling.tell_ledger(settled, total)
        self._remove(path, contents)
        return Adopted(1, len(settled), calls)

    def _remove(self, path: Path, contents: Contents) -> None:
        if contents.torn or (contents.header is None and not contents.blank):
            # What cannot be read is kept for whoever can.
            quarantine = self._directory / "quarantine"
            self._disk.make_directory(quarantine)
            self._disk.replace(path, quarantine / path.name)
        else:
            self._disk.unlink(path)
        self._disk.sync_directory(self._directory)


def _shown(name: str) -> str:
    """A file's name as one line of text, whatever somebody called it."""
    return ascii(name)[1:-1][:128]
