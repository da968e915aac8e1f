# SPDX-License-Identifier: Apache-2.0
"""What stands in a start marker, live or left by a dead process: read, never written."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final, NamedTuple

from .open_call import Slot, read_call
from .slots import MAX_SLOTS, SLOT_BYTES, Header, NewerVersion, Unreadable, read_header
from .tail import read_at

_BLOCK: Final = 1024 * 1024


class Contents(NamedTuple):
    """What stands in a marker: its header (None: unreadable), its calls, how many slots are torn, and whether it is all zeros."""

    header: Header | None
    calls: list[Slot]
    torn: int
    blank: bool


def read_marker(path: Path) -> Contents:
    """What stands in the file, live or not. Raises OSError, also for what is no regular file; :class:`NewerVersion`."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a regular file")
        return read_descriptor(descriptor)
    finally:
        os.close(descriptor)


def read_descriptor(descriptor: int) -> Contents:
    """As :func:`read_marker`, of an open file. Reads no more than a marker can hold."""
    header: Header | None = None
    try:
        header = read_header(read_at(descriptor, SLOT_BYTES, 0))
    except NewerVersion:
        raise
    except Unreadable:
        pass
    calls: list[Slot] = []
    torn, blank = 0, header is None
    end = (1 + MAX_SLOTS) * SLOT_BYTES
    at = 0
    while at < end and (data := read_at(descriptor, min(_BLOCK, end - at), at)):
        blank = blank and not data.strip(b"\0")
        for start in range(0, len(data), SLOT_BYTES):
            number = (at + start) // SLOT_BYTES
            if number == 0:
                continue
            try:
                slot = read_call(number, data[start : start + SLOT_BYTES])
            except Unreadable:
                torn += 1
                continue
            if slot is not None:
                calls.append(slot)
        at += len(data)
    return Contents(header, calls, torn, blank)
