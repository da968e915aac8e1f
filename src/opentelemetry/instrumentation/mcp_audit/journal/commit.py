# SPDX-License-Identifier: Apache-2.0
"""The journal's thread: it puts on the disk, in groups, what calls have already written.

It sleeps until something was written, waits one interval so that a burst shares one sync, and runs the tick it was
given. While the tick reports work left over (a journal that fails) it is run again every second.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Final

_RETRY_SECONDS: Final = 1.0


class Committer:
    """Runs ``tick`` in one daemon thread. ``tick`` returns True when it must run again although nothing new came."""

    def __init__(self, tick: Callable[[], bool], interval_seconds: float) -> None:
        self._tick = tick
        self._interval = interval_seconds
        # Not an Event: a finaliser that appends may notify inside this thread's own wait or clear, and an Event's lock
        # is not re-entrant. A SimpleQueue's put is, by contract.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._dirty = False
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def notify(self) -> None:
        """Say that something was written. Cheap when it was said already."""
        if self._dirty:
            return
        self._dirty = True
        if self._thread is None or not self._thread.is_alive():
            self._start()
        self._wake.put(None)

    def stop(self, timeout: float) -> None:
        """End the thread; what was not ticked by then is the caller's."""
        self._stop.set()
        self._wake.put(None)
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _start(self) -> None:
        if not self._starting.acquire(blocking=False):
            return  # another thread is starting it
        try:
            thread = threading.Thread(target=self._run, name="mcp-audit-journal", daemon=True)
            thread.start()
            self._thread = thread
        except RuntimeError:
            # The interpreter is shutting down (close() syncs what is written), or there are too many threads just now.
            self._dirty = False
        finally:
            self._starting.release()

    def _run(self) -> None:
        left_over = False
        while not self._stop.is_set():
            with contextlib.suppress(queue.Empty):
                self._wake.get(timeout=_RETRY_SECONDS if left_over else None)
            if self._stop.wait(self._interval):
                return
            self._dirty = False
            left_over = self._tick()
