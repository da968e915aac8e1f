# SPDX-License-Identifier: Apache-2.0
"""Who is woken by which commit, once each; and what is said of records that were synced, failed, or are another's."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentelemetry.instrumentation.mcp_audit.journal import waiting
from opentelemetry.instrumentation.mcp_audit.journal.waiting import (
    FORGOTTEN,
    FORK,
    NOT_COMMITTED,
    REENTERED,
    Commits,
    Outcome,
    run_here,
)


def commits(
    request: Callable[[], bool] = lambda: True,
    sync_now: Callable[[], object] = lambda: None,
    held: Callable[[], bool] = lambda: False,
) -> Commits:
    return Commits(request, sync_now, held)


class Woken:
    """Counts wake-ups by name."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str) -> Callable[[], None]:
        return lambda: self.names.append(name)


class Loop:
    """Takes posted work and runs it when told, as an event loop does."""

    def __init__(self) -> None:
        self.posted: list[tuple[Any, ...]] = []

    def post(self, function: Callable[..., object], *arguments: Any) -> None:
        self.posted.append((function, *arguments))

    def turn(self) -> int:
        """How much was posted."""
        posted, self.posted = self.posted, []
        for function, *arguments in posted:
            function(*arguments)
        return len(posted)


def test_nothing_is_known_before_a_sync() -> None:
    made = commits()
    assert made.outcome("a", 1) is None
    assert made.wanted is False


def test_numbers_up_to_the_last_sync_are_on_the_disk_each_stream_by_itself() -> None:
    made = commits()
    made.advanced("a", 3)
    made.advanced("b", 1)
    assert [made.outcome("a", number) for number in (1, 3, 4)] == [True, True, None]
    assert [made.outcome("b", number) for number in (1, 2)] == [True, None]


def test_a_sync_that_is_told_late_takes_nothing_back() -> None:
    made = commits()
    made.advanced("a", 9)
    made.advanced("a", 4)
    assert made.outcome("a", 9) is True


def test_a_failed_sync_fails_exactly_the_numbers_after_the_last_synced_one_for_good() -> None:
    made = commits()
    made.advanced("a", 3)
    made.failed("a", 3, "fsync: No space left")
    assert [made.outcome("a", number) for number in (3, 4, 5)] == [True, "fsync: No space left", "fsync: No space left"]
    # The system may have called the lost pages clean; a sync that succeeds after that proves nothing.
    made.advanced("a", 5)
    assert [made.outcome("a", number) for number in (3, 4, 5)] == [True, "fsync: No space left", "fsync: No space left"]


def test_a_failure_without_a_number_is_after_what_is_known_to_be_synced() -> None:
    made = commits()
    made.advanced("a", 2)
    made.failed("a", None, "the journal was closed")
    made.failed("b", None, "the journal was closed")
    assert [made.outcome("a", number) for number in (2, 3)] == [True, "the journal was closed"]
    assert made.outcome("b", 1) == "the journal was closed"


def test_a_failure_of_all_takes_back_what_was_synced() -> None:
    """A file that somebody deleted is not on the disk, whatever its syncs said."""
    made = commits()
    made.advanced("a", 3)
    made.failed("a", 2, "fsync")
    made.failed("a", 0, "deleted")
    made.failed("a", None, "closed")
    assert [made.outcome("a", number) for number in (1, 3)] == ["fsync", "fsync"]


def test_only_those_that_a_commit_covers_are_woken() -> None:
    made, woken = commits(), Woken()
    for number in (1, 2, 3):
        assert made.subscribe("a", number, run_here, woken(f"a{number}")) is not None
    made.subscribe("b", 1, run_here, woken("b1"))
    made.advanced("a", 2)
    assert woken.names == ["a1", "a2"]
    made.failed("a", 2, "fsync")
    assert woken.names == ["a1", "a2", "a3"]
    assert made.wanted is True
    made.advanced("b", 1)
    assert woken.names == ["a1", "a2", "a3", "b1"]
    assert made.wanted is False


def test_what_is_known_already_is_not_waited_for() -> None:
    made, woken = commits(), Woken()
    made.advanced("a", 1)
    made.failed("a", 1, "fsync")
    assert made.subscribe("a", 1, run_here, woken("x")) is None
    assert made.subscribe("a", 2, run_here, woken("x")) is None
    assert (made.wanted, woken.names) == (False, [])


