# SPDX-License-Identifier: Apache-2.0
"""What the journal's thread does at each tick, in this order, so that no call waits for a sync, the ledger or a file's end.

under the append lock: what was queued, a gap to tell -> sync -> a segment that is full or old: the next one prepared, then
switched to under the lock -> segments that are over, settled -> the directory's size, pruning
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .bounds import Bounds
from .gap import Losses, describe
from .keep import Keeper
from .lock import Busy, OwnedLock, Reentered
from .prepare import Preparer
from .retire import Retired
from .segment import SyncFailed
from .stream import Writing
from .waiting import Commits


@dataclass(frozen=True, slots=True)
class Rhythm:
    """When what is done. Sizes in bytes, times in seconds."""

    fsync: str
    interval: float
    segment_bytes: int
    segment_seconds: float
    deadline: float


class Upkeep:
    """The work of one journal that is on no call's path. One thread at a time: ``tick``, or ``finish`` at the end."""

    def __init__(
        self,
        rhythm: Rhythm,
        lock: OwnedLock,
        keeper: Keeper,
        preparer: Preparer,
        retired: Retired,
        losses: Losses,
        commits: Commits,
        bounds: Bounds,
        say: Callable[[str], None],
    ) -> None:
        self.trouble: str | None = None
        self.syncing_since: float | None = None
        self._rhythm = rhythm
        self._lock = lock
        self._keeper = keeper
        self._preparer = preparer
        self._retired = retired
        self._losses = losses
        self._commits = commits
        self._bounds = bounds
        self._say = say
        # It knows its owner: a signal handler may wait for a record inside ``finish`` or ``sync_now`` of its own thread.
        self._one = OwnedLock()

    def tick(self) -> bool:
        """True when it must run again although nothing new was written: the journal fails, or something is not settled."""
        return self._one.hold(-1, self._work)

    def sync_now(self) -> None:
        """One commit, on this thread, where the journal's own cannot run (the interpreter shuts down).

        Raises Busy or Reentered.
        """
        if sys.is_finalizing():
            # Every other thread was stopped for good, very likely inside a tick: what it holds is never let go.
            self._sync(self._lock.hold(self._rhythm.deadline, self._begin))
        else:
            self._one.hold(self._rhythm.deadline, self._commit)

    def finish(self, timeout: float) -> bool:
        """Settle what is over and let every file go. False when something is left to be adopted."""
        try:
            return self._one.hold(timeout, self._finish)
        except (Busy, Reentered):
            return False

    @property
    def works_here(self) -> bool:
        """Whether the calling thread is inside this work."""
        return self._one.owned

    # ---------------------------------------------------------------------------------------------------------------

    def _work(self) -> bool:
        try:
            current = self._lock.hold(self._rhythm.interval, self._begin)
        except (Busy, Reentered):
            return True
        self._sync(current)
        self._trouble([self._keeper.renew_marker, self._rotate, self._settle, self._measure])
        return self._losses.gap is not None or bool(self._retired) or self.trouble is not None

    def _commit(self) -> None:
        self._sync(self._lock.hold(self._rhythm.deadline, self._begin))
        self._trouble([self._settle])

    def _finish(self) -> bool:
        self._trouble([self._settle])
        if self._retired and self._bounds.reserve.release():
            # The last words of this process: room was kept for them.
            self._trouble([self._settle])
        settled = not self._retired
        self._retired.close()
        self._preparer.close()
        return settled

    def _begin(self) -> Writing | None:
        """With the append lock held. The segment to sync."""
        keeper = self._keeper
        try:
            keeper.count_missed()
            keeper.write_queued()
            keeper.tampered()
            keeper.close_gap()
        except Exception as error:
            self._losses.failed(error, lost=0)
        return keeper.current

    def _sync(self, current: Writing | None) -> None:
        if current is None or (self._rhythm.fsync == "never" and not self._commits.wanted):
            return
        segment = current.segment
        after = segment.synced
        if after == segment.count:
            return
        try:
            # Outside the append lock: a slow disk must not stop a call. Only this thread closes a segment's file.
            self.syncing_since = time.monotonic()
            self._commits.advanced(segment.stream_id, segment.sync())
        except SyncFailed as error:
            failure = error
            self._commits.failed(segment.stream_id, after, str(error))
            self._locked(lambda: self._keeper.give_up(current))
            self._locked(lambda: self._losses.failed(failure, lost=0))
        finally:
            self.syncing_since = None

    def _rotate(self) -> None:
        keeper, current = self._keeper, self._keeper.current
        if current is None or keeper.next is not None:
            return
        age = time.monotonic() - current.segment.opened
        if current.segment.size < self._rhythm.segment_bytes and (
            age < self._rhythm.segment_seconds or current.segment.count == 1
        ):
            return
        following = self._preparer.prepare(self._rhythm.deadline)
        self._losses.counters.segments += 1
        self._locked(lambda: keeper.switch(following))

    def _settle(self) -> None:
        try:
            self._retired.settle(self._rhythm.deadline)
        except SyncFailed as error:
            failure = error
            self._locked(lambda: self._losses.failed(failure, lost=0))

    def _measure(self) -> None:
        self._bounds.tick()

    def _trouble(self, steps: Sequence[Callable[[], None]]) -> None:
        """Do each step. What fails costs no record now, but must be said: one sentence an episode."""
        found: Exception | None = None
        for step in steps:
            try:
                step()
            except Exception as error:
                found = error
        before, self.trouble = self.trouble, None if found is None else describe(found)
        if self.trouble is not None and before is None:
            self._say(
                f"the journal cannot be kept in order ({self.trouble}); records are still written, and it is tried again"
            )
        elif before is not None and self.trouble is None:
            self._say("the journal is in order again")

    def _locked(self, work: Callable[[], None]) -> None:
        self._lock.hold(-1, work)
