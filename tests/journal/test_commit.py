# SPDX-License-Identifier: Apache-2.0
"""The journal's thread: it groups, sleeps when there is nothing to do, and comes back."""

from __future__ import annotations

import sys
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
    trail = journal(tmp_path, fsync_interval=0.01)
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
def test_a_tick_that_raises_is_told_as_any_threads_error_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[object, str]] = []
    monkeypatch.setattr(threading, "excepthook", lambda hook: told.append((hook.exc_value.args, hook.thread.name)))
    count, inside, go_on = [0], threading.Event(), threading.Event()

    def tick() -> bool:
        count[0] += 1
        if count[0] == 1:
            inside.set()
            go_on.wait(10)
            raise ValueError("a defect in what follows a tick")
        return False

    committer = Committer(tick, 60)
    assert committer.request()
    assert inside.wait(10)
    # Asked for while the tick runs that will fail: not lost with it.
    assert committer.request()
    go_on.set()
    until(lambda: count[0] == 2)
    assert told == [(("a defect in what follows a tick",), "mcp-audit-journal")]
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


def test_the_bell_may_be_rung_at_any_moment_and_rings_until_it_is_heard() -> None:
    """A finaliser may ring inside the listener's own wait; an Event's lock would then wait for its own thread."""
    bell = Committer(_Ticks(), 0.001)._bell
    assert bell.heard(0) is False
    bell.ring()
    bell.ring()
    assert bell.heard(None) is True
    assert bell.heard(0) is False and bell.heard(0.001) is False and bell.heard(-1) is False
    threading.Timer(0.01, bell.ring).start()
    assert bell.heard(10) is True


def test_a_request_does_not_wait_for_the_interval() -> None:
    ticks = _Ticks()
    committer = Committer(ticks, 60)
    assert committer.request() is True
    until(lambda: ticks.count == 1)
    committer.notify()
    assert committer.request() is True
    until(lambda: ticks.count == 2)
    # In the middle of an interval that a notice began: it is cut short.
    thread = committer._thread
    committer.notify()
    until(committer._bell._silence.locked)
    assert committer.request() is True
    until(lambda: ticks.count == 3)
    assert committer._thread is thread
    committer.stop(5)


def test_what_is_asked_for_while_a_tick_runs_shares_the_next_one() -> None:
    count, inside, go_on = [0], threading.Event(), threading.Semaphore(0)

    def tick() -> bool:
        count[0] += 1
        inside.set()
        assert go_on.acquire(timeout=10)
        return False

    committer = Committer(tick, 0.001)
    committer.request()
    assert inside.wait(10)
    threads = [threading.Thread(target=committer.request) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    committer.notify()
    go_on.release()
    until(lambda: count[0] == 2)
    go_on.release()
    # Were there another one, this would wait for it in vain.
    committer.stop(5)
    assert count[0] == 2


def test_every_request_is_followed_by_a_tick_that_begins_after_it() -> None:
    written, seen = [0], [0]

    def tick() -> bool:
        seen[0] = written[0]
        return False

    committer = Committer(tick, 60)
    for number in range(1, 300):
        written[0] = number
        assert committer.request()
        until(lambda: seen[0] == number)  # noqa: B023 - evaluated before the next turn
    committer.stop(5)


def test_a_request_says_when_no_thread_can_serve_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = _Ticks()
    committer = Committer(ticks, 0.001)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert committer.request() is False
        assert committer.request() is False
    assert committer.request() is True
    until(lambda: ticks.count == 1)
    # What is alive by name only, at the very end of the interpreter, serves nobody.
    monkeypatch.setattr(sys, "is_finalizing", lambda: True)
    assert committer.request() is False
    monkeypatch.undo()
    committer.stop(5)
    assert committer.request() is False


def test_a_request_inside_the_threads_own_start_says_that_none_can_serve_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler there would wait for a thread that starts when the handler returns."""
    committer = Committer(_Ticks(), 0.001)
    start, found = threading.Thread.start, []

    def interrupted(self: threading.Thread) -> None:
        found.append(committer.request())
        start(self)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    assert committer.request() is True
    assert found == [False]
    committer.stop(5)


def test_it_knows_its_own_thread() -> None:
    found: list[bool] = []

    def tick() -> bool:
        found.append(committer.runs_here)
        return False

    committer = Committer(tick, 0.001)
    assert committer.runs_here is False
    committer.request()
    until(lambda: found == [True])
    assert committer.runs_here is False
    committer.stop(5)
