# SPDX-License-Identifier: Apache-2.0
"""The end of a file of lines, read from its end; and what stands there that is no whole line, set aside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .disk import Disk

_BLOCK: Final = 64 * 1024
# Twice what a record may have: a longer line is none.
_LONGEST: Final = 1024 * 1024


def line_before(descriptor: int, end: int) -> tuple[bytes, int]:
    """The line that ends at byte ``end`` (its line end with it, if it has one), and where it begins.

    A file that is one endless line would be held whole; then only its last 1 MiB is given.
    """
    data, start = b"", end
    while start > 0 and len(data) < _LONGEST:
        block = min(_BLOCK, start)
        start -= block
        data = read_at(descriptor, block, start) + data
        found = data.rfind(b"\n", 0, len(data) - 1)
        if found >= 0:
            return data[found + 1 :], start + found + 1
    return data, start


def backwards(descriptor: int, end: int) -> Iterator[bytes]:
    """The lines before byte ``end``, last one first, each with its line end.

    An endless line is not held whole: its last 1 MiB is given, and nothing before it.
    """
    data, start = b"", end
    while start > 0 or data:
        found = data.rfind(b"\n", 0, max(0, len(data) - 1))
        if found >= 0:
            yield data[found + 1 :]
            data = data[: found + 1]
        elif start == 0 or len(data) >= _LONGEST:
            yield data
            return
        else:
            block = min(_BLOCK, start)
            start -= block
            data = read_at(descriptor, block, start) + data


def cut(disk: Disk, descriptor: int, start: int, end: int, directory: Path, name: str) -> Path:
    """Keep the bytes from ``start`` to ``end`` in ``quarantine/``, then end the file at ``start``. Raises OSError.

    The copy is on the disk before anything is cut off. Done again after a crash in between, it makes the same copy.
    """
    quarantine = directory / "quarantine"
    disk.make_directory(quarantine)
    kept = quarantine / f"{name}.{start}.torn"
    try:
        out = disk.create(kept, append=True)
    except FileExistsError:
        # Half a copy of an adopter that died, or another tail that began at the same byte: both are kept.
        kept = quarantine / f"{name}.{start}.{os.urandom(4).hex()}.torn"
        out = disk.create(kept, append=True)
    try:
        at = start
        while at < end:
            at += disk.write(out, read_at(descriptor, min(_BLOCK, end - at), at))
        disk.sync(out)
    finally:
        disk.close(out)
    disk.sync_directory(quarantine)
    disk.sync_directory(directory)
    disk.truncate(descriptor, start)
    disk.sync(descriptor)
    return kept


def read_at(descriptor: int, count: int, start: int) -> bytes:
    """Like ``os.pread``, which not every system has; nobody else uses the descriptor's position."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, start)
    os.lseek(descriptor, start, os.SEEK_SET)  # pragma: no cover - Windows
    return os.read(descriptor, count)  # pragma: no cover - Windows
