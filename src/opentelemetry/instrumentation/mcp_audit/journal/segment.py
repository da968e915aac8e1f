# SPDX-License-Identifier: Apache-2.0
"""One segment file: one stream, one writer, append only."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from . import platform


class SegmentBroken(OSError):
    """A write failed and what it left could not be cut off again: nothing may be written after it."""


@dataclass(slots=True)
class Segment:
    """An open segment. ``size`` is where the last whole line ends; ``count`` and ``head`` are its last number and hash.

    ``synced`` is the last number that is surely on the disk.
    """

    path: Path
    descriptor: int
    stream_id: str
    size: int = 0
    count: int = 0
    head: str | None = None
    synced: int = 0

    def write(self, line: bytes) -> None:
        """Append one line with one ``write(2)``.

        Raises OSError when it could not be written whole: then the file ends where it ended before (a short write is cut
        off again), or :class:`SegmentBroken` when not even that worked.
        """
        try:
            written = os.write(self.descriptor, line)
            if written != len(line):
                raise OSError(f"only {written} of {len(line)} bytes could be written (is the disk full?)")
        except OSError as error:
            try:
                self.cut(self.size)
            except OSError as second:
                raise SegmentBroken(f"{error}; cutting it off failed too: {second}") from error
            raise
        self.size += written

    def cut(self, size: int) -> None:
        """Take back everything behind ``size``, where a line must end."""
        os.ftruncate(self.descriptor, size)
        self.size = size

    def sync(self) -> None:
        """Put it on the disk. Raises OSError as :meth:`unsynced` words it."""
        try:
            platform.sync_data(self.descriptor)
        except OSError as error:
            raise self.unsynced(error, self.synced, self.count) from error
        self.synced = self.count

    def unsynced(self, error: OSError, after: int, last: int) -> OSError:
        """What to say of numbers (``after`` excluded, ``last`` included) that a sync failed to put on the disk."""
        return OSError(f"fsync: {error}: {self.path.name} may lack its numbers {after + 1} to {last} on the disk")

    def whereabouts(self) -> Literal["there", "deleted", "moved"]:
        """Whether the file still stands under its name. What is written to a deleted one, nobody will read."""
        ours = os.fstat(self.descriptor)
        if ours.st_nlink == 0:
            return "deleted"
        try:
            named = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return "moved"
        return "there" if os.path.samestat(ours, named) else "moved"

    def close(self) -> None:
        os.close(self.descriptor)


def create(directory: Path, stream_id: str) -> Segment:
    """Make a new segment file (0600) in ``directory`` and lock it. The name tells when, who and which stream."""
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path = directory / f"{now}-{os.getpid()}-{stream_id}.jsonl"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
    flags |= getattr(os, "O_BINARY", 0)  # Windows would write two bytes for a line's end
    descriptor = os.open(path, flags, 0o600)
    if not platform.try_lock(descriptor):
        # Left to whoever took it: only a repair does, which finds nothing in it.
        os.close(descriptor)
        raise OSError(f"{path} was locked by another process as soon as it was made")
    return Segment(path, descriptor, stream_id)