def test_a_cancelled_wait_is_not_woken_and_wanted_no_more() -> None:
    made, woken = commits(), Woken()
    waiter = made.subscribe("a", 1, run_here, woken("a1"))
    assert waiter is not None and made.wanted
    made.cancel(waiter)
    made.cancel(waiter)
    made.advanced("a", 1)
    assert (made.wanted, woken.names) == (False, [])


def test_a_loop_is_called_once_a_commit() -> None:
    made, woken, one, other = commits(), Woken(), Loop(), Loop()
    for number in range(1, 33):
        made.subscribe("a", number, one.post, woken(f"{number}"))
        made.subscribe("a", number, other.post, woken(f"{number}"))
    made.advanced("a", 30)
    assert (len(one.posted), len(other.posted)) == (1, 1)
    assert woken.names == []
    one.turn()
    assert woken.names == [f"{number}" for number in range(1, 31)]
    made.advanced("a", 32)
    assert (one.turn(), other.turn()) == (1, 2)
    assert Counter(woken.names) == {f"{number}": 2 for number in range(1, 33)}


def test_a_closed_loop_keeps_nobody_else_waiting() -> None:
    made, woken = commits(), Woken()

    def closed(function: object, argument: object) -> None:
        raise RuntimeError("Event loop is closed")

    made.subscribe("a", 1, closed, woken("never"))
    made.subscribe("a", 1, run_here, woken("a1"))
    made.advanced("a", 1)
    assert (woken.names, made.wanted) == (["a1"], False)


def test_streams_are_remembered_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_STREAMS", 3)
    made = commits()
    for name in "abcd":
        made.advanced(name, 1)
        made.failed(name, 1, "fsync")
    assert [made.outcome(name, 1) for name in "abcd"] == [FORGOTTEN, True, True, True]
    assert made.outcome("a", 2) == FORGOTTEN
    assert (list(made._synced), list(made._failed)) == (list("bcd"), list("bcd"))


def test_after_a_fork_nothing_of_before_is_answered_for() -> None:
    made, woken, loop = commits(), Woken(), Loop()
    made.advanced("a", 1)
    made.subscribe("a", 2, run_here, woken("thread"))
    made.subscribe("a", 2, loop.post, woken("loop"))
    made.forked()
    assert [made.outcome("a", number) for number in (1, 2)] == [FORK, FORK]
    made.failed("a", None, "closed")
    assert (woken.names, loop.posted, made.wanted) == (["thread"], [], False)


def test_asking_has_another_thread_commit() -> None:
    asked: list[str] = []
    made = commits(lambda: asked.append("request") is None, lambda: asked.append("sync"))
    assert made.ask() is None
    assert asked == ["request"]


def test_where_no_thread_can_the_asking_one_commits() -> None:
    asked: list[str] = []
    made = commits(lambda: False, lambda: asked.append("sync"))
    assert made.ask() == NOT_COMMITTED
    assert asked == ["sync"]

    def fail() -> None:
        raise OSError("a disk that is gone")

    assert commits(lambda: False, fail).ask() == ("no thread could be started, and here: OSError: a disk that is gone")


def test_asking_inside_what_it_would_wait_for_is_refused() -> None:
    def never() -> bool:
        raise AssertionError("asked all the same")

    assert commits(never, never, lambda: True).ask() == REENTERED
    made = commits(never, never)
    assert made._lock.hold(0, made.ask) == REENTERED


def test_a_loop_asks_once_a_turn_after_all_that_is_ready() -> None:
    asked: list[None] = []
    made, loop = commits(lambda: asked.append(None) is None), Loop()
    for turn in (1, 2):
        for _ in range(32):
            made.ask_soon(loop.post)
        assert len(asked) == turn - 1
        assert loop.turn() == 1
        assert len(asked) == turn


def test_a_loop_whose_question_was_in_vain_is_told_why() -> None:
    made, woken, loop, other = commits(lambda: False), Woken(), Loop(), Loop()
    mine = made.subscribe("a", 1, loop.post, woken("mine"))
    theirs = made.subscribe("a", 1, other.post, woken("theirs"))
    assert mine is not None and theirs is not None
    made.ask_soon(loop.post)
    loop.turn()
    assert (mine.refused, theirs.refused) == (NOT_COMMITTED, None)
    assert (woken.names, made.wanted) == (["mine"], True)


