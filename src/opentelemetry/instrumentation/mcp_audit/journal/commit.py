# SPDX-License-Identifier: Apache-2.0
"""The journal's thread: it puts on the disk, in groups, what calls have already written.

It sleeps until something was written, waits one interval so that a burst shares one sync, and runs the tick it was
given; at once when somebody waits for it. What is written while a tick runs gathers for the next one. While the tick
reports work left over (a journal that fails) it is run again every second.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from .lock import Busy, OwnedLock, Reentered

_RETRY_SECONDS: Final = 1.0
_START_SECONDS: Final = 1.0


class _Bell:
    """Rung by any thread, finaliser or signal handler, heard by one thread; rings that nobody heard yet are one.

    A bare lock, taken by who listens and released by who rings, each in one step of the interpreter. Not an Event, whose
    own lock is not re-entrant, and no SimpleQueue: before Python 3.11 its ``get`` with a timeout may wait for ever when
    the time is up before it begins to wait.
    """

    __slots__ = ("_silence",)

    def __init__(self) -> None:
        self._silence = threading.Lock()
        self._silence.acquire()

    def ring(self) -> None:
        with contextlib.suppress(RuntimeError):  # it rings already
            self._silence.release()

    def heard(self, seconds: float | None) -> bool:
        """Whether it rang within so many seconds (None: as long as it takes)."""
        return self._silence.acquire(timeout=-1 if seconds is None else max(0.0, seconds))


class Committer:
    """Runs ``tick`` in one daemon thread. ``tick`` returns True when it must run again although nothing new came."""

    def __init__(self, tick: Callable[[], bool], interval_seconds: float) -> None:
        self._tick = tick
        self._interval = interval_seconds
        self._bell = _Bell()
        self._stopped = False
        self._dirty = False
        self._asked = False
        self._thread: threading.Thread | None = None
        self._starting = OwnedLock()

    @property
    def runs_here(self) -> bool:
        """Whether the calling thread is the committing one."""
        thread = self._thread
        return thread is not None and thread.ident == threading.get_ident()

    def notify(self) -> None:
        """Say that something was written. Cheap when it was said already."""
        if self._dirty:
            return
        self._dirty = True
        if not self._running and not self._start(0):
            self._dirty = False
        self._bell.ring()

    def request(self) -> bool:
        """Have a tick begin at once, or as soon as the one that runs is over. False when no thread can run it."""
        if self._stopped:
            return False
        if not self._asked:
            self._asked = True
            self._bell.ring()
        return self._running or self._start(_START_SECONDS)

    def stop(self, timeout: float) -> None:
        """End the thread; what was not ticked by then is the caller's."""
        self._stopped = True
        self._bell.ring()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    @property
    def _running(self) -> bool:
        # In the last stage of the interpreter's shutdown a daemon thread counts as alive and never runs again.
        return self._thread is not None and self._thread.is_alive() and not sys.is_finalizing()

    def _start(self, timeout: float) -> bool:
        """Whether there is a thread now. Waits at most ``timeout`` seconds for another thread that is starting it."""
        try:
            self._starting.hold(timeout, self._start_if_needed)
        except Busy:
            return timeout == 0  # another thread is starting it
        except Reentered:
            return False  # a signal handler inside this very start, which may not have come far
        except RuntimeError:
            # The interpreter is shutting down (close() syncs what is written), or there are too many threads just now.
            return False
        return not sys.is_finalizing()

    def _start_if_needed(self) -> None:
        if self._running or sys.is_finalizing():
            return
        # Known before it runs: what it runs may ask whether it is the committing thread.
        self._thread = thread = threading.Thread(target=self._run, name="mcp-audit-journal", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self._thread = None
            raise

    def _run(self) -> None:
        left_over = False
        while not self._stopped:
            self._bell.heard(_RETRY_SECONDS if left_over else None)
            if not self._asked:
                self._gather()
            if self._stopped:
                return
            # First the bell, then the flags: whoever finds a flag set does not ring, and this tick is still to come.
            self._bell.heard(0)
            self._dirty = self._asked = False
            try:
                left_over = self._tick()
            except Exception:
                # A defect is told as that of any thread; whoever asked meanwhile must not wait for one that is gone.
                left_over = False
                told = (*sys.exc_info(), threading.current_thread())
                threading.excepthook(threading.ExceptHookArgs(told))

    def _gather(self) -> None:
        """Let an interval pass, or less when somebody asks."""
        until = time.monotonic() + self._interval
        while not (self._asked or self._stopped):
            left = until - time.monotonic()
            if left <= 0 or not self._bell.heard(left):
                return
