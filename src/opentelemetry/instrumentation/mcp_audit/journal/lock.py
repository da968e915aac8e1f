# SPDX-License-Identifier: Apache-2.0
"""The append lock: it knows its owner, so that a finaliser cannot wait for its own thread and no signal leaves it taken.

A garbage collection inside ``append`` may run code that appends; that is told apart from another thread's hold at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


class Busy(Exception):
    """Another thread held the lock for all of the time given."""


class Reentered(Exception):
    """This very thread holds the lock: waiting for it would be in vain."""


class OwnedLock:
    """A lock around one piece of work at a time. Not re-entrant: it says so instead of waiting."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        # Of an RLock only this is used: it records its owner in the same step that takes it, out of reach of signals.
        self._lock = threading.RLock()

    @property
    def owned(self) -> bool:
        """Whether the calling thread holds it."""
        # What threading.Condition itself asks; there is no public name for it.
        return bool(self._lock._is_owned())  # type: ignore[attr-defined, unused-ignore]

    def hold(self, timeout: float, work: Callable[[], _T]) -> _T:
        """Do ``work`` with the lock held and give back what it gives. Waits at most ``timeout`` seconds.

        Raises :class:`Busy` or :class:`Reentered`, without having done anything, and whatever ``work`` raises.
        """
        if self.owned:
            raise Reentered
        try:
            # Inside the try: a signal handler may raise when the lock is taken and before that can be noted anywhere.
            if not self._lock.acquire(timeout=timeout):
                raise Busy
            return work()
        finally:
            try:
                # The first thing here, and a C function: before it a handler has no place to raise. Hence no question
                # whether it is ours; ``release`` answers that itself.
                self._lock.release()
            except RuntimeError:
                # Never taken: busy, or interrupted while waiting. (One that was taken before was refused above.)
                pass
