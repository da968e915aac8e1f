# SPDX-License-Identifier: Apache-2.0
"""The journal: ``append`` gives a record its number and hash and writes it, before anybody is told of it.

Under one lock: number, hash, one ``write(2)``. A failed write takes no number. What could not be written is counted,
and the first record that can be written again is preceded by a ``gap`` record with the exact count. A forked child
starts a stream of its own. Syncing to the disk is the work of another thread (``commit.py``).
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from opentelemetry.instrumentation.mcp_audit.record.encode import (
    MAX_LINE_BYTES,
    Encoded,
    Envelope,
    encode,
    seal,
)
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord

from . import events, platform, segment, torn
from .commit import Committer
from .gap import Counters, Gap
from .origin import Origin
from .ticket import JournalError, Ticket

_LOCK_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 1.0


class Journal:
    """One directory, one open segment of this process. Safe to use from any thread."""

    def __init__(
        self,
        directory: Path,
        origin: Origin,
        *,
        fsync: str = "interval",
        fsync_interval_seconds: float = 0.2,
        segment_bytes: int = 64 * 1024 * 1024,
        say: Callable[[str], None],
    ) -> None:
        self.directory = directory
        self.counters = Counters()
        self.last_error: str | None = None
        self.after_tick: Callable[[], None] = _nothing
        self._origin = origin
        self._fsync = fsync
        self._interval = fsync_interval_seconds
        self._segment_bytes = segment_bytes
        self._say = say
        self._lock = threading.Lock()
        self._segment: segment.Segment | None = None
        self._envelope = Envelope("")
        self._previous: tuple[str, str | None] | None = None
        self._gap: Gap | None = None
        self._missed: deque[int] = deque()
        self._syncing: int | None = None
        self._repaired = False
        self._committer = Committer(self._tick, fsync_interval_seconds)

    @property
    def failing(self) -> bool:
        """Whether records are being lost right now."""
        return self._gap is not None

    @property
    def path(self) -> Path | None:
        """The open segment's file, None before the first record."""
        current = self._segment
        return None if current is None else current.path

    def open(self) -> None:
        """Open the first segment, so that the first call does not wait for it. Failing is not fatal: see ``append``."""
        with self._lock:
            if self._segment is None:
                try:
                    self._open()
                except OSError as error:
                    self._failed(error, lost=0)
        self._committer.notify()

    def append(self, record: AuditRecord) -> Ticket:
        """Number, chain and write ``record``. Returns when it is in the file (``fsync=always``: on the disk).

        Raises :class:`JournalError` when it could not be written; the record is then counted in the next gap record.
        """
        try:
            encoded: Encoded | Exception = encode(record)
        except (TypeError, ValueError) as error:
            encoded = error
        if not self._lock.acquire(timeout=_LOCK_SECONDS):
            # The gap is counted under the lock; this waits (a deque's append is atomic) for whoever gets it next.
            self._missed.append(time.time_ns())
            self._committer.notify()
            raise JournalError(f"the journal was busy for {_LOCK_SECONDS:g} s")
        try:
            if isinstance(encoded, Exception):
                raise encoded
            return self._append(encoded)
        except (OSError, TypeError, ValueError) as error:
            # ValueError and TypeError: a value that the format cannot hold. It is lost as surely as on a full disk.
            self._failed(error, lost=1)
            raise JournalError(str(error)) from error
        finally:
            self._lock.release()
            self._committer.notify()

    def close(self) -> None:
        """End the stream well: last record, sync, file closed. Later records open a new segment."""
        # A committer that was stopped runs no more; whoever appends from now on wakes the new one.
        committer, self._committer = self._committer, Committer(self._tick, self._interval)
        committer.stop(_CLOSE_SECONDS)
        if not self._lock.acquire(timeout=_CLOSE_SECONDS):
            self._say("the journal was busy at exit; its last segment has no end record")
            return
        try:
            self._count_missed()
            if self._gap is not None:
                self._close_gap()
            self._end_segment()
        except OSError as error:
            self._failed(error, lost=0)
        finally:
            gap = self._gap
            self._lock.release()
        if gap is not None and gap.count:
            # Only memory knows it, and that ends here.
            self._say(f"{gap.count} audit records were lost and no gap record could be written: {self.last_error}")

    def after_fork_in_child(self) -> None:
        """Forget the parent's segment (its lock lives on in inherited descriptors) and start anew at the next record."""
        current, self._segment = self._segment, None
        syncing, self._syncing = self._syncing, None
        self._lock = threading.Lock()
        self._gap = None
        self._missed = deque()
        self._previous = None
        self._repaired = True
        self.counters = Counters()
        self.last_error = None
        self._committer = Committer(self._tick, self._interval)
        if current is not None:
            current.close()
        if syncing is not None:
            os.close(syncing)

    # --- with the lock held ----------------------------------------------------------------------------------------

    def _append(self, encoded: Encoded) -> Ticket:
        self._count_missed()
        if self._segment is None:
            self._open()
        gap = self._gap
        if gap is not None:
            self._write_gap(gap)
        ticket = self._write(encoded)
        if gap is not None:
            # Not before: on a disk that is nearly full a gap record still fits where a call's does not.
            self._end_gap(gap)
        self.counters.records += 1
        try:
            self._settle()
        except OSError as error:
            # The record is written; what failed is its sync or the end of its segment: no later record may follow it.
            self._drop_segment()
            self._failed(error, lost=0)
        return ticket

    def _count_missed(self) -> None:
        """Put into the gap what calls that waited in vain for the lock left in ``_missed``."""
        while self._missed:
            since = self._missed.popleft()
            self._failed(OSError(f"the journal was busy for {_LOCK_SECONDS:g} s"), lost=1, since=since)

    def _settle(self) -> None:
        current = self._segment
        if current is not None and self._fsync == "always":
            current.sync()
        if current is not None and current.size >= self._segment_bytes:
            self._end_segment()

    def _write(self, encoded: Encoded, end: bool = False) -> Ticket:
        current = self._segment
        assert current is not None
        number, previous = current.count + 1, current.head
        sealed = seal(encoded, current.stream_id, number, previous, end)
        line = self._envelope.line(sealed.text)
        if len(line) > MAX_LINE_BYTES:
            raise OSError(f"a record of {len(line)} bytes is over the format's {MAX_LINE_BYTES}")
        size = current.size
        try:
            current.write(line)
            current.count, current.head = number, sealed.hash
        except segment.SegmentBroken:
            self._drop_segment()
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
                self._drop_segment()
            raise
        return Ticket(current.stream_id, number, previous, sealed.hash, line)

    def _open(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._repaired:
            self._repaired = True
            for sentence in torn.set_aside_torn_tails(self.directory):
                self._say(sentence)
        stream_id = str(uuid.uuid4())
        self._segment = current = segment.create(self.directory, stream_id)
        self._envelope, opened = self._origin.begin(stream_id, current.path.name, self._previous)
        try:
            self._write(encode(opened))
            current.sync()
            platform.sync_directory(self.directory)
        except BaseException:
            # Nothing but a first record is in it, and perhaps not even that: it would only be noise in the directory,
            # and the next one must not name it as the stream before.
            before = self._previous
            self._drop_segment()
            self._previous = before
            os.unlink(current.path)
            raise
        self.counters.segments += 1

    def _end_segment(self) -> None:
        current = self._segment
        if current is None:
            return
        try:
            self._write(encode(events.closed(current.path.name)), end=True)
            current.sync()
        finally:
            # Whatever interrupts this (a signal handler may raise while the disk works): nothing may follow an end.
            self._drop_segment()

    def _drop_segment(self) -> None:
        current, self._segment = self._segment, None
        if current is not None:
            self._previous = (current.stream_id, current.head)
            current.close()

    def _failed(self, error: Exception, lost: int, since: int | None = None) -> None:
        now = time.time_ns()
        self.last_error = str(error)
        if self._gap is None:
            self._gap = Gap(0, str(error), now if since is None else since, now)
            self._say(
                f"AUDIT RECORDS ARE BEING LOST: the journal in {self.directory} cannot be written ({error}); "
                "calls go on unrecorded until it can; otel-mcp-audit doctor says more"
            )
        self._gap.count += lost
        self._gap.until = now
        self.counters.lost += lost

    def _close_gap(self) -> None:
        gap = self._gap
        assert gap is not None
        if self._segment is None:
            self._open()
        self._write_gap(gap)
        self._end_gap(gap)

    def _write_gap(self, gap: Gap) -> None:
        self._write(encode(events.gap(gap.count, gap.reason, gap.since, gap.until)))
        self.counters.gaps += 1
        gap.told += gap.count
        gap.count, gap.since = 0, time.time_ns()

    def _end_gap(self, gap: Gap) -> None:
        self._gap = None
        self._say(
            f"the journal in {self.directory} can be written again; {gap.told} lost records are counted in gap records"
        )

    # --- the journal's thread --------------------------------------------------------------------------------------

    def _tick(self) -> bool:
        again = self._commit()
        self.after_tick()
        return again

    def _commit(self) -> bool:
        """Sync what was written, notice a deleted file, end a gap. True while the journal fails."""
        if not self._lock.acquire(timeout=self._interval):
            return True
        gone = 0
        try:
            self._count_missed()
            if self._gap is not None:
                self._close_gap()
            current = self._segment
            if current is None:
                return False
            whereabouts = current.whereabouts()
            if whereabouts != "there":
                self._drop_segment()
                if whereabouts == "moved":
                    raise OSError(f"{current.path.name} was moved away with its records while it was being written")
                gone = current.count
                raise OSError(f"{current.path.name} was deleted with its {gone} records while it was being written")
            # Kept in sight, because a fork must close it: it shares the segment's lock.
            self._syncing = descriptor = os.dup(current.descriptor) if self._fsync == "interval" else None
        except OSError as error:
            self._failed(error, lost=gone)
            return True
        finally:
            self._lock.release()
        if descriptor is None:
            return False
        try:
            # Outside the lock: a slow disk must not stop a call. The duplicate stays valid if the segment is closed.
            platform.sync_data(descriptor)
        except OSError as error:
            with self._lock:
                self._drop_segment()
                self._failed(error, lost=0)
            return True
        finally:
            self._syncing = None
            os.close(descriptor)
        return False


def _nothing() -> None:
    """What follows a tick when nobody asked for anything."""
