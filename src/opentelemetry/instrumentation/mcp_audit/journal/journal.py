# SPDX-License-Identifier: Apache-2.0
"""The journal: ``append`` gives a record its number and hash and writes it, before anybody is told of it.

Under one lock: number, hash, one ``write(2)``. A failed write takes no number. What could not be written is counted,
and the first record that can be written again is preceded by a ``gap`` record with the exact count. A forked child
starts a stream of its own. Syncing to the disk is the work of another thread (``commit.py``).
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from opentelemetry.instrumentation.mcp_audit.record.encode import Encoded, encode
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord

from . import events, platform, segment
from .commit import Committer
from .gap import Counters, Gap, Losses, describe
from .lock import Busy, OwnedLock, Reentered
from .origin import Origin
from .stream import RecordTooLong, Stream
from .ticket import Deferred, JournalError, Ticket

_LOCK_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 1.0
# A value that the format cannot hold, or too many of them.
_REFUSED: Final = (TypeError, ValueError, RecordTooLong)


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
        self.after_tick: Callable[[], None] = _nothing
        self._fsync = fsync
        self._interval = fsync_interval_seconds
        self._segment_bytes = segment_bytes
        self._say = say
        self._lock = OwnedLock()
        self._losses = Losses(directory, say)
        self._stream = Stream(directory, origin, say)
        self._missed: deque[int] = deque()
        self._deferred: deque[Encoded | Exception] = deque()
        self._syncing: int | None = None
        self._committer = Committer(self._tick, fsync_interval_seconds)

    @property
    def failing(self) -> bool:
        """Whether records are being lost right now."""
        gap = self._losses.gap
        return gap is not None and gap.failing

    @property
    def counters(self) -> Counters:
        """What this process's journal did so far."""
        return self._losses.counters

    @property
    def last_error(self) -> str | None:
        """Why a record was lost last, None when none ever was."""
        return self._losses.last_error

    @property
    def path(self) -> Path | None:
        """The open segment's file, None before the first record."""
        current = self._stream.current
        return None if current is None else current.path

    def open(self) -> None:
        """Open the first segment, so that the first call does not wait for it. Failing is not fatal: see ``append``."""
        try:
            self._lock.hold(_LOCK_SECONDS, self._open_ahead)
        except (Busy, Reentered):
            return  # whoever has it appends, and that opens
        self._committer.notify()

    def append(self, record: AuditRecord) -> Ticket:
        """Number, chain and write ``record``. Returns when it is in the file (``fsync=always``: on the disk).

        Raises :class:`JournalError` when it could not be written; the record is then counted in the next gap record.
        Raises :class:`Deferred` inside another append of the same thread (a finaliser): that one writes it.
        """
        try:
            encoded: Encoded | Exception = encode(record)
        except Exception as error:
            # Whatever it is, the record is lost as surely as on a full disk.
            encoded = error
        try:
            return self._lock.hold(_LOCK_SECONDS, lambda: self._append(encoded))
        except Busy:
            # The gap is counted under the lock; this waits (a deque's append is atomic) for whoever gets it next.
            self._missed.append(time.time_ns())
            raise JournalError(f"the journal was busy for {_LOCK_SECONDS:g} s") from None
        except Reentered:
            self._deferred.append(encoded)
            raise Deferred("appended inside another append, which will write it") from None
        finally:
            self._committer.notify()

    def close(self) -> None:
        """End the stream well: last record, sync, file closed. Later records open a new segment."""
        # A committer that was stopped runs no more; whoever appends from now on wakes the new one.
        committer, self._committer = self._committer, Committer(self._tick, self._interval)
        committer.stop(_CLOSE_SECONDS)
        try:
            gap = self._lock.hold(_CLOSE_SECONDS, self._close)
        except (Busy, Reentered):
            self._say("the journal was busy at exit; its last segment has no end record")
            return
        if gap is not None and gap.count:
            # Only memory knows it, and that ends here.
            self._say(f"{gap.count} audit records were lost and no gap record could be written: {self.last_error}")

    def after_fork_in_child(self) -> None:
        """Forget the parent's segment (its lock lives on in inherited descriptors) and start anew at the next record."""
        syncing, self._syncing = self._syncing, None
        self._lock = OwnedLock()
        self._losses = Losses(self.directory, self._say)
        self._missed = deque()
        self._deferred = deque()
        self._committer = Committer(self._tick, self._interval)
        self._stream.after_fork_in_child()
        if syncing is not None:
            os.close(syncing)

    # --- with the lock held ----------------------------------------------------------------------------------------

    def _open_ahead(self) -> None:
        if self._stream.current is None:
            try:
                self._open()
            except Exception as error:
                self._losses.failed(error, lost=0)

    def _append(self, encoded: Encoded | Exception) -> Ticket:
        try:
            return self._keep(encoded)
        finally:
            self._write_deferred()

    def _keep(self, encoded: Encoded | Exception) -> Ticket:
        """Write a record, or count it and raise JournalError."""
        try:
            if isinstance(encoded, Exception):
                raise encoded
            self._count_missed()
            if self._stream.current is None:
                self._open()
            gap = self._losses.gap
            if gap is not None:
                self._write_gap(gap)
            ticket = self._stream.write(encoded)
            self.counters.records += 1
        except Exception as error:
            # A segment that could not even be opened is the journal's failure, not this record's.
            of_the_journal = encoded is not error and self._stream.current is None
            if isinstance(error, _REFUSED) and not of_the_journal:
                self._losses.refused(error)
            else:
                self._losses.failed(error, lost=1)
            raise JournalError(describe(error)) from error
        try:
            if gap is not None:
                # Not before: on a disk that is nearly full a gap record still fits where a call's does not.
                self._losses.end(gap)
            self._settle()
        except Exception as error:
            # The record is written; what failed is its sync or the end of its segment: no later record may follow it.
            self._stream.drop()
            self._losses.failed(error, lost=0)
        return ticket

    def _write_deferred(self) -> None:
        """Write what a finaliser appended on this thread while it held the lock (or what an interrupt left of that)."""
        while self._deferred:
            encoded, before = self._deferred.popleft(), self.counters.records
            try:
                self._keep(encoded)
            except JournalError:
                continue  # counted
            except BaseException:
                if self.counters.records == before:
                    self._deferred.appendleft(encoded)
                raise

    def _close(self) -> Gap | None:
        try:
            self._count_missed()
            self._write_deferred()
            self._gone()
            if self._losses.gap is not None:
                self._close_gap()
            self._end_segment()
        except Exception as error:
            self._losses.failed(error, lost=0)
        return self._losses.gap

    def _open(self) -> None:
        self._stream.open()
        self.counters.segments += 1

    def _end_segment(self) -> None:
        if not self._gone():
            self._stream.end()

    def _gone(self) -> bool:
        """Whether the segment's file was found missing just now; what was deleted with it is counted."""
        found = self._stream.gone()
        if found is not None:
            self._losses.failed(OSError(found[1]), lost=found[0])
        return found is not None

    def _count_missed(self) -> None:
        """Put into the gap what calls that waited in vain for the lock left in ``_missed``."""
        while self._missed:
            since = self._missed.popleft()
            self._losses.failed(OSError(f"the journal was busy for {_LOCK_SECONDS:g} s"), lost=1, since=since)

    def _settle(self) -> None:
        current = self._stream.current
        if current is not None and self._fsync == "always":
            current.sync()
        if current is not None and current.size >= self._segment_bytes:
            self._end_segment()

    def _close_gap(self) -> None:
        gap = self._losses.gap
        assert gap is not None
        if self._stream.current is None:
            self._open()
        self._write_gap(gap)
        self._losses.end(gap)

    def _write_gap(self, gap: Gap) -> None:
        self._stream.write(encode(events.gap(gap.count, gap.reason, gap.since, gap.until)))
        self._losses.written(gap)

    # --- the journal's thread --------------------------------------------------------------------------------------

    def _tick(self) -> bool:
        again = self._commit()
        self.after_tick()
        return again

    def _commit(self) -> bool:
        """Sync what was written, notice a deleted file, end a gap. True while the journal fails."""
        try:
            current = self._lock.hold(self._interval, self._begin_sync)
        except (Busy, Reentered):
            return True
        descriptor = self._syncing
        if current is None or descriptor is None:
            return self._losses.gap is not None
        after, last = current.synced, current.count
        try:
            # Outside the lock: a slow disk must not stop a call. The duplicate stays valid if the segment is closed.
            platform.sync_data(descriptor)
            current.synced = max(current.synced, last)
        except OSError as error:
            failure = current.unsynced(error, after, last)
            self._lock.hold(-1, lambda: self._sync_failed(current, failure))
            return True
        finally:
            self._syncing = None
            os.close(descriptor)
        return False

    def _begin_sync(self) -> segment.Segment | None:
        """With the lock held: what must be done at every tick, and the segment to sync now through ``_syncing``."""
        try:
            self._count_missed()
            self._write_deferred()
            self._gone()
            if self._losses.gap is not None:
                self._close_gap()
            current = self._stream.current
            if current is not None and self._fsync == "interval":
                # Kept in sight, because a fork must close it: it shares the segment's lock.
                self._syncing = os.dup(current.descriptor)
            return current
        except Exception as error:
            self._losses.failed(error, lost=0)
            return None

    def _sync_failed(self, synced: segment.Segment, failure: OSError) -> None:
        # A segment that was rotated in meanwhile is another file, and sound.
        if self._stream.current is synced:
            self._stream.drop()
        self._losses.failed(failure, lost=0)


def _nothing() -> None:
    """What follows a tick when nobody asked for anything."""
