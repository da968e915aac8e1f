# SPDX-License-Identifier: Apache-2.0
"""The append lock: signals never leave it taken, and a finaliser on the owner's thread never waits for it."""

from __future__ import annotations

import gc
import random
import signal
import threading
import time
from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any

import pytest
from journals import journal, kinds, read, record, segments

from opentelemetry.instrumentation.mcp_audit.journal import stream
from opentelemetry.instrumentation.mcp_audit.journal.journal import Journal
from opentelemetry.instrumentation.mcp_audit.journal.lock import Busy, OwnedLock, Reentered
from opentelemetry.instrumentation.mcp_audit.journal.ticket import Deferred, JournalError


def test_it_gives_back_what_the_work_gives_and_is_free_again() -> None:
    lock = OwnedLock()
    assert lock.hold(1, lambda: lock.owned) is True
    assert lock.owned is False


def test_it_is_free_again_after_an_error() -> None:
    lock = OwnedLock()
    with pytest.raises(ZeroDivisionError):
        lock.hold(1, lambda: 1 // 0)
    assert lock.owned is False
    assert lock.hold(0, lambda: "done") == "done"


def test_the_same_thread_is_told_at_once_and_the_hold_goes_on() -> None:
    lock = OwnedLock()

    def work() -> bool:
        with pytest.raises(Reentered):
            lock.hold(60, lambda: None)
        return lock.owned

    assert lock.hold(1, work) is True
    assert lock.owned is False


def test_another_thread_waits_as_long_as_it_says() -> None:
    lock = OwnedLock()
    seen: list[str] = []

    def other() -> None:
        try:
            lock.hold(0.01, lambda: seen.append("held"))
        except Busy:
            seen.append("busy")

    def work() -> None:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    lock.hold(1, work)
    assert seen == ["busy"]


def test_a_signal_handler_that_raises_anywhere_leaves_the_lock_free(tmp_path: Path) -> None:
    trail = journal(tmp_path, fsync="never", fsync_interval=60)
    trail.append(record("one"))
    chance = random.Random(1)
    interrupts = 0

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(400):
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.00005, 0.0006))
                while True:
                    trail.append(record("more"))
            except KeyboardInterrupt:
                interrupts += 1
            assert trail._lock.owned is False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupts == 400
    trail.close()
    assert kinds(read(segments(tmp_path)[-1]))[-1] == "closed"


class _Forever:
    def __await__(self) -> Generator[int, None, None]:
        yield 1


class _Cycle:
    """Only a collection ends it."""

    def __init__(self, call: Coroutine[Any, Any, None]) -> None:
        self.me = self
        self.call = call


async def _audited(trail: Journal, name: str, seen: list[Exception]) -> None:
    try:
        await _Forever()
    finally:
        try:
            trail.append(record(name))
        except JournalError as error:
            seen.append(error)


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_finaliser_appends_inside_an_append_is_written_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    trail = journal(tmp_path, fsync_interval=60)
    trail.append(record("one"))
    seen: list[Exception] = []
    call = _audited(trail, "finalised", seen)
    call.send(None)
    _Cycle(call)
    del call
    real = stream.seal

    def seal(*arguments: Any) -> Any:
        # What the allocator does by itself at its threshold.
        gc.collect()
        if fails:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    began = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(stream, "seal", seal)
        if fails:
            with pytest.raises(JournalError):
                trail.append(record("two"))
        else:
            trail.append(record("two"))
    assert time.monotonic() - began < 4, "nothing waited for the lock's 5 seconds"
    assert [type(error) for error in seen] == [Deferred]
    trail.close()
    expected = ["gap 2"] if fails else ["two", "finalised"]
    assert kinds(read(segments(tmp_path)[0])) == ["opened", "one", *expected, "closed"]
    assert trail.counters.lost == (2 if fails else 0)


def test_what_is_left_when_the_append_is_interrupted_is_written_at_the_next_tick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail = journal(tmp_path, fsync_interval=60)
    trail.append(record("one"))

    nested: list[bool] = []

    def interrupted(*_: Any) -> Any:
        if not nested:
            nested.append(True)
            with pytest.raises(Deferred):
                trail.append(record("nested"))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stream, "seal", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trail.append(record("interrupted"))
    assert trail._upkeep.tick() is False
    trail.close()
    assert kinds(read(segments(tmp_path)[0])) == ["opened", "one", "nested", "closed"]


def test_closing_inside_an_append_of_the_same_thread_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    trail = journal(tmp_path, said.append, fsync_interval=60)
    trail.append(record("one"))
    trail._lock.hold(1, trail.close)
    assert said == [
        "the journal was busy at exit; its last segment has no end record, and whoever starts next adopts it"
    ]
    trail.close()
