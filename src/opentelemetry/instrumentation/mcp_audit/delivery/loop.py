# SPDX-License-Identifier: Apache-2.0
"""The shipper's life: get the directory's lock, deliver, wait for more, until it is told to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from opentelemetry.instrumentation.mcp_audit.journal.delivered import is_delivered, read_delivered
from opentelemetry.instrumentation.mcp_audit.journal.disk import REAL_DISK

from .lock import DirectoryLock
from .shipper import Counts, Observer, Shipper
from .sources import Sources
from .transport import Transport

_LOCK_SECONDS: Final = 1.0
_TROUBLE_SECONDS: Final = 5.0


class Loop:
    """Runs a shipper on the thread that calls :meth:`run`. The other methods may be called from any thread."""

    def __init__(
        self,
        directory: Path,
        transport: Callable[[], Transport],
        observer: Observer,
        poll_seconds: float = 0.2,
    ) -> None:
        self.counts = Counts()
        self.holds_lock = False
        self._directory = directory
        self._transport = transport
        self._observer = observer
        self._poll = poll_seconds
        self._lock = DirectoryLock(directory, REAL_DISK)
        self._bell = threading.Event()
        self._until: float | None = None
        self._trouble = ""
        self._told_waiting = False

    def wake(self) -> None:
        """Something was written."""
        self._bell.set()

    def stop(self, seconds: float) -> None:
        """End when everything is delivered, when it cannot be delivered now, or in so many seconds."""
        self._until = time.monotonic() + seconds
        self._bell.set()

    def forked(self) -> None:
        """In a forked child: let go of our copy of the lock."""
        self._lock.release()

    def run(self, once: bool = False) -> bool:
        """Deliver until :meth:`stop`; with ``once`` until everything is delivered, whatever it takes. Whether all is."""
        while True:
            try:
                if self._lock.take():
                    return self._deliver(once)
                wait = _LOCK_SECONDS
                if once and self._delivered_by_another():
                    return True
            except OSError as error:
                self._say(error)
                wait = _TROUBLE_SECONDS
            if self._until is not None:
                return False
            self._wait(wait)

    def _deliver(self, once: bool) -> bool:
        self.holds_lock = True
        shipper: Shipper | None = None
        try:
            while True:
                try:
                    if shipper is None:
                        shipper = Shipper(self._directory, self._transport(), self._observer)
                        shipper.counts = self.counts
                    self._bell.clear()
                    ending = self._until is not None
                    pause = shipper.step(everything=once or ending)
                    self._trouble = ""
                except Exception as error:
                    # Whatever it is: records wait in the journal, and a shipper that is gone would be silence.
                    self._say(error)
                    pause = _TROUBLE_SECONDS
                if pause is None and (once or ending):
                    return True
                if self._until is not None and (pause or time.monotonic() > self._until):
                    return False
                if pause is None:
                    self._wait(self._poll)
                elif pause:
                    self._sleep(pause)
        finally:
            self.holds_lock = False
            if shipper is not None:
                shipper.close()
            self._lock.release()

    def _delivered_by_another(self) -> bool:
        """Whether whoever holds the lock has delivered everything that is there. Says once that it is another."""
        if not self._told_waiting:
            self._told_waiting = True
            self._observer.say("another process delivers this journal; waiting for it")
        places = read_delivered(self._directory)
        return all(
            is_delivered(places, source.file, source.size) for source in Sources(self._directory).look(force=True)
        )

    def _say(self, error: Exception) -> None:
        what = f"{type(error).__name__}: {error}"
        if what != self._trouble:
            self._trouble = what
            self._observer.say(f"audit records cannot be delivered now ({what}); it is tried again")

    def _wait(self, seconds: float) -> None:
        self._bell.wait(seconds)

    def _sleep(self, seconds: float) -> None:
        """Wait all of the time, whatever is written meanwhile, unless told to stop."""
        until = time.monotonic() + seconds
        while self._until is None and (left := until - time.monotonic()) > 0:
            self._bell.wait(left)
            if self._until is None:
                self._bell.clear()
