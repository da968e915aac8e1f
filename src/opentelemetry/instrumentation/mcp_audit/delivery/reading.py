# SPDX-License-Identifier: Apache-2.0
"""What of a segment is to be sent next, in bounded memory, and only what is on the disk.

Whoever reads here syncs first: a record must not be known elsewhere that this machine may forget in a power cut (its
number would then be given to another one). Syncing what the writer has synced already costs nothing.
"""

from __future__ import annotations

import os
import zlib
from typing import Final, NamedTuple

from opentelemetry.instrumentation.mcp_audit.journal import platform
from opentelemetry.instrumentation.mcp_audit.journal.tail import read_at

from .otlp import Run, after_lines, head_of, uniform

MAX_LINE_BYTES: Final = 1024 * 1024
_ANCHOR_BYTES: Final = 256
_KEPT_BYTES: Final = 64 * 1024


class Poison(NamedTuple):
    """A line that is none of a journal: where it is, and its first bytes."""

    file: str
    start: int
    end: int
    data: bytes


class Open(NamedTuple):
    """A segment, opened to read, and how far it is on the disk."""

    file: str
    descriptor: int
    size: int


def open_synced(path: str, file: str) -> Open:
    """Open a segment; everything up to its size now is on the disk. Raises OSError."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    try:
        size = os.fstat(descriptor).st_size
        platform.sync_data(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return Open(file, descriptor, size)


def anchor(descriptor: int, offset: int) -> int:
    """A checksum of what stands just before ``offset``: whether it is still the file that was read up to there."""
    start = max(0, offset - _ANCHOR_BYTES)
    return zlib.crc32(read_at(descriptor, offset - start, start))


def next_run(source: Open, offset: int, max_bytes: int, max_records: int) -> Run | Poison | None:
    """The next lines from ``offset`` on: at least one, at most so many. None when no whole line follows."""
    room = min(max(max_bytes, 4096), source.size - offset)
    data = read_at(source.descriptor, room, offset) if room > 0 else b""
    end = data.rfind(b"\n") + 1
    if end == 0:
        if len(data) == source.size - offset:
            return None
        # The first line is longer than what was asked for.
        data = read_at(source.descriptor, min(MAX_LINE_BYTES, source.size - offset), offset)
        end = data.find(b"\n") + 1
        if end == 0:
            return _endless(source, offset, data)
    return _lines(source.file, offset, data[:end], max_records)


def _lines(file: str, start: int, data: bytes, max_records: int) -> Run | Poison:
    first = data[: data.index(b"\n")]
    head = head_of(first)
    if head is None:
        return Poison(file, start, start + len(first) + 1, data[: len(first) + 1])
    if data.count(b"\n") > max_records:
        data = data[: after_lines(data, max_records)]
    count = uniform(data, head)
    if count:
        return Run(file, start, data, head, count)
    # Something among them is not of this kind: up to there, line by line.
    end = count = 0
    while end < len(data):
        line_end = data.index(b"\n", end) + 1
        if head_of(data[end : line_end - 1]) != head:
            break
        end, count = line_end, count + 1
    return Run(file, start, data[:end], head, count)


def _endless(source: Open, offset: int, data: bytes) -> Poison | None:
    """A line longer than any record: its place, found in pieces. None while it has no end."""
    at = offset + len(data)
    while at < source.size:
        block = read_at(source.descriptor, min(MAX_LINE_BYTES, source.size - at), at)
        if not block:
            return None
        found = block.find(b"\n")
        if found >= 0:
            return Poison(source.file, offset, at + found + 1, data[:_KEPT_BYTES])
        at += len(block)
    return None
