# SPDX-License-Identifier: Apache-2.0
"""Who waits for which record to be on the disk, and how far each stream is there.

The journal says what its syncs achieved; a ticket asks, and subscribes only while somebody waits. Nothing here waits for
a lock, so that finalisers, signal handlers and threads that hold the append lock may call any of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from .lock import Busy, OwnedLock, Reentered

FORK: Final = "fork"
DEADLINE: Final = "deadline"
FORGOTTEN: Final = "so many segments were begun since that its own is forgotten"
REENTERED: Final = "asked by a finaliser or signal handler inside the very work that it would wait for"
NOT_COMMITTED: Final = "no thread could be started, and a commit on this one did not reach it"

# Streams whose progress is remembered, so that memory has a bound. At 64 MiB a segment that is the last 256 GiB.
_STREAMS: Final = 4096

Outcome = bool | str | None
"""True: on the disk. A string: it never will be, and why. None: not yet."""


class Waiter:
    """One wait. ``post(function, argument)`` runs ``function(argument)`` where ``wake`` may be called, from any thread."""

    __slots__ = ("number", "post", "refused", "stream_id", "wake")

    def __init__(self, stream_id: str, number: int, post: Callable[..., object], wake: Callable[[], object]) -> None:
        self.stream_id = stream_id
        self.number = number
        self.post = post
        self.wake = wake
        # Why nothing is under way for it, if it was woken for that.
        self.refused: str | None = None


class Commits:
    """The progress of one journal's streams. Made anew in a forked child, after :meth:`forked` of the parent's."""

    def __init__(
        self,
        request: Callable[[], bool],
        sync_now: Callable[[], object],
        held: Callable[[], bool],
    ) -> None:
        """``request`` has another thread commit at once; False when no thread can. ``sync_now`` then commits on the
        calling thread, in bounded time, says here what came of it, and raises what kept it from that. ``held``:
        whether the calling thread is inside something that a commit needs, so that it would wait for itself.
        """
        self._request = request
        self._sync_now = sync_now
        self._held = held
        self._lock = OwnedLock()
        self._news: deque[tuple[str, int | None, str | None]] = deque()
        self._synced: dict[str, int] = {}
        self._failed: dict[str, tuple[int, str]] = {}
        self._forgot = False
        self._over: str | None = None
        # A dict and not a set: copying its keys is one step of the interpreter's, and it keeps the order of arrival.
        self._waiters: dict[Waiter, None] = {}
        self._asking: dict[Callable[..., object], None] = {}

    # --- the journal says ------------------------------------------------------------------------------------------

    def advanced(self, stream_id: str, number: int) -> None:
        """A sync succeeded that began after record ``number`` of the stream, and all before it, was written."""
        self._news.append((stream_id, number, None))
        self._settle()

    def failed(self, stream_id: str, after: int | None, reason: str) -> None:
        """No record of the stream with a number above ``after`` will be known to be on the disk. For good: a later
        sync that succeeds proves nothing about pages that an earlier one lost. None: above the last one that is.
        """
        self._news.append((stream_id, after, reason))
        self._settle()

    def forked(self) -> None:
        """In a forked child: tickets from before are not this process's to answer for."""
        self._over = FORK
        waiters, self._waiters = self._waiters, {}
        for waiter in list(waiters):
            # Only a signal handler can have forked inside a wait. Loops are left alone: their threads stayed behind
            # with the parent, and what wakes a loop may be shared with it.
            if waiter.post is run_here:
                waiter.wake()

    # --- a ticket asks ---------------------------------------------------------------------------------------------

    @property
    def wanted(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiters)

    def outcome(self, stream_id: str, number: int) -> Outcome:
        """What became of a record."""
        if self._over is not None:
            return self._over
        failed = self._failed.get(stream_id)
        if failed is not None and number > failed[0]:
            return failed[1]
        synced = self._synced.get(stream_id)
        if synced is None:
            # A stream is known from its first record's sync on, before any ticket for it is given out.
            return FORGOTTEN if self._forgot else None
        return True if number <= synced else None

    def subscribe(
        self, stream_id: str, number: int, post: Callable[..., object], wake: Callable[[], object]
    ) -> Waiter | None:
        """Have ``wake`` called once, through ``post``, when :meth:`outcome` has an answer; None: it has one now.

        All wake-ups of one commit that go through equal ``post`` functions are one call of it.
        """
        waiter = Waiter(stream_id, number, post, wake)
        self._waiters[waiter] = None
        # Afterwards: what is said from here on finds the waiter, what was said before is seen here.
        if self.outcome(stream_id, number) is not None:
            self.cancel(waiter)
            return None
        return waiter

    def cancel(self, waiter: Waiter) -> None:
        """Wake it no more. The commit goes on."""
        self._waiters.pop(waiter, None)

    def ask(self) -> str | None:
        """Have what was written committed at once. Returns why that is in vain, None when it is under way, or done."""
        if self._lock.owned or self._held():
            return REENTERED
        if self._request():
            return None
        try:
            self._sync_now()
        except Exception as error:
            return f"no thread could be started, and here: {type(error).__name__}: {error}"
        return NOT_COMMITTED

    def ask_soon(self, post: Callable[..., object]) -> None:
        """:meth:`ask` as soon as the loop behind ``post``, which runs on this thread, is through with what is ready now.

        Tasks that one commit woke write again within one turn of their loop; a commit that began with the first of
        them would serve it alone, and the rest would wait for another.
        """
        if post not in self._asking:
            # In this order: an interrupt in between costs one question too many, not all that follow.
            post(self._ask_for, post)
            self._asking[post] = None

    def _ask_for(self, post: Callable[..., object]) -> None:
        self._asking.pop(post, None)
        refused = self.ask()
        if refused is not None:
            for waiter in list(self._waiters):
                if waiter.post == post and self._waiters.pop(waiter, self) is not self:
                    waiter.refused = refused
                    waiter.wake()

    # --- inside ----------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Take in the news and wake whom they concern, or leave that to the thread that is at it just now."""
        while self._news:
            try:
                woken = self._lock.hold(0, self._take_in)
            except (Busy, Reentered):
                # Whoever holds it looks for news once more after letting go.
                return
            for post, wakes in woken.items():
                try:
                    post(run_all, wakes)
                except RuntimeError:
                    # The loop was closed with its tasks still waiting: nobody is left to be woken.
                    continue

    def _take_in(self) -> dict[Callable[..., object], list[Callable[[], object]]]:
        while self._news:
            self._note(*self._news.popleft())
        woken: dict[Callable[..., object], list[Callable[[], object]]] = {}
        for waiter in list(self._waiters):
            settled = self.outcome(waiter.stream_id, waiter.number) is not None
            if settled and self._waiters.pop(waiter, self) is not self:
                woken.setdefault(waiter.post, []).append(waiter.wake)
        return woken

    def _note(self, stream_id: str, number: int | None, reason: str | None) -> None:
        if reason is None:
            assert number is not None
            self._synced[stream_id] = max(number, self._synced.get(stream_id, 0))
        else:
            known = self._synced.setdefault(stream_id, 0)
            after, first = self._failed.get(stream_id, (known if number is None else number, reason))
            self._failed[stream_id] = (after if number is None else min(after, number), first)
        while len(self._synced) > _STREAMS:
            oldest = next(iter(self._synced))
            self._forgot = True
            self._failed.pop(oldest, None)
            del self._synced[oldest]


def run_here(function: Callable[[Any], object], argument: Any) -> None:
    """The ``post`` of those who may be woken from any thread."""
    function(argument)


def run_all(wakes: Iterable[Callable[[], object]]) -> None:
    """Call each."""
    for wake in wakes:
        wake()
