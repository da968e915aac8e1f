# SPDX-License-Identifier: Apache-2.0
"""The journal's thread: it groups, sleeps when there is nothing to do, and comes back."""

from __future__ import annotations

import queue
import threading
import time
from pathlib import Path

import pytest
from journals import journal, record, until

from opentelemetry.instrumentation.mcp_audit.journal import commit
from opentelemetry.instrumentation.mcp_audit.journal.commit import Committer


class _Ticks:
    def __init__(self, left_over: int = 0) -> None:
        self.count = 0
        self.left_over = left_over
        self.threads: set[str] = set()

    def __call__(self) -> bool:
        self.count += 1
        self.threads.add(threading.current_thread().name)
        self.left_over -= 1
        return self.left_over >= 0


def test_no_thread_before_the_first_notice() -> None:
    committer = Committer(_Ticks(), 0.01)
    assert committer._thread is None
    committer.stop(1)


def test_a_burst_is_one_tick() -> None:
    ticks = _Ticks()
    committer = Committer(ticks, 0.5)
    for _ in range(1000):
        committer.notify()
    until(lambda: ticks.count > 0)
    committer.stop(5)
    assert (ticks.count, ticks.threads) == (1, {"mcp-audit-journal"})


def test_every_notice_is_followed_by_a_tick() -> None:
    ticks = _Ticks()
    committer = Committer(ticks, 0.001)
    for _ in range(50):
        before = ticks.count
        committer.notify()
        until(lambda: ticks.count > before)  # noqa: B023 - evaluated before the next turn
    committer.stop(5)


def test_it_sleeps_without_polling_when_idle(tmp_path: Path) -> None:
    """Seen from the kernel: the thread is not run at all while nothing is written."""
    trail = journal(tmp_path, fsync_interval_seconds=0.01)
    ticks: list[None] = []
    trail.after_tick = lambda: ticks.append(None)
    trail.append(record())
    until(lambda: bool(ticks))
    (thread,) = [item for item in threading.enumerate() if item.name == "mcp-audit-journal" and item.is_alive()][-1:]

    def switches() -> int:
        status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
        return sum(int(line.split()[1]) for line in status.splitlines() if "ctxt_switches" in line)

    # It may still be on its way to sleep; then two looks far apart see the same number.
    seen = -1
    while seen != (seen := switches()):
        time.sleep(0.05)
    before = switches()
    time.sleep(1.5)
    assert switches() == before
    assert len(ticks) == 1
    trail.close()


def test_work_left_over_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "_RETRY_SECONDS", 0.01)
    ticks = _Ticks(left_over=4)
    committer = Committer(ticks, 0.001)
    committer.notify()
    until(lambda: ticks.count == 5)
    committer.stop(5)
    assert ticks.count == 5


def test_stop_ends_the_thread_and_is_bounded() -> None:
    stuck = threading.Event()
    entered = threading.Event()

    def tick() -> bool:
        entered.set()
        stuck.wait(30)
        return False

    committer = Committer(tick, 0.001)
    committer.notify()
    assert entered.wait(10)
    thread = committer._thread
    assert thread is not None
    began = time.monotonic()
    committer.stop(0.05)
    assert time.monotonic() - began < 5
    stuck.set()
    thread.join(10)
    assert not thread.is_alive()


def test_too_many_threads_just_now_is_tried_again_at_the_next_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = _Ticks()
    committer = Committer(ticks, 0.001)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        committer.notify()
        committer.notify()
    assert committer._thread is None
    committer.notify()
    until(lambda: ticks.count >= 1)
    committer.stop(5)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_tick_that_raises_does_not_end_committing_for_ever() -> None:
    count = [0]

    def tick() -> bool:
        count[0] += 1
        if count[0] == 1:
            raise ValueError("a defect in what follows a tick")
        return False

    committer = Committer(tick, 0.001)
    committer.notify()
    until(lambda: count[0] == 1 and committer._thread is not None and not committer._thread.is_alive())
    committer.notify()
    until(lambda: count[0] >= 2)
    committer.stop(5)


def test_many_threads_that_notify_at_once_start_one() -> None:
    ticks = _Ticks()
    committer = Committer(ticks, 0.05)
    before = sum(item.name == "mcp-audit-journal" for item in threading.enumerate())
    barrier = threading.Barrier(16)

    def notify() -> None:
        barrier.wait()
        committer.notify()

    threads = [threading.Thread(target=notify) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(item.name == "mcp-audit-journal" for item in threading.enumerate()) == before + 1
    committer.stop(5)


def test_it_is_woken_through_a_queue_whose_put_is_reentrant_by_contract() -> None:
    """A finaliser may notify inside this thread's own wait; an Event's lock would then wait for its own thread."""
    assert isinstance(Committer(_Ticks(), 0.001)._wake, queue.SimpleQueue)
