# SPDX-License-Identifier: Apache-2.0
"""The stream being written: it gives numbers and hashes, and begins and ends segment files.

Its user holds the append lock, counts what fails, and decides when to begin and to end.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path

from opentelemetry.instrumentation.mcp_audit.record.encode import (
    MAX_LINE_BYTES,
    Encoded,
    Envelope,
    encode,
    seal,
)

from . import events, platform, segment, torn
from .origin import Origin
from .ticket import Ticket


class RecordTooLong(OSError):
    """A line would be longer than the format allows."""


class Stream:
    """At most one open segment: ``current``. Each segment is a stream of its own that names the one before."""

    def __init__(self, directory: Path, origin: Origin, say: Callable[[str], None]) -> None:
        self.current: segment.Segment | None = None
        self._directory = directory
        self._origin = origin
        self._say = say
        self._envelope = Envelope("")
        self._previous: tuple[str, str | None] | None = None
        self._repaired = False

    def write(self, encoded: Encoded, end: bool = False) -> Ticket:
        """Number, chain and write one record. Raises OSError, also :class:`RecordTooLong`; no number is taken then."""
        current = self.current
        assert current is not None
        number, previous = current.count + 1, current.head
        sealed = seal(encoded, current.stream_id, number, previous, end)
        line = self._envelope.line(sealed.text)
        if len(line) > MAX_LINE_BYTES:
            raise RecordTooLong(f"a record of {len(line)} bytes is over the format's {MAX_LINE_BYTES}")
        size = current.size
        try:
            current.write(line)
            current.count, current.head = number, sealed.hash
        except segment.SegmentBroken:
            self.drop()
            raise
        except OSError:
            raise
        except BaseException:
            # A signal handler raised (^C) when the line may be in the file and its number not yet taken: a second
            # record of that number would look like a forgery, so the line is taken back; nobody was told of it.
            current.count, current.head = number - 1, previous
            try:
                current.cut(size)
            except OSError:
                self.drop()
            raise
        return Ticket(current.stream_id, number, previous, sealed.hash, line)

    def open(self) -> None:
        """Begin a segment. Raises OSError when its first record is not on the disk; nothing is left behind then."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._repaired:
            self._repaired = True
            for sentence in torn.set_aside_torn_tails(self._directory):
                self._say(sentence)
        stream_id = str(uuid.uuid4())
        self.current = current = segment.create(self._directory, stream_id)
        self._envelope, opened = self._origin.begin(stream_id, current.path.name, self._previous)
        try:
            self.write(encode(opened))
            current.sync()
            platform.sync_directory(self._directory)
        except BaseException:
            # Nothing but a first record is in it, and perhaps not even that: it would only be noise in the directory,
            # and the next one must not name it as the stream before.
            before = self._previous
            self.drop()
            self._previous = before
            os.unlink(current.path)
            raise

    def end(self) -> None:
        """Write the last record and close; nothing may follow it, whatever happens."""
        current = self.current
        if current is None:
            return
        try:
            self.write(encode(events.closed(current.path.name)), end=True)
            current.sync()
        finally:
            # Whatever interrupts this (a signal handler may raise while the disk works): nothing may follow an end.
            self.drop()

    def drop(self) -> None:
        """Close the segment as it is."""
        current, self.current = self.current, None
        if current is not None:
            self._previous = (current.stream_id, current.head)
            current.close()

    def gone(self) -> tuple[int, str] | None:
        """Drop the segment if its file is no longer there: how many records are lost with it, and what to say."""
        current = self.current
        where = "there" if current is None else current.whereabouts()
        if current is None or where == "there":
            return None
        self.drop()
        lost, what = (current.count, "deleted") if where == "deleted" else (0, "moved away")
        return lost, f"{current.path.name} was {what} with its {current.count} records while it was being written"

    def after_fork_in_child(self) -> None:
        """Forget the parent's segment and what came before; what it left is not this process's to repair."""
        current, self.current = self.current, None
        self._previous = None
        self._repaired = True
        if current is not None:
            current.close()
