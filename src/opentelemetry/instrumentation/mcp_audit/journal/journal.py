# SPDX-License-Identifier: Apache-2.0
"""The journal: ``append`` gives a record its number and hash and writes it, before anybody is told of it.

Under one lock: number, hash, one ``write(2)``; a failed write takes no number. What could not be written is counted, and
the first record that can be written again is preceded by a ``gap`` record with the exact count. All else (syncs, the
ledger, rotation, pruning) is the work of another thread (``upkeep.py``), what dead processes left of a third
(``adopter.py``). A forked child starts a stream of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opentelemetry.instrumentation.mcp_audit.record.attributes import AttributeValue
from opentelemetry.instrumentation.mcp_audit.record.encode import Encoded, encode
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord

from . import events
from .adopter import Adopter
from .bounds import Bounds
from .commit import Committer
from .disk import REAL_DISK, Disk
from .gap import Counters, Losses
from .keep import MAX_QUEUED, Appended, Keeper
from .ledger import Ledger
from .lock import Busy, OwnedLock, Reentered
from .marker import Marker
from .open_call import OpenCall
from .origin import Origin
from .prepare import Preparer
from .retire import Retired
from .ticket import Deferred, JournalError, Ticket
from .upkeep import Rhythm, Upkeep
from .waiting import Commits

_CLOSE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Options:
    """How a journal is kept. Sizes in bytes, times in seconds. ``adopts``: it looks after what dead processes left."""

    fsync: str = "interval"
    fsync_interval: float = 0.2
    segment_bytes: int = 64 * 1024 * 1024
    segment_seconds: float = 86_400.0
    deadline: float = 1.0
    max_bytes: int = 4 * 1024**3
    on_full: str = "drop_acknowledged"
    min_age: float = 7 * 86_400.0
    adopts: bool = True


class Journal:
    """One directory, one open segment of this process. Safe to use from any thread."""

    def __init__(
        self,
        directory: Path,
        origin: Origin,
        options: Options = Options(),
        *,
        say: Callable[[str], None],
        disk: Disk = REAL_DISK,
    ) -> None:
        self.directory = directory
        self.after_tick: Callable[[], None] = _nothing
        self._origin = origin
        self._options = options
        self._say = say
        self._disk = disk
        # One for the process's life, forks included: it tells its own slots from those that calls begun in a parent hold.
        self._marker = Marker(directory, disk, say)
        self._build()

    def _build(self) -> None:
        """All that belongs to one process; a forked child builds its own."""
        directory, disk, options, say = self.directory, self._disk, self._options, self._say
        origin = self._origin
        self._lock = lock = OwnedLock()
        self._losses = losses = Losses(directory, say)
        self._ledger = ledger = Ledger(directory, disk, origin.scope_name, origin.scope_version, say)
        marker = self._marker
        self._committer = Committer(self._tick, options.fsync_interval)
        self._commits = commits = Commits(
            request=lambda: self._committer.request(),
            sync_now=lambda: self._upkeep.sync_now(),
            held=lambda: lock.owned or self._upkeep.works_here or self._committer.runs_here,
        )
        self._bounds = bounds = Bounds(
            directory,
            disk,
            ledger,
            max_bytes=options.max_bytes,
            on_full=options.on_full,
            min_age_seconds=options.min_age,
            say=say,
        )
        self._retired = retired = Retired(ledger, commits)
        self._preparer = preparer = Preparer(directory, origin, disk, ledger, marker, commits)
        self._keeper = keeper = Keeper(preparer, retired, losses, marker, bounds, commits, options.deadline)
        rhythm = Rhythm(
            options.fsync, options.fsync_interval, options.segment_bytes, options.segment_seconds, options.deadline
        )
        self._upkeep = Upkeep(rhythm, lock, keeper, preparer, retired, losses, commits, bounds, say)
        self._adopter = Adopter(directory, disk, ledger, self.append, self._stream_id, say)
        self._opened = False

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
        """Why a record was lost last, or what keeps the journal from being kept in order now."""
        return self._upkeep.trouble or self._losses.last_error

    @property
    def path(self) -> Path | None:
        """The open segment's file, None before the first record."""
        current = self._keeper.current
        return None if current is None else current.segment.path

    def open(self) -> None:
        """Open the first segment, so that the first call does not wait for it. Failing is not fatal: see ``append``."""
        # A server that is started again and again on a full journal must not write a little more each time.
        if os.path.isdir(self.directory):
            self._bounds.measure(may_prune=False)
        try:
            self._lock.hold(self._options.deadline, self._open_ahead)
        except (Busy, Reentered):
            return  # whoever has it appends, and that opens
        finally:
            self._opened = True
        self._committer.notify()

    def begin(
        self, event: str, received: int, attributes: dict[str, AttributeValue], trace_id: str, span_id: str
    ) -> int | None:
        """Mark a call as begun, so that it is not forgotten if the process is killed; the mark, for ``append``.

        Times in nanoseconds since the epoch, ids in hex or empty. None when it could not be marked; never raises.
        """
        if not self._opened:
            # The first of a forked child, or beside a thread that is opening now: there is no marker before that.
            self.open()
        return self._marker.set(OpenCall(event, received, attributes, trace_id, span_id))

    def append(self, record: AuditRecord, mark: int | None = None) -> Ticket:
        """Number, chain and write ``record``; returns when it is in the file (:meth:`Ticket.durable`: on the disk).

        ``mark``: what :meth:`begin` gave, taken off as soon as the record is written or counted as lost.
        Raises :class:`JournalError` when it could not be written; the record is then counted in the next gap record.
        Raises :class:`Deferred` when it was queued: inside another append of the same thread (a finaliser), or while the
        disk hangs.
        """
        try:
            encoded: Encoded | Exception = encode(record)
        except Exception as error:
            # Whatever it is, the record is lost as surely as on a full disk.
            encoded = error
        appended = Appended(encoded, mark)
        keeper, committer = self._keeper, self._committer
        try:
            if self._stuck():
                raise Busy
            written = self._lock.hold(self._options.deadline, lambda: keeper.keep(appended))
        except Busy:
            self._queue(appended)
            raise Deferred("the disk hangs; the record is queued and will be written by the journal's thread") from None
        except Reentered:
            keeper.queued.append(appended)
            raise Deferred("appended inside another append, which will write it") from None
        finally:
            committer.notify()
        if self._options.fsync == "always" or written.size >= self._options.segment_bytes:
            committer.request()
        return Ticket(*written[:5], self._commits)

    def note(self, kind: events.Turn, settings_hash: str | None = None) -> None:
        """Record a turn in the life of this process's audit. What cannot be written is counted, as any record is."""
        record = events.turned(kind, self._origin.policy_hash, settings_hash or self._origin.settings_hash)
        try:
            self.append(record)
        except JournalError:
            return  # counted and said, or queued

    def adopt(self) -> None:
        """Answer for what dead processes left in the directory. Raises OSError. Not for a call's path."""
        self._adopter.adopt()

    def close(self) -> None:
        """End the stream well: last record, sync, file closed. Later records open a new segment."""
        self._adopter.stop()
        # A committer that was stopped runs no more; whoever appends from now on wakes the new one.
        committer, self._committer = self._committer, Committer(self._tick, self._options.fsync_interval)
        committer.stop(_CLOSE_SECONDS)
        try:
            if self._stuck():
                raise Busy
            self._lock.hold(_CLOSE_SECONDS, self._end)
        except (Busy, Reentered):
            self._say(
                "the journal was busy at exit; its last segment has no end record, and whoever starts next adopts it"
            )
            if self._keeper.queued:
                self._say(
                    f"{len(self._keeper.queued)} audit records are queued, and lost if the disk does not come back"
                )
            self._serve_waiting()
            return
        settled = self._upkeep.finish(_CLOSE_SECONDS)
        if not settled:
            self._say("the journal was not ended well; whoever starts next in its directory adopts what it left")
        self._serve_waiting()
        self._marker.close(settled)
        gap = self._losses.gap
        if gap is not None and gap.count:
            # Only memory knows it, and that ends here.
            self._say(f"{gap.count} audit records were lost and no gap record could be written: {self.last_error}")

    def _serve_waiting(self) -> None:
        """Those who asked the committer that was stopped, and were not served by the end, ask the new one."""
        if self._commits.wanted:
            self._committer.request()

    def after_fork_in_child(self) -> None:
        """Leave the parent's files to the parent and start anew at the next record.

        Closing our copies of its descriptors gives none of its locks back: a lock is let go with the last copy.
        """
        self._commits.forked()
        self._keeper.let_go()
        self._retired.close()
        self._preparer.close()
        self._marker.after_fork_in_child()
        self._bounds.after_fork_in_child()
        self._build()

    def _queue(self, appended: Appended) -> None:
        keeper = self._keeper
        if len(keeper.queued) < MAX_QUEUED:
            keeper.queued.append(appended)
            return
        # The gap is counted under the lock; this waits (a deque's append is atomic) for whoever gets it next.
        keeper.missed.append(time.time_ns())
        if appended.slot is not None:
            self._marker.clear(appended.slot)
        raise JournalError(f"the disk hangs and {MAX_QUEUED} records wait for it already")

    def _stuck(self) -> bool:
        """Whether a write or a sync has been in the kernel for so long that another would hang behind it."""
        writing, syncing = self._keeper.writing_since, self._upkeep.syncing_since
        if writing is None and syncing is None:
            return False
        since = min(time_ for time_ in (writing, syncing) if time_ is not None)
        return time.monotonic() - since > self._options.deadline / 2

    # --- with the lock held ----------------------------------------------------------------------------------------

    def _open_ahead(self) -> None:
        try:
            self._keeper.ready()
        except Exception as error:
            self._losses.failed(error, lost=0)

    def _end(self) -> None:
        keeper = self._keeper
        try:
            keeper.count_missed()
            keeper.write_queued()
            keeper.tampered()
            keeper.close_gap(last=True)
        except Exception as error:
            self._losses.failed(error, lost=0)
        for _ in range(2):  # the current one, and one that was prepared to follow it
            try:
                keeper.end()
            except Exception as error:
                self._losses.failed(error, lost=0)
            keeper.current, keeper.next = keeper.next, None

    # --- the journal's thread ---------------------------------------------------------------------------------------------

    def _tick(self) -> bool:
        again = self._upkeep.tick()
        if self._options.adopts and self._keeper.current is not None:
            self._adopter.start()
        self.after_tick()
        return again

    def _stream_id(self) -> str:
        current = self._keeper.current
        return "" if current is None else current.segment.stream_id


def _nothing() -> None:
    """What follows a tick when nobody asked for anything."""
