# SPDX-License-Identifier: Apache-2.0
"""One segment file: one stream, one writer, append only."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from . import platform
from .disk import Disk
from .tail import read_at

_BLOCK = 1 << 20


class SegmentBroken(OSError):
    """A write failed and what it left could not be cut off again: nothing may be written after it."""


class SyncFailed(OSError):
    """What was written may not be on the disk, and asking again would prove nothing (the system may forget what it lost)."""


class Tampered(NamedTuple):
    """What somebody did to the file of a live segment: how many of its records are lost, and what to say."""

    lost: int
    what: str


@dataclass(slots=True)
class Segment:
    """An open segment. ``size`` is where the last whole line ends; ``count`` and ``head`` are its last number and hash.

    ``synced`` is the last number that is surely on the disk. ``opened`` is monotonic time, in seconds.
    ``lost_sync``: what a sync that failed said. Every later one fails too: the system may call the lost pages clean.
    """

    path: Path
    disk: Disk
    descriptor: int
    stream_id: str
    size: int = 0
    count: int = 0
    head: str | None = None
    synced: int = 0
    opened: float = field(default_factory=time.monotonic)
    lost_sync: str | None = None

    def write(self, line: bytes) -> None:
        """Append one line with one ``write(2)``.

        Raises OSError when it could not be written whole: then the file ends where it ended before (a short write is cut
        off again), or :class:`SegmentBroken` when not even that worked.
        """
        try:
            written = self.disk.write(self.descriptor, line)
            if written != len(line):
                raise OSError(errno.ENOSPC, f"only {written} of {len(line)} bytes could be written (is the disk full?)")
        except OSError as error:
            try:
                self.cut(self.size)
            except OSError as second:
                raise SegmentBroken(f"{error}; cutting it off failed too: {second}") from error
            raise
        self.size += written

    def cut(self, size: int) -> None:
        """Take back everything behind ``size``, where a line must end."""
        self.disk.truncate(self.descriptor, size)
        self.size = size

    def sync(self) -> int:
        """Put on the disk what is written by now; the last number that this covers. Raises SyncFailed.

        Another thread may write meanwhile: what it writes is not covered. The caller sees to it that nobody closes the
        descriptor.
        """
        last = self.count
        try:
            if self.lost_sync is None:
                self.disk.sync(self.descriptor)
        except OSError as error:
            self.lost_sync = str(error)
        if self.lost_sync is not None:
            raise SyncFailed(
                f"fsync: {self.lost_sync}: {self.path.name} may lack its numbers {self.synced + 1} to {self.count} on the disk"
            )
        self.synced = max(self.synced, last)
        return last

    def tampered(self) -> Tampered | None:
        """Whether the file is no longer what we wrote, under its name. What is written to a deleted one, nobody reads."""
        ours = os.fstat(self.descriptor)
        where = self._whereabouts(ours)
        if where == "there" and ours.st_size < self.size:
            return Tampered(self.count - self._lines(ours.st_size), f"cut to {ours.st_size} bytes")
        if where == "there":
            return None
        return Tampered(self.count if where == "deleted" else 0, "deleted" if where == "deleted" else "moved away")

    def _whereabouts(self, ours: os.stat_result) -> Literal["there", "deleted", "moved"]:
        if ours.st_nlink == 0:
            return "deleted"
        try:
            named = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return "moved"
        return "there" if os.path.samestat(ours, named) else "moved"

    def _lines(self, size: int) -> int:
        found = 0
        for at in range(0, size, _BLOCK):
            found += read_at(self.descriptor, min(_BLOCK, size - at), at).count(b"\n")
        return found

    def release(self) -> None:
        """Nobody writes here any more: give the lock back, whoever else has a copy of the descriptor, and close the file."""
        platform.unlock(self.descriptor)
        self.close()

    def close(self) -> None:
        """Close this process's descriptor. In a forked child the lock stays with the parent."""
        self.disk.close(self.descriptor)


def create(directory: Path, stream_id: str, disk: Disk) -> Segment:
    """Make a new segment file (0600) in ``directory`` and lock it. The name tells when, who and which stream."""
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path = directory / f"{now}-{os.getpid()}-{stream_id}.jsonl"
    descriptor = disk.create(path, append=True)
    try:
        locked = disk.lock(descriptor)
    except BaseException:
        # A file system without locks: each try would leave an open file and an empty segment behind.
        disk.close(descriptor)
        disk.unlink(path)
        raise
    if not locked:
        # Left to whoever took it: only an adopter does, which finds nothing in it.
        disk.close(descriptor)
        raise OSError(f"{path} was locked by another process as soon as it was made")
    return Segment(path, disk, descriptor, stream_id)
