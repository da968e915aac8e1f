# SPDX-License-Identifier: Apache-2.0
"""What differs between operating systems, and nothing else: locks, syncing, boot and process identity.

Linux has the full contract. macOS syncs with ``F_FULLFSYNC`` (its ``fsync`` leaves data in the drive's cache). Windows
has neither flock nor directory fsync: there a segment has no lock and only what the system offers.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Final

CAN_LOCK: Final = sys.platform != "win32"
"""Whether ``try_lock`` tells a live writer's file from a dead one's."""

if sys.platform == "win32":  # pragma: no cover

    def try_lock(descriptor: int) -> bool:
        return True

    def unlock(descriptor: int) -> None:
        return None

    def sync_data(descriptor: int) -> None:
        os.fsync(descriptor)

    def sync_directory(path: Path) -> None:
        return None
else:
    import fcntl

    def try_lock(descriptor: int) -> bool:
        """Take the file's flock, without waiting. False when another open file holds it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(descriptor: int) -> None:
        """Give the file's flock back, whoever else has a copy of the descriptor (a child that was forked meanwhile)."""
        fcntl.flock(descriptor, fcntl.LOCK_UN)

    def sync_data(descriptor: int) -> None:
        """Return when what was written is on the disk."""
        full = getattr(fcntl, "F_FULLFSYNC", None)
        if full is not None:  # pragma: no cover - macOS
            fcntl.fcntl(descriptor, full)
        else:
            os.fdatasync(descriptor)

    def sync_directory(path: Path) -> None:
        """Return when the directory's entries are on the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


if hasattr(os, "pwrite"):

    def write_at(descriptor: int, data: bytes, offset: int) -> int:
        """Write into the middle of a file, whose position no other thread then depends on."""
        return os.pwrite(descriptor, data, offset)
else:  # pragma: no cover - Windows
    _POSITION = threading.Lock()

    def write_at(descriptor: int, data: bytes, offset: int) -> int:
        with _POSITION:
            os.lseek(descriptor, offset, os.SEEK_SET)
            return os.write(descriptor, data)


def boot_id() -> str:
    """Which boot of the machine this is; empty where the system does not say. Containers share their host's."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def process_start() -> str:
    """When this process began, in the system's own unit (Linux: clock ticks since boot); tells reused pids apart."""
    try:
        # Field 22 of proc(5) stat; the command name before it may hold spaces and parentheses.
        stat = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace")
        return stat.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return str(int(time.time() - time.monotonic()))


def os_user() -> str:
    """The name of the user who owns the process, or ``uid:<number>`` when it has none (containers)."""
    if not hasattr(os, "getuid"):  # pragma: no cover - Windows
        return os.environ.get("USERNAME", "unknown")
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid:{os.getuid()}"
