# SPDX-License-Identifier: Apache-2.0
"""How far a dead segment is whole, and what stands behind that, set aside.

A process that was killed leaves whole lines and perhaps half of one. A power cut may leave holes as well: zeros, garbage,
a record that is not there while a later one is; then the first hole ends the segment. What is cut off is kept in
``quarantine/``. The caller holds the segment's lock: a live writer's half line would look the same.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Final, NamedTuple

from opentelemetry.instrumentation.mcp_audit.integrity.lines import LineParser, lines
from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord
from opentelemetry.instrumentation.mcp_audit.integrity.values import NotARecord
from opentelemetry.instrumentation.mcp_audit.record.attributes import (
    AUDIT_SEQUENCE_END,
    AUDIT_SEQUENCE_STREAM_ID,
    RECORD_HASH,
)

from .disk import Disk
from .tail import cut, line_before, read_at

_BLOCK: Final = 64 * 1024


class Whole(NamedTuple):
    """The whole part of a segment: number and hash of its last record (0 and None: there is none), whether that one is the
    ``end`` record, where the part ends and how long the file is, in bytes."""

    number: int
    head: str | None
    ended: bool
    end: int
    size: int


def whole_part(descriptor: int, same_boot: bool) -> Whole:
    """How far the segment is whole. ``same_boot``: the system that it was written on has not gone down since."""
    return _up_to_last_line(descriptor) if same_boot else _up_to_first_hole(descriptor)


def set_aside(disk: Disk, descriptor: int, whole: Whole, directory: Path, name: str) -> tuple[int, Path | None]:
    """Cut off what stands behind the whole part and keep it; everything is on the disk then. How many bytes that were, and
    where they are if it was done just now.

    Raises OSError. Done again after a crash in between, it comes to the same end and tells the same number.
    """
    if whole.end < whole.size:
        return whole.size - whole.end, cut(disk, descriptor, whole.end, whole.size, directory, name)
    disk.sync(descriptor)
    # An adopter that died may have been here: half a copy of its is no longer than the whole one.
    kept = (directory / "quarantine").glob(f"{name}.{whole.end}.*torn")
    return max((path.lstat().st_size for path in kept), default=0), None


def _up_to_last_line(descriptor: int) -> Whole:
    size = os.fstat(descriptor).st_size
    end = at = _end_of_last_line(descriptor, size)
    parser = LineParser()
    while at > 0:
        line, at = line_before(descriptor, at)
        record = _record(line[:-1], parser)
        # A whole line that is no record is nobody's crash: it stays where it is, for verify to find.
        if record is not None and record.number is not None:
            return Whole(record.number, _hash(record), _ends(record), end, size)
    return Whole(0, None, False, end, size)


def _up_to_first_hole(descriptor: int) -> Whole:
    size = os.fstat(descriptor).st_size
    os.lseek(descriptor, 0, os.SEEK_SET)
    parser = LineParser()
    whole, stream = Whole(0, None, False, 0, size), None
    with io.FileIO(descriptor, closefd=False) as file:
        for line in lines(file):
            record = _record(line.data, parser) if line.ended and line.data is not None else None
            # A whole line of another stream: a block of a file that was there before.
            if record is None or record.number is None or (stream is not None and _stream(record) != stream):
                break
            # A number that comes again is no hole but somebody's work, and stays for verify to find.
            if record.number > whole.number + 1:
                break
            stream = _stream(record)
            end = line.offset + line.length + 1
            if record.number == whole.number + 1:
                whole = Whole(record.number, _hash(record), _ends(record), end, size)
            else:
                whole = whole._replace(end=end)
    return whole


def _record(data: bytes | None, parser: LineParser) -> StoredRecord | None:
    if data is None:
        return None
    try:
        found = parser.parse(data)
    except NotARecord:
        return None
    return found[0] if len(found) == 1 else None


def _hash(record: StoredRecord) -> str | None:
    value = record.attributes.get(RECORD_HASH)
    return value if isinstance(value, str) else None


def _ends(record: StoredRecord) -> bool:
    return record.attributes.get(AUDIT_SEQUENCE_END) is True


def _stream(record: StoredRecord) -> object:
    return record.attributes.get(AUDIT_SEQUENCE_STREAM_ID)


def _end_of_last_line(descriptor: int, size: int) -> int:
    position = size
    while position > 0:
        start = max(0, position - _BLOCK)
        found = read_at(descriptor, position - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0
