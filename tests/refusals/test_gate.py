# SPDX-License-Identifier: Apache-2.0
"""When counts are written: at the end of a window, at the end of the audit, in the process that counted, exactly once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence

from opentelemetry.instrumentation.mcp_audit.record.refusal import Kind, Source, Summary
from opentelemetry.instrumentation.mcp_audit.refusals.budget import Budget
from opentelemetry.instrumentation.mcp_audit.refusals.gate import Gate, on_a_timer

KIND = Kind(401, "auth", "missing_token")
ONE = Source("10.0.0.1", "ipv4")


class _World:
    """A clock that stands until it is moved, and who wants to be called when."""

    def __init__(self, per_minute: int = 1) -> None:
        self.now = 100.0
        self.written: list[Summary] = []
        self.broken = False
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.gate = Gate(
            Budget(per_minute), self.write, clock=lambda: self.now, wall=lambda: int(self.now), later=self.call_later
        )

    def write(self, summaries: Sequence[Summary]) -> Sequence[Summary]:
        if self.broken:
            return summaries
        self.written.extend(summaries)
        return []

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        self.later.append((seconds, call))

    def pass_time(self) -> None:
        """Let the next of those who wait be called, at their time."""
        seconds, call = self.later.pop(0)
        self.now += seconds
        call()

    def come(self, times: int) -> int:
        return sum(self.gate.admit(ONE, KIND) for _ in range(times))

    @property
    def counts(self) -> list[int]:
        return [one.count for one in self.written]


def test_at_the_end_of_the_window_once() -> None:
    world = _World()
    assert world.come(5) == 1
    assert len(world.later) == 1
    assert 60 < world.later[0][0] < 61
    world.pass_time()
    assert world.written == [Summary(4, 100, int(world.now), ONE, KIND)]
    assert world.later == []
    assert world.gate.end() == 0
    assert world.counts == [4]


def test_nothing_waits_while_nothing_is_counted() -> None:
    world = _World(per_minute=10)
    assert world.come(10) == 10
    assert world.later == []


def test_the_next_window_may_come_before_the_timer() -> None:
    world = _World()
    world.come(3)
    world.now += 60
    assert world.come(2) == 1
    assert world.counts == [2]
    # The timer of the old window finds the new one under way, and comes back at its end.
    world.now += 0.05
    world.later.pop(0)[1]()
    assert world.counts == [2]
    world.pass_time()
    assert world.counts == [2, 1]


def test_at_the_end_of_the_audit_and_after_it() -> None:
    world = _World()
    world.come(4)
    assert world.gate.end() == 0
    assert world.counts == [3]
    # Who comes in that moment is not counted any more: nobody would write it.
    assert world.come(5) == 5
    assert world.gate.end() == 0
    assert world.counts == [3]


def test_what_could_not_be_written_is_tried_again_a_minute_later() -> None:
    world = _World()
    world.broken = True
    world.come(3)
    world.pass_time()
    assert world.counts == []
    assert world.later[0][0] >= 60
    world.broken = False
    world.pass_time()
    assert world.counts == [2]


def test_at_the_end_it_says_how_many_could_not_be_written() -> None:
    world = _World()
    world.broken = True
    world.come(3)
    assert world.gate.end() == 2


def test_no_thread_to_be_had() -> None:
    def refuse(seconds: float, call: Callable[[], None]) -> None:
        raise RuntimeError("can't start new thread")

    written: list[Summary] = []

    def write(summaries: Sequence[Summary]) -> Sequence[Summary]:
        written.extend(summaries)
        return []

    gate = Gate(Budget(0), write, later=refuse)
    assert [gate.admit(ONE, KIND) for _ in range(3)] == [False] * 3
    assert gate.end() == 0
    assert [one.count for one in written] == [3]


def test_a_real_timer_calls_back_on_a_thread_that_nobody_waits_for() -> None:
    called = threading.Event()
    daemons: list[bool] = []

    def call() -> None:
        daemons.append(threading.current_thread().daemon)
        called.set()

    on_a_timer(0.01, call)
    assert called.wait(10)
    assert daemons == [True]


def test_threads_together() -> None:
    world = _World(per_minute=7)
    admitted: list[int] = []

    def come() -> None:
        admitted.append(world.come(2000))

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    world.gate.end()
    assert sum(admitted) == 7
    assert sum(world.counts) == 16_000 - 7
    assert len(world.later) == 1


def test_a_forked_child_counts_its_own() -> None:
    world = _World()
    world.come(4)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - the child's coverage is not collected
        try:
            world.written.clear()
            # The parent's lock may be held by a thread of the parent's in this moment.
            world.gate._lock.acquire()
            before = world.gate.end()
            admitted = world.come(3)
            world.gate.end()
            os.write(write, f"{before} {admitted} {world.counts}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"0 1 [2]"
    os.close(read)
    os.close(write)
    world.gate.end()
    assert world.counts == [3]
