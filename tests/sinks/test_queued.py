# SPDX-License-Identifier: Apache-2.0
"""The queued sink: a slow sink delays no call, and nothing it does not get is lost in silence."""

from __future__ import annotations

import os
import threading
import time

import pytest

from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord
from opentelemetry.instrumentation.mcp_audit.sinks.protocol import Entry, Sink
from opentelemetry.instrumentation.mcp_audit.sinks.queued import QueuedSink, QueueFull


def entry(number: int) -> Entry:
    return Entry(AuditRecord("mcp_audit.tool_call", 1, 2, {}), "stream", number, None, "ab" * 32, b"{}\n")


class _Slow:
    """A sink that waits until it is let go."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.threads: set[str] = set()
        self.entered, self.go = threading.Event(), threading.Event()
        self.closed = 0

    def write(self, entry: Entry) -> None:
        self.entered.set()
        self.threads.add(threading.current_thread().name)
        assert self.go.wait(30)
        self.seen.append(entry.number)

    def close(self) -> None:
        self.closed += 1


def test_entries_pass_in_order_on_a_thread_of_its_own() -> None:
    slow = _Slow()
    sink = QueuedSink(slow, close_seconds=30)
    assert isinstance(sink, Sink)
    for number in range(100):
        sink.write(entry(number))
    assert slow.seen == [], "write returns although the sink does not"
    slow.go.set()
    sink.close()
    assert slow.seen == list(range(100))
    assert slow.threads == {"mcp-audit-sink"}
    assert (sink.dropped, sink.failed, slow.closed) == (0, 0, 1)


def test_a_full_queue_is_counted_and_said() -> None:
    slow = _Slow()
    sink = QueuedSink(slow, size=3, close_seconds=30)
    sink.write(entry(0))
    assert slow.entered.wait(10), "the first is with the sink, not in the queue"
    for number in (1, 2, 3):
        sink.write(entry(number))
    for number in (4, 5):
        with pytest.raises(QueueFull, match="3 entries wait for _Slow"):
            sink.write(entry(number))
    assert sink.dropped == 2
    slow.go.set()
    sink.close()
    assert slow.seen == [0, 1, 2, 3]
    assert sink.dropped == 2


def test_what_the_sink_raises_is_counted_and_the_next_passes() -> None:
    seen: list[int] = []
    errors: list[Exception] = []

    class Odd:
        def write(self, entry: Entry) -> None:
            if entry.number % 2:
                raise ValueError(entry.number)
            seen.append(entry.number)

        def close(self) -> None:
            return None

    sink = QueuedSink(Odd(), on_error=errors.append, close_seconds=30)
    for number in range(6):
        sink.write(entry(number))
    sink.close()
    assert seen == [0, 2, 4]
    assert sink.failed == 3
    assert [str(error) for error in errors] == ["1", "3", "5"]


@pytest.mark.parametrize("size", [5, 100])
def test_close_is_bounded_and_counts_what_was_not_delivered(size: int) -> None:
    slow = _Slow()
    sink = QueuedSink(slow, size=size, close_seconds=0.1)
    sink.write(entry(0))
    assert slow.entered.wait(10)
    for number in range(1, 6):
        sink.write(entry(number))
    began = time.monotonic()
    sink.close()
    assert time.monotonic() - began < 5
    assert sink.dropped == 5, "all but the one that the sink holds"
    assert slow.closed == 1
    slow.go.set()


def test_after_close_it_works_again() -> None:
    slow = _Slow()
    slow.go.set()
    sink = QueuedSink(slow, close_seconds=30)
    for number in range(3):
        sink.write(entry(number))
        sink.close()
    assert slow.seen == [0, 1, 2]


def test_closing_an_unused_one_starts_no_thread() -> None:
    slow = _Slow()
    before = threading.active_count()
    sink = QueuedSink(slow)
    sink.close()
    assert threading.active_count() == before
    assert slow.closed == 1


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_its_own_queue_and_thread() -> None:
    read_end, write_end = os.pipe()

    class Piped(_Slow):
        def write(self, entry: Entry) -> None:
            if os.getpid() == parent:
                super().write(entry)
            else:
                os.write(write_end, f"{entry.number},".encode())

    parent = os.getpid()
    slow = Piped()
    sink = QueuedSink(slow, close_seconds=30)
    for number in range(5):
        sink.write(entry(number))
    child = os.fork()
    if child == 0:
        sink.write(entry(99))
        sink.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    os.close(write_end)
    assert os.read(read_end, 100) == b"99,", "what waited is the parent's to deliver"
    os.close(read_end)
    slow.go.set()
    sink.close()
    assert slow.seen == [0, 1, 2, 3, 4]


def test_many_writers_start_one_thread() -> None:
    slow = _Slow()
    sink = QueuedSink(slow, close_seconds=30)
    before = sum(thread.name == "mcp-audit-sink" for thread in threading.enumerate())
    barrier = threading.Barrier(16)

    def write(number: int) -> None:
        barrier.wait()
        sink.write(entry(number))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(thread.name == "mcp-audit-sink" for thread in threading.enumerate()) == before + 1
    slow.go.set()
    sink.close()
    assert sorted(slow.seen) == list(range(16))
