# SPDX-License-Identifier: Apache-2.0
"""The one door to the disk: everything that the journal changes in its directory goes through a :class:`Disk`.

Reading needs no door. What can fail or be lost stands here in one place, so that a test can refuse any step, write short,
hang, or list every state that a crash or a power cut may leave. Nothing here follows a symbolic link, and every file is
made 0600, every directory 0700.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final, Protocol

from . import platform

# O_NOFOLLOW: a link where a file of ours should stand is somebody's trick. O_BINARY: Windows writes two bytes a line's end.
_FLAGS: Final = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_ZEROS: Final = bytes(64 * 1024)


class Disk(Protocol):
    """The steps from which every change of a journal directory is made. All raise OSError."""

    def create(self, path: Path, *, append: bool) -> int:
        """Make a new file and open it; FileExistsError when there is one. ``append``: every write goes to the end."""

    def open(self, path: Path, *, append: bool) -> int:
        """Open an existing regular file to read and write; OSError for anything else."""

    def write(self, descriptor: int, data: bytes) -> int:
        """One ``write(2)`` at the end of a file opened to append; the number of bytes written, which may be smaller."""

    def write_at(self, descriptor: int, data: bytes, offset: int) -> int:
        """One ``pwrite(2)`` into a file not opened to append."""

    def allocate(self, descriptor: int, size: int) -> None:
        """Make the file at least ``size`` bytes long, with real blocks, so that writing into it needs no room later."""

    def truncate(self, descriptor: int, size: int) -> None: ...

    def sync(self, descriptor: int) -> None:
        """Return when what was written is on the disk, and the size with it."""

    def sync_directory(self, path: Path) -> None:
        """Return when the directory's entries are on the disk."""

    def unlink(self, path: Path) -> None: ...

    def replace(self, source: Path, target: Path) -> None:
        """Rename, in place of what ``target`` was."""

    def make_directory(self, path: Path) -> None:
        """Make it (0700) with all above it; nothing happens when it is there."""

    def lock(self, descriptor: int) -> bool:
        """Take the file's flock, without waiting. False when another open file holds it."""

    def close(self, descriptor: int) -> None: ...


class RealDisk:
    """The operating system's files."""

    def create(self, path: Path, *, append: bool) -> int:
        return os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL | (os.O_APPEND if append else 0), 0o600)

    def open(self, path: Path, *, append: bool) -> int:
        # O_NONBLOCK: a FIFO of that name must not hold us up; for a regular file it means nothing.
        descriptor = os.open(path, _FLAGS | getattr(os, "O_NONBLOCK", 0) | (os.O_APPEND if append else 0))
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(f"{path} is not a regular file")
        return descriptor

    def write(self, descriptor: int, data: bytes) -> int:
        return os.write(descriptor, data)

    def write_at(self, descriptor: int, data: bytes, offset: int) -> int:
        return platform.write_at(descriptor, data, offset)

    def allocate(self, descriptor: int, size: int) -> None:
        if os.fstat(descriptor).st_size >= size:
            return
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
            return
        at = os.fstat(descriptor).st_size
        while at < size:
            at += self.write_at(descriptor, _ZEROS[: size - at], at)

    def truncate(self, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        platform.sync_data(descriptor)

    def sync_directory(self, path: Path) -> None:
        platform.sync_directory(path)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def replace(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def make_directory(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def lock(self, descriptor: int) -> bool:
        return platform.try_lock(descriptor)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)


REAL_DISK: Final[Disk] = RealDisk()
