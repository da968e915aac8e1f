# SPDX-License-Identifier: Apache-2.0
"""Torn tails: what a process that died inside a write left behind its last whole line is set aside.

The bytes are kept in ``quarantine/`` and cut off the segment, so that what follows reads whole lines only. Only dead
segments are touched: those whose flock can be taken. A live writer holds its own. Where there is no flock, nothing is
touched: a live writer's half line would look the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from . import platform

_BLOCK: Final = 64 * 1024
# Windows: bytes as they are, without line ends translated.
_FLAGS: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def set_aside_torn_tails(directory: Path) -> Iterator[str]:
    """Repair every dead segment of ``directory``; one sentence for each that was, and for each that could not be."""
    if not platform.CAN_LOCK:
        return
    for path in sorted(directory.glob("*.jsonl")):
        try:
            sentence = _repair(directory, path)
        except OSError as error:
            sentence = f"{path.name}: its end could not be checked: {error}"
        if sentence:
            yield sentence


def _repair(directory: Path, path: Path) -> str | None:
    if path.is_symlink() or not path.is_file():
        return None
    descriptor = os.open(path, os.O_RDWR | _FLAGS)
    try:
        size = os.fstat(descriptor).st_size
        if size == 0 or _read(descriptor, 1, size - 1) == b"\n" or not platform.try_lock(descriptor):
            return None
        size = os.fstat(descriptor).st_size
        end = _end_of_last_line(descriptor, size)
        if end == size:
            return None
        quarantine = directory / "quarantine"
        quarantine.mkdir(mode=0o700, exist_ok=True)
        kept = quarantine / f"{path.name}.{end}.torn"
        _copy(descriptor, end, size, kept)
        os.ftruncate(descriptor, end)
        platform.sync_data(descriptor)
        return f"{path.name}: {size - end} bytes behind the last whole record set aside in {kept}"
    finally:
        os.close(descriptor)


def _end_of_last_line(descriptor: int, size: int) -> int:
    position = size
    while position > 0:
        start = max(0, position - _BLOCK)
        found = _read(descriptor, position - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0


def _copy(descriptor: int, start: int, end: int, target: Path) -> None:
    out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _FLAGS, 0o600)
    try:
        while start < end:
            start += os.write(out, _read(descriptor, min(_BLOCK, end - start), start))
        platform.sync_data(out)
    finally:
        os.close(out)


def _read(descriptor: int, count: int, start: int) -> bytes:
    """Like ``os.pread``, which not every system has; nobody else uses the descriptor's position."""
    os.lseek(descriptor, start, os.SEEK_SET)
    return os.read(descriptor, count)
