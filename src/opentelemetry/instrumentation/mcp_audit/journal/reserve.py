# SPDX-License-Identifier: Apache-2.0
"""The reserve: room kept aside, so that on a full disk the last words still fit.

A file of zeros with real blocks stands in the directory. When the disk is full it is cut to nothing, and ``gap``, the
end of a segment and the ledger's entries take its place. (File systems that write every block anew, or compress zeros,
keep less room by it, or none.) All processes of a directory share one.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from .disk import Disk
from .tail import read_at

RESERVE: Final = "reserve"
RESERVE_BYTES: Final = 256 * 1024
# What says that segments may go takes no more than the other half: to delete them takes lines in the ledger.
FOR_PRUNING: Final = RESERVE_BYTES // 2
_FULL: Final = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))

T = TypeVar("T")


class Reserve:
    """The reserve of one directory. Neither method raises: a disk without room for it is what it is there for."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        self._path = directory / RESERVE
        self._disk = disk

    def restore(self) -> bool:
        """See to it that it has its size. False when there is no room, or something else has that name."""
        try:
            descriptor = self._open()
        except OSError:
            return False
        try:
            if not _ours(descriptor):
                return False
            before = os.fstat(descriptor).st_size
            try:
                self._disk.allocate(descriptor, RESERVE_BYTES)
            except OSError:
                # More of it would only take away from those who can still write; what it has is for pruning.
                self._disk.truncate(descriptor, before)
                return False
            return True
        except OSError:
            return False
        finally:
            self._disk.close(descriptor)

    def release(self, kept: int = 0) -> bool:
        """Give the room back to the disk but for ``kept`` bytes. True when there was more than that, and it is free now."""
        try:
            descriptor = self._disk.open(self._path, append=False)
        except OSError:
            return False
        try:
            if os.fstat(descriptor).st_size <= kept or not _ours(descriptor):
                return False
            self._disk.truncate(descriptor, kept)
            # Journaling file systems give freed blocks to others when their own journal is written.
            self._disk.sync(descriptor)
            return True
        except OSError:
            return False
        finally:
            self._disk.close(descriptor)

    def _open(self) -> int:
        try:
            return self._disk.open(self._path, append=False)
        except FileNotFoundError:
            return self._disk.create(self._path, append=False)


def is_full(error: Exception) -> bool:
    """Whether a write failed for want of room: the disk's, or a quota's."""
    return isinstance(error, OSError) and error.errno in _FULL


def acknowledging(reserve: Reserve, write: Callable[[], T]) -> T:
    """Write down that records are kept elsewhere; on a full disk once more, in a part of the reserve.

    Nothing else can end the want of room: only what is acknowledged may be deleted.
    """
    try:
        return write()
    except OSError as error:
        if not is_full(error) or not reserve.release(kept=FOR_PRUNING):
            raise
        return write()


def _ours(descriptor: int) -> bool:
    """Whether it holds nothing: a file that somebody happened to name like it is not for us to cut."""
    status = os.fstat(descriptor)
    if status.st_size > RESERVE_BYTES or status.st_nlink != 1:
        return False
    data = read_at(descriptor, RESERVE_BYTES, 0)
    return len(data) == status.st_size and not data.strip(b"\0")
