# SPDX-License-Identifier: Apache-2.0
"""The stream being written: it gives numbers and hashes. Its user holds the append lock and decides when it ends.

A :class:`Writing` is a segment with the bytes around its records. One is current; what becomes of those that are over is
the work of ``retire.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from opentelemetry.instrumentation.mcp_audit.record.encode import (
    MAX_LINE_BYTES,
    Encoded,
    Envelope,
    encode,
    seal,
)

from . import events
from .segment import Segment, SegmentBroken


class RecordTooLong(OSError):
    """A line would be longer than the format allows."""


class Written(NamedTuple):
    """Where a record stands: its stream, number, hash, the hash before it, the line as it is in the file.

    ``size`` is the file's size behind it.
    """

    stream_id: str
    number: int
    previous_hash: str | None
    hash: str
    line: bytes
    size: int


@dataclass(slots=True)
class Writing:
    """A segment that records can be written to. ``over``: nothing may follow what stands in it."""

    segment: Segment
    envelope: Envelope
    over: bool = False

    def write(self, encoded: Encoded, end: bool = False) -> Written:
        """Number, chain and write one record. Raises OSError, also :class:`RecordTooLong`; no number is taken then."""
        segment = self.segment
        number, previous = segment.count + 1, segment.head
        sealed = seal(encoded, segment.stream_id, number, previous, end)
        line = self.envelope.line(sealed.text)
        if len(line) > MAX_LINE_BYTES:
            raise RecordTooLong(f"a record of {len(line)} bytes is over the format's {MAX_LINE_BYTES}")
        size = segment.size
        try:
            segment.write(line)
            segment.count, segment.head = number, sealed.hash
        except SegmentBroken:
            self.over = True
            raise
        except OSError:
            raise
        except BaseException:
            # A signal handler raised (^C) when the line may be in the file and its number not yet taken: a second
            # record of that number would look like a forgery, so the line is taken back; nobody was told of it.
            segment.count, segment.head = number - 1, previous
            try:
                segment.cut(size)
            except OSError:
                self.over = True
            raise
        return Written(segment.stream_id, number, previous, sealed.hash, line, segment.size)

    def end(self) -> None:
        """Write the last record. Nothing may follow it, whatever happens."""
        try:
            self.write(encode(events.closed(self.segment.path.name)), end=True)
        finally:
            self.over = True
