# SPDX-License-Identifier: Apache-2.0
"""A wrapper that gives a slow sink a thread of its own, so that it delays no call."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from opentelemetry.instrumentation.mcp_audit.notices import Notices, describe

from .protocol import Entry, Sink


class QueueFull(Exception):
    """The wrapped sink is slower than the records come; this one did not reach it. It is in the journal."""


class QueuedSink:
    """Passes entries to ``sink`` from a thread, through a queue of ``size`` entries.

    A full queue raises :class:`QueueFull`, which the Auditor counts and says; nothing is dropped in silence.
    ``dropped`` and ``failed`` count what the wrapped sink did not get and what it raised on; ``on_error`` hears of the
    latter, stderr when it is not given. ``close`` waits up to
    ``close_seconds`` for what is queued.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        size: int = 10_000,
        close_seconds: float = 1.0,
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        self.dropped = 0
        self.failed = 0
        self._sink = sink
        self._close_seconds = close_seconds
        self._notices = Notices()
        self._on_error = self._say if on_error is None else on_error
        self._size = size
        self._fresh()

    def write(self, entry: Entry) -> None:
        if self._pid != os.getpid():
            # A forked child: what waits is the parent's to deliver, and its queue may have been locked at that moment.
            self._fresh()
        if self._thread is None or not self._thread.is_alive():
            self._start()
        try:
            self._queue.put_nowait(entry)
        except queue.Full:
            self.dropped += 1
            raise QueueFull(f"{self._queue.maxsize} entries wait for {type(self._sink).__name__}") from None

    def close(self) -> None:
        thread, entries, deadline = self._thread, self._queue, time.monotonic() + self._close_seconds
        if self._pid == os.getpid() and thread is not None and thread.is_alive():
            with suppress(queue.Full):  # then the thread is stuck, and what waits is dropped below
                entries.put(None, timeout=self._close_seconds)
            thread.join(max(0.0, deadline - time.monotonic()))
            self.dropped += _drain(entries)
            with suppress(queue.Full):  # writers refilled it: then the thread, when it comes back, works on
                entries.put_nowait(None)  # for a thread that is stuck still
        self._fresh()
        self._sink.close()

    def _say(self, error: Exception) -> None:
        self._notices.report(f"sink {type(self._sink).__name__} failed: {describe(error)}")

    def _fresh(self) -> None:
        self._pid = os.getpid()
        self._queue: queue.Queue[Entry | None] = queue.Queue(self._size)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, args=(self._queue,), name="mcp-audit-sink", daemon=True
                )
                self._thread.start()

    def _run(self, entries: queue.Queue[Entry | None]) -> None:
        while True:
            entry = entries.get()
            if entry is None:
                return
            try:
                self._sink.write(entry)
            except Exception as error:
                self.failed += 1
                self._on_error(error)


def _drain(entries: queue.Queue[Entry | None]) -> int:
    """Take out what the sink's thread did not get to; how many entries that were."""
    left = 0
    while True:
        try:
            left += entries.get_nowait() is not None
        except queue.Empty:
            return left
