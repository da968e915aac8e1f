# SPDX-License-Identifier: Apache-2.0
"""What is done with the append lock held: a record gets its place or is counted, a segment follows the one before.

Nothing here syncs, waits for another process or takes a lock, but for the first segment of a process and the one that
must follow a segment given up, which a call opens itself: waiting loses less than going on without.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from opentelemetry.instrumentation.mcp_audit.record.encode import Encoded, encode

from . import events
from .bounds import Bounds
from .gap import Gap, Losses, describe
from .marker import Marker
from .prepare import Preparer
from .reserve import is_full
from .retire import Retired
from .stream import RecordTooLong, Writing, Written
from .ticket import JournalError
from .waiting import Commits

MAX_QUEUED: Final = 10_000
# Of the deadline: a machine that is merely busy must not lose records to a backoff.
_LONG_SHARE: Final = 0.25
_MAX_BACKOFF_SECONDS: Final = 30.0
# A value that the format cannot hold, or too many of them.
_REFUSED: Final = (TypeError, ValueError, RecordTooLong)


class Appended(NamedTuple):
    """A record on its way into the journal (or why it could not be encoded), and its slot in the marker."""

    encoded: Encoded | Exception
    slot: int | None


class Keeper:
    """The streams of one process and what could not be written to them. Its user holds the append lock."""

    def __init__(
        self,
        preparer: Preparer,
        retired: Retired,
        losses: Losses,
        marker: Marker,
        bounds: Bounds,
        commits: Commits,
        deadline_seconds: float,
    ) -> None:
        self.current: Writing | None = None
        self.next: Writing | None = None
        self.losses = losses
        self.queued: deque[Appended] = deque()
        self.missed: deque[int] = deque()
        self.writing_since: float | None = None
        self._preparer = preparer
        self._retired = retired
        self._marker = marker
        self._bounds = bounds
        self._commits = commits
        self._deadline = deadline_seconds
        self._not_before = 0.0
        self._refusal = ""

    def keep(self, appended: Appended) -> Written:
        """Write a record, or count it and raise JournalError.

        What was queued before it goes first; what a finaliser appends meanwhile, on this thread, goes right behind.
        """
        self.write_queued()
        try:
            return self._keep(appended)
        finally:
            self.write_queued()

    def write_queued(self) -> None:
        """Write what waited: appended while the lock was taken for too long, or by a finaliser inside an append."""
        while self.queued:
            appended, before = self.queued.popleft(), self.losses.counters.records
            try:
                self._keep(appended)
            except JournalError:
                continue  # counted
            except BaseException:
                if self.losses.counters.records == before:
                    self.queued.appendleft(appended)
                raise

    def count_missed(self) -> None:
        """Put into the gap what neither got the lock in time nor found room in the queue."""
        while self.missed:
            since = self.missed.popleft()
            self.losses.failed(OSError("the journal was busy and its queue full"), lost=1, since=since)

    def ready(self) -> Writing:
        """The segment to write to, opened if there is none. Raises OSError."""
        if self.current is None:
            self.current, self.next = self.next or self._open(), None
        return self.current

    def close_gap(self, last: bool = False) -> None:
        """Tell the gap, if one is open and calls can be recorded again, or in any case if this is its last chance."""
        gap = self.losses.gap
        if gap is not None:
            if not last:
                self._bounds.check(0)
            writing = self.ready()
            if last:
                self.with_reserve(lambda: self._write_gap(writing, gap))
            else:
                self._write_gap(writing, gap)
            self.losses.end(gap)

    def switch(self, following: Writing) -> None:
        """End the current segment and go on in ``following``, which may be needed only later."""
        self.next = following
        if self.current is not None and self.end():
            self.current, self.next = following, None

    def end(self) -> bool:
        """Write the current segment's last record and retire it. Raises OSError; the segment is retired all the same."""
        if self.current is None or self.tampered():
            return False
        writing, self.current = self.current, None
        ended = False
        try:
            self.with_reserve(writing.end)
            ended = True
        finally:
            self._retired.add(writing.segment, ended)
        return True

    def give_up(self, writing: Writing) -> None:
        """Nothing more goes into this segment."""
        writing.over = True
        if self.current is writing:
            self.current = None
            self._retired.add(writing.segment, ended=False)

    def tampered(self) -> bool:
        """Whether somebody deleted, moved or cut the current file; what was lost with it is counted, and it is left."""
        writing = self.current
        found = None if writing is None else writing.segment.tampered()
        if writing is None or found is None:
            return False
        writing.over, self.current = True, None
        what = f"{writing.segment.path.name} was {found.what} with its {writing.segment.count} records while it was being written"
        self.losses.failed(OSError(what), lost=found.lost)
        segment = writing.segment
        self._commits.failed(segment.stream_id, min(segment.count - found.lost, segment.synced), what)
        # Not retired: the ledger must go on saying that this file should be there, whole.
        writing.segment.release()
        return True

    def renew_marker(self) -> None:
        """Make the marker again if somebody deleted it. Raises OSError."""
        self._marker.renew()

    def let_go(self) -> None:
        """Close the files as they are."""
        for writing in (self.current, self.next):
            if writing is not None:
                writing.segment.close()
        self.current = self.next = None

    # ---------------------------------------------------------------------------------------------------------------

    def _keep(self, appended: Appended) -> Written:
        try:
            return self._write(appended.encoded)
        finally:
            # Written or counted as lost: it is in flight no more.
            if appended.slot is not None:
                self._marker.clear(appended.slot)

    def _write(self, encoded: Encoded | Exception) -> Written:
        writing: Writing | None = None
        try:
            if isinstance(encoded, Exception):
                raise encoded
            self.count_missed()
            self._bounds.check(_size(encoded))
            writing = self.ready()
            self.writing_since = time.monotonic()
            gap = self.losses.gap
            if gap is not None:
                self._write_gap(writing, gap)
            written = writing.write(encoded)
        except Exception as error:
            if writing is not None and writing.over:
                self.give_up(writing)
            # A segment that could not even be opened is the journal's failure, not this record's.
            if isinstance(error, _REFUSED) and (writing is not None or encoded is error):
                self.losses.refused(error)
            else:
                self._bounds.failed(error)
                self.losses.failed(error, lost=1)
            raise JournalError(describe(error)) from error
        except BaseException:
            if writing is not None and writing.over:
                self.give_up(writing)
            raise
        finally:
            self.writing_since = None
        self.losses.counters.records += 1
        self._bounds.wrote(len(written.line))
        if gap is not None:
            # Not before: on a disk that is nearly full a gap record still fits where a call's does not.
            self.losses.end(gap)
        return written

    def _write_gap(self, writing: Writing, gap: Gap) -> None:
        record = encode(events.gap(gap.count, gap.reason, gap.since, gap.until))
        writing.write(record)
        self.losses.written(gap)

    def with_reserve(self, write: Callable[[], object]) -> None:
        """Write; where the disk is full, once more in the room that was kept for it."""
        try:
            write()
        except OSError as error:
            # The next tick must delete what may go while this room lasts: its own lines in the ledger need some.
            self._bounds.failed(error)
            if not is_full(error) or not self._bounds.reserve.release():
                raise
            write()

    def _open(self) -> Writing:
        now = time.monotonic()
        if now < self._not_before:
            raise OSError(f"no segment could be opened a moment ago: {self._refusal}")
        self.writing_since = now
        try:
            made = self._preparer.prepare(self._deadline)
        except Exception as error:
            # A failure that took long (a ledger held by a process that hangs) must not cost every call as much.
            took = time.monotonic() - now
            if took > self._deadline * _LONG_SHARE:
                self._not_before, self._refusal = now + took + min(_MAX_BACKOFF_SECONDS, 20 * took), describe(error)
            raise
        finally:
            self.writing_since = None
        self.losses.counters.segments += 1
        return made


def _size(encoded: Encoded) -> int:
    return len(encoded.before) + len(encoded.after) + len(encoded.body) + 2048