class _Interrupted(Commits):
    """Tells news in the middle of taking in others, as a finaliser or signal handler that appends may."""

    interrupt: Callable[[], None] | None = None

    def outcome(self, stream_id: str, number: int) -> Outcome:
        interrupt, self.interrupt = self.interrupt, None
        if interrupt is not None:
            interrupt()
        return super().outcome(stream_id, number)


def test_news_in_the_middle_of_news_are_not_lost() -> None:
    made, woken = _Interrupted(lambda: True, lambda: None, lambda: False), Woken()
    made.subscribe("b", 1, run_here, woken("b1"))
    made.subscribe("a", 1, run_here, woken("a1"))
    seen: list[bool] = []

    def interrupt() -> None:
        made.advanced("b", 1)
        seen.append(made._lock.owned)

    made.interrupt = interrupt
    made.advanced("a", 1)
    assert seen == [True]
    assert sorted(woken.names) == ["a1", "b1"]


def test_news_while_another_thread_takes_in_are_left_to_it() -> None:
    made, woken = _Interrupted(lambda: True, lambda: None, lambda: False), Woken()
    made.subscribe("a", 1, run_here, woken("a1"))
    made.subscribe("b", 1, run_here, woken("b1"))

    def interrupt() -> None:
        thread = threading.Thread(target=made.advanced, args=("b", 1))
        thread.start()
        thread.join(10)
        assert not thread.is_alive(), "it waited for a lock"

    made.interrupt = interrupt
    made.advanced("a", 1)
    assert sorted(woken.names) == ["a1", "b1"]


_NAMES = st.sampled_from("ab")
_NUMBERS = st.integers(1, 6)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), _NAMES, _NUMBERS),
        st.tuples(st.just("advanced"), _NAMES, _NUMBERS),
        st.tuples(st.just("failed"), _NAMES, st.integers(0, 6)),
        st.tuples(st.just("cancel"), st.integers(0, 20), st.just(0)),
    ),
    max_size=40,
)


@given(_STEPS)
def test_everybody_is_woken_once_and_at_the_first_news_that_settles_it(steps: list[tuple[str, Any, int]]) -> None:
    """Against a model without memory: a record is settled by what was said of its stream, in whatever order."""
    made = commits()
    said: list[tuple[str, str, int]] = []
    waits: list[tuple[str, int, list[int], waiting.Waiter | None]] = []

    def settled(stream: str, number: int) -> bool:
        return any(name == stream and (number <= at if kind == "advanced" else number > at) for kind, name, at in said)

    cancelled: set[int] = set()
    due: dict[int, int] = {}
    for turn, (kind, what, number) in enumerate(steps):
        if kind == "wait":
            woken: list[int] = []
            waiter = made.subscribe(what, number, run_here, lambda woken=woken: woken.append(1))  # type: ignore[misc]
            assert (waiter is None) == settled(what, number)
            waits.append((what, number, woken, waiter))
        elif kind == "cancel":
            waiter = waits[what][3] if what < len(waits) else None
            if waiter is not None and what not in due:
                made.cancel(waiter)
                cancelled.add(what)
        else:
            said.append((kind, what, number))
            getattr(made, kind)(*((what, number) if kind == "advanced" else (what, number, "fsync")))
        for index, (stream, at, woken, waiter) in enumerate(waits):
            if waiter is not None and index not in cancelled and settled(stream, at):
                due.setdefault(index, turn)
            assert len(woken) == (1 if index in due else 0)
    assert made.wanted == any(w[3] is not None and i not in due and i not in cancelled for i, w in enumerate(waits))


def test_many_threads_at_once_each_wake_up_comes_and_comes_once() -> None:
    made = commits()
    count, threads = 400, 8
    woken: list[int] = []
    now: list[int] = []
    done = threading.Event()

    def subscribe(first: int) -> None:
        for number in range(first, count + 1, threads):
            if made.subscribe("a", number, run_here, lambda number=number: woken.append(number)) is None:  # type: ignore[misc]
                now.append(number)

    def advance() -> None:
        for number in range(count + 1):
            made.advanced("a", number)
        done.wait(30)
        made.advanced("a", count)

    advancing = [threading.Thread(target=advance) for _ in range(2)]
    subscribing = [threading.Thread(target=subscribe, args=(first,)) for first in range(1, threads + 1)]
    for thread in (*advancing, *subscribing):
        thread.start()
    for thread in subscribing:
        thread.join(30)
    done.set()
    for thread in advancing:
        thread.join(30)
    assert sorted(woken + now) == list(range(1, count + 1))
    assert made.wanted is False
