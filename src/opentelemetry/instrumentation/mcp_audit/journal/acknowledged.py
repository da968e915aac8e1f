# SPDX-License-Identifier: Apache-2.0
"""Up to when the records of a directory are surely kept elsewhere. Only what lies before may be deleted for room.

``acknowledged.json`` is replaced as a whole. Whoever writes it holds the lock of the file that takes its place, so of
two writers the second one sees what the first one wrote, and the time never goes back unless it is told to.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .disk import Disk
from .reserve import Reserve, acknowledging
from .tail import read_at

ACKNOWLEDGED: Final = "acknowledged.json"
BY_DELIVERY: Final = "delivery"
_NEXT: Final = "acknowledged.json.next"
_VERSION: Final = 1
_MAX_BYTES: Final = 4096
_TIME: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_POLL_SECONDS: Final = 0.01


def acknowledged_until(directory: Path, say: Callable[[str], None]) -> int:
    """Nanoseconds since the epoch; 0: nothing is acknowledged. What cannot be read or is no such file acknowledges nothing.

    Never raises; ``say`` gets one sentence about what is wrong.
    """
    try:
        return _read(directory / ACKNOWLEDGED)
    except FileNotFoundError:
        return 0
    except (OSError, ValueError) as error:
        say(
            f"{ACKNOWLEDGED} cannot be used ({error}): nothing counts as acknowledged; otel-mcp-audit ack makes it anew"
        )
        return 0


def acknowledged_by_delivery(directory: Path) -> bool:
    """Whether the time that holds was set by this package's own delivery, which knows more: see ``delivered.py``."""
    try:
        return bool(json.loads(_bytes(directory / ACKNOWLEDGED)).get("by", "") == BY_DELIVERY)
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def acknowledge(
    directory: Path,
    disk: Disk,
    until: int,
    *,
    force: bool = False,
    by_delivery: bool = False,
    timeout: float = 5.0,
) -> int:
    """Record that everything up to ``until`` (nanoseconds since the epoch) is kept elsewhere. Returns what holds now.

    That is a later time when one stands there already and ``force`` is False. It is on the disk on return.
    ``by_delivery``: it was delivered by this package, which also knows file by file (``delivered.py``). Raises
    OSError when it cannot be written, ValueError for a time that is none.
    """
    if _TIME.fullmatch(str(until)) is None:
        raise ValueError(f"{until} is no time in nanoseconds since 1970")
    return acknowledging(
        Reserve(directory, disk), lambda: _acknowledge(directory, disk, until, force, by_delivery, timeout)
    )


def _acknowledge(directory: Path, disk: Disk, until: int, force: bool, by_delivery: bool, timeout: float) -> int:
    following = directory / _NEXT
    descriptor = _take(following, disk, timeout)
    try:
        before = acknowledged_until(directory, _quietly)
        if before >= until and not force:
            disk.unlink(following)
            return before
        disk.truncate(descriptor, 0)
        tree = {"version": _VERSION, "until_unix_nano": str(until)} | ({"by": BY_DELIVERY} if by_delivery else {})
        data = json.dumps(tree).encode() + b"\n"
        if (written := disk.write_at(descriptor, data, 0)) != len(data):
            raise OSError(errno.ENOSPC, f"only {written} of {len(data)} bytes could be written (is the disk full?)")
        _give_to_the_owner(descriptor, directory)
        disk.sync(descriptor)
        disk.replace(following, directory / ACKNOWLEDGED)
        disk.sync_directory(directory)
        return until
    finally:
        disk.close(descriptor)


def _bytes(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a regular file")
        return read_at(descriptor, _MAX_BYTES + 1, 0)
    finally:
        os.close(descriptor)


def _read(path: Path) -> int:
    try:
        tree = json.loads(_bytes(path))
    except (ValueError, RecursionError):
        raise ValueError("no JSON") from None
    if not isinstance(tree, dict) or type(tree.get("version")) is not int or tree["version"] != _VERSION:
        raise ValueError(f"not of version {_VERSION}")
    until = tree.get("until_unix_nano")
    if not isinstance(until, str) or _TIME.fullmatch(until) is None:
        raise ValueError("no time in it")
    return int(until)


def _take(path: Path, disk: Disk, timeout: float) -> int:
    """The file that will take the other one's place, locked, and still under its name. A dead writer's is taken over."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            descriptor = disk.open(path, append=False)
        except FileNotFoundError:
            try:
                descriptor = disk.create(path, append=False)
            except FileExistsError:
                continue
        try:
            if disk.lock(descriptor) and _is_at(descriptor, path):
                if os.fstat(descriptor).st_nlink != 1:
                    # As root we would write into whatever file somebody linked here.
                    raise OSError(f"{path} has another name too; it is left as it is")
                return descriptor
        except BaseException:
            disk.close(descriptor)
            raise
        disk.close(descriptor)
        if time.monotonic() >= deadline:
            raise OSError(f"{path} was held by another process for {timeout:g} s")
        time.sleep(_POLL_SECONDS)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _give_to_the_owner(descriptor: int, directory: Path) -> None:
    """An administrator acknowledges, the service reads: 0600 of root would be nothing to it."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        owner = os.stat(directory)
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _quietly(sentence: str) -> None:
    """What stands there is about to be replaced."""
