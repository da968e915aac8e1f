# SPDX-License-Identifier: Apache-2.0
"""The shipper inside a server: a daemon thread that no call waits for, and its end within a bound."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .loop import Loop
from .options import Options
from .shipper import Counts, Observer
from .transport import Transport


class LiveDelivery:
    """Delivers the directory of this process's journal, as long as nobody else does."""

    def __init__(
        self, directory: Path, where: Options, connect: Callable[[Options], Transport], observer: Observer
    ) -> None:
        self.where = where
        self._directory = directory
        self._connect = connect
        self._observer = observer
        self._build()

    def _build(self) -> None:
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._starting = threading.Lock()
        self._loop = Loop(self._directory, lambda: self._connect(self.where), self._observer)

    def notify(self) -> None:
        """Something is in the journal, and on the disk. Starts the thread where there is none (a forked child's)."""
        # Whoever finds it taken need not wait: it is being started just now.
        if self._thread is None and not self._stopped and self._starting.acquire(blocking=False):
            try:
                if self._thread is None:
                    self._start()
            finally:
                self._starting.release()
        self._loop.wake()

    def _start(self) -> None:
        thread = threading.Thread(target=self._loop.run, name="mcp-audit-delivery", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return  # too many threads, or the interpreter shuts down: the next tick, or the next process
        self._thread = thread

    def stop(self, seconds: float) -> None:
        """Deliver what is there, for at most so long. What is left is sent by the next process, or by `ship`."""
        self._stopped = True
        thread, self._thread = self._thread, None
        if thread is not None:
            self._loop.stop(seconds)
            thread.join(seconds)

    def after_fork_in_child(self) -> None:
        """The parent's shipper stays the parent's; a child starts its own with its first record."""
        self._loop.forked()
        self._build()

    @property
    def counts(self) -> Counts:
        """What was done so far in this process."""
        return self._loop.counts

    def status(self) -> dict[str, Any]:
        """For the status file: where to, how far, and what is wrong."""
        counts = self._loop.counts
        return {
            "endpoint": self.where.url,
            "protocol": self.where.protocol,
            "delivers": self._loop.holds_lock,
            "exported": counts.exported,
            "quarantined": counts.quarantined,
            "failures": counts.failures,
            "waiting_bytes": counts.waiting,
            "last_error": counts.last_error,
            "last_acknowledged": counts.last_acknowledged,
        }
