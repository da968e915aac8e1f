# SPDX-License-Identifier: Apache-2.0
"""The budget of a process: asked from any thread, its counts written when a window is over and at the end of the audit.

A killed process loses the counts of its current window, nothing else: records of refusals are in the journal at once.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from opentelemetry.instrumentation.mcp_audit.record.refusal import Kind, Source, Summary

from .budget import WINDOW_SECONDS, Budget

Later = Callable[[float, Callable[[], None]], object]
# The end of a window is looked at a little late, never early.
_SLACK: Final = 0.05


def on_a_timer(seconds: float, call: Callable[[], None]) -> None:
    """Have ``call`` made on a thread of its own after ``seconds``. Nothing at the end of the interpreter waits for it."""
    timer = threading.Timer(seconds, call)
    timer.name, timer.daemon = "mcp-audit-refusals", True
    timer.start()


class Gate:
    """Admits refusals within the budget. ``write`` gets summaries, and returns those that it could not write.

    ``clock`` in seconds, never going back; ``wall`` in nanoseconds since the epoch; ``later`` calls back after so many
    seconds, and may fail: then the counts wait for the next refusal of another window, or for :meth:`end`.
    """

    def __init__(
        self,
        budget: Budget,
        write: Callable[[Sequence[Summary]], Sequence[Summary]],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], int] = time.time_ns,
        later: Later = on_a_timer,
    ) -> None:
        self._budget = budget
        self._write = write
        self._clock = clock
        self._wall = wall
        self._later = later
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._waiting = False
        self._ended = False

    def admit(self, source: Source, kind: Kind) -> bool:
        """Whether a refusal gets a record of its own. Writes what the window before counted, if nobody has."""
        if self._pid != os.getpid():
            self._forked()
        with self._lock:
            now = self._clock()
            over = self._budget.take(self._wall()) if self._budget.counting and not self._budget.ends_in(now) else []
            admitted = self._ended or self._budget.admit(source, kind, now, self._wall())
        self._written(over)
        if not admitted:
            self._come_back()
        return admitted

    def end(self) -> int:
        """Write every count now; how many refusals are in those that could not be written."""
        if self._pid != os.getpid():
            return 0
        with self._lock:
            # Who is on the way here now gets a record of its own: nobody comes back for a count.
            self._ended = True
            left = self._budget.take(self._wall())
        self._written(left)
        with self._lock:
            return sum(summary.count for summary in self._budget.take(self._wall()))

    def _over(self) -> None:
        """The end of a window: on the timer's thread."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._waiting = False
            over = self._budget.take(self._wall()) if not self._budget.ends_in(self._clock()) else []
            more = self._budget.counting
        self._written(over)
        if more:
            self._come_back()

    def _written(self, summaries: Sequence[Summary]) -> None:
        if not summaries:
            return
        failed = self._write(summaries)
        if failed:
            with self._lock:
                self._budget.put_back(failed)
            self._come_back(WINDOW_SECONDS)

    def _come_back(self, at_least: float = 0.0) -> None:
        if self._waiting:
            return
        with self._lock:
            if self._waiting:
                return
            self._waiting = True
            seconds = max(at_least, self._budget.ends_in(self._clock())) + _SLACK
        try:
            self._later(seconds, self._over)
        except RuntimeError:
            # No thread can be started any more: the interpreter ends, and `end` is called on its way.
            self._waiting = False

    def _forked(self) -> None:
        """What was counted before the fork is the parent's to write, and its lock may be held by a thread of the parent's."""
        self._lock = threading.Lock()
        self._waiting = False
        self._budget = self._budget.anew()
        self._pid = os.getpid()
