# SPDX-License-Identifier: Apache-2.0
"""The journal's share of the disk: counted, measured, warned of, refused, made room for."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from written_segments import Made, ledger, segment

from opentelemetry.instrumentation.mcp_audit.journal import bounds as bounds_module
from opentelemetry.instrumentation.mcp_audit.journal.acknowledged import acknowledge
from opentelemetry.instrumentation.mcp_audit.journal.bounds import Bounds, JournalFull, used_bytes
from opentelemetry.instrumentation.mcp_audit.journal.disk import REAL_DISK, RealDisk
from opentelemetry.instrumentation.mcp_audit.journal.reserve import RESERVE_BYTES

MIB = 1024 * 1024
DAY = 86_400 * 10**9
NOW = time.time_ns()


def bounds(
    directory: Path,
    max_bytes: int = MIB,
    on_full: str = "stop",
    min_age_seconds: float = 0.0,
    say: Callable[[str], None] | None = None,
    disk: Any = REAL_DISK,
) -> Bounds:
    return Bounds(
        directory, disk, ledger(directory, disk), max_bytes, on_full, min_age_seconds, say or (lambda sentence: None)
    )


def fill(directory: Path, size: int, name: str = "filler") -> Path:
    path = directory / name
    with path.open("wb") as file:
        file.truncate(size)
    return path


def test_what_counts_is_every_regular_file_but_the_reserve(tmp_path: Path) -> None:
    fill(tmp_path, 1000, "a.jsonl")
    fill(tmp_path, 200, "x.calls")
    fill(tmp_path, RESERVE_BYTES, "reserve")
    for side in ("quarantine", "status", "another service"):
        (tmp_path / side).mkdir()
        fill(tmp_path / side, 30, "inside")
    (tmp_path / "link").symlink_to("/proc/kcore")
    os.mkfifo(tmp_path / "fifo")
    assert used_bytes(tmp_path) == 1000 + 200 + 30 + 30
    with pytest.raises(FileNotFoundError):
        used_bytes(tmp_path / "none")


def test_records_are_refused_from_the_limit_less_the_reserve(tmp_path: Path) -> None:
    fill(tmp_path, 500_000)
    one = bounds(tmp_path)
    one.measure()
    assert (one.used, one.max_bytes, one.full) == (500_000, MIB, False)
    room = MIB - RESERVE_BYTES - 500_000
    one.check(room)
    one.wrote(room - 100)
    one.check(100)
    assert not one.full
    with pytest.raises(
        JournalFull, match=rf"^it holds {500_000 + room - 100} bytes, and no more than {MIB} are allowed"
    ):
        one.check(101)
    assert one.full
    with pytest.raises(JournalFull):
        one.check(1)  # what is small does not slip through: a gap record would stand before each


def test_check_and_wrote_touch_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = bounds(tmp_path)
    one.measure()
    with monkeypatch.context() as patch:
        for name in ("open", "stat", "scandir", "fstat"):
            patch.setattr(os, name, None)
        one.check(10)
        one.wrote(10)
        one.failed(OSError(errno.ENOSPC, "No space left on device"))
        with pytest.raises(JournalFull):
            one.check(MIB)


def test_a_refusal_ends_when_a_measure_finds_room_again(tmp_path: Path) -> None:
    filler = fill(tmp_path, 900_000)
    one = bounds(tmp_path)
    one.measure()
    assert one.full
    limit = MIB - RESERVE_BYTES
    os.truncate(filler, limit - 1000)
    one.measure()
    assert one.full, "at the very edge it would be full again with the next record"
    os.truncate(filler, int(limit * 0.95) - 1)
    one.measure()
    assert not one.full
    one.check(1000)


def test_one_record_that_was_too_big_stops_the_others_for_one_tick_only(tmp_path: Path) -> None:
    one = bounds(tmp_path)
    one.measure()
    with pytest.raises(JournalFull):
        one.check(MIB)
    one.tick()
    assert not one.full


def test_what_is_written_while_it_measures_is_never_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, 1000)
    one = bounds(tmp_path)

    def meanwhile(directory: Path) -> int:
        one.wrote(50)
        return used_bytes(directory)

    monkeypatch.setattr(bounds_module, "used_bytes", meanwhile)
    one.measure()
    assert one.used == 1050


@given(st.lists(st.one_of(st.integers(0, 5000), st.none()), max_size=30))
def test_used_is_never_less_than_what_stands_there(tmp_path_factory: pytest.TempPathFactory, steps: list[Any]) -> None:
    directory = tmp_path_factory.mktemp("used")
    one, total = bounds(directory), 0
    for step in steps:
        if step is None:
            one.measure()
        else:
            total += step
            fill(directory, total)
            one.wrote(step)
        assert one.used == total


def test_measures_are_every_ten_seconds_while_something_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, measured = [1000.0], []
    monkeypatch.setattr(bounds_module.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(bounds_module, "used_bytes", lambda directory: measured.append(clock[0]) or 0)
    one = bounds(tmp_path, 4096 * MIB)
    one.measure()
    for second in range(1, 41):
        clock[0] = 1000.0 + second
        if second <= 25:
            one.wrote(10)
        one.tick()
    assert measured == [1000.0, 1010.0, 1020.0, 1030.0], "the last is for what was written after the one before"
    one.wrote((4096 * MIB - RESERVE_BYTES) // 16)
    one.tick()
    assert measured[-1] == 1040.0, "much was written: others may have written as much"
    one.wrote(4096 * MIB // 16)
    clock[0] += 0.5
    one.tick()
    assert measured[-1] == 1040.0, "but not with every tick"


def test_a_refusal_is_looked_at_every_ten_seconds_though_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, measured = [1000.0], []
    monkeypatch.setattr(bounds_module.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(bounds_module, "used_bytes", lambda directory: measured.append(clock[0]) or 2 * MIB)
    one = bounds(tmp_path)
    for second in range(0, 31):
        clock[0] = 1000.0 + second
        one.tick()
        with pytest.raises(JournalFull):
            one.check(2 * MIB)
    assert measured == [1000.0, 1010.0, 1020.0, 1030.0]


def test_warnings_are_one_an_episode(tmp_path: Path) -> None:
    said: list[str] = []
    filler = fill(tmp_path, 0)
    one = bounds(tmp_path, say=said.append)
    for share in (0.5, 0.79, 0.81, 0.79, 0.85, 0.76, 0.95, 0.74, 0.74, 0.81):
        os.truncate(filler, int(MIB * share))
        one.measure()
    assert [sentence.split(" holds ")[1].split("; ")[0].split(": ")[0] for sentence in said] == [
        f"{int(MIB * 0.81)} of at most {MIB} bytes (OTEL_MCP_AUDIT_MAX_BYTES)",
        f"{int(MIB * 0.74)} of at most {MIB} bytes",
        f"{int(MIB * 0.81)} of at most {MIB} bytes (OTEL_MCP_AUDIT_MAX_BYTES)",
    ]
    assert said[0].endswith("; when they are used up, audit records are lost")
    assert said[1].endswith(": enough room again")


def test_the_warning_says_what_will_happen(tmp_path: Path) -> None:
    fill(tmp_path, 900_000)
    said: list[str] = []
    bounds(tmp_path, on_full="drop_acknowledged", say=said.append).measure()
    assert "nothing in it is acknowledged" in said[-1] and "otel-mcp-audit ack" in said[-1]
    acknowledge(tmp_path, REAL_DISK, NOW)
    bounds(tmp_path, on_full="drop_acknowledged", say=said.append).measure()
    assert said[-1].endswith("when they are used up, its oldest acknowledged segments are deleted")


def old(directory: Path, count: int) -> list[Made]:
    """Segments of about 100 KB, oldest first."""
    book = ledger(directory)
    return [
        segment(directory, NOW - (20 - i) * DAY, NOW - (20 - i) * DAY + 1, records=20, size=4000, said_by=book)
        for i in range(count)
    ]


def test_near_the_limit_acknowledged_segments_go_oldest_first(tmp_path: Path) -> None:
    said: list[str] = []
    made = old(tmp_path, 9)
    limit = MIB - RESERVE_BYTES
    assert used_bytes(tmp_path) > limit
    acknowledge(tmp_path, REAL_DISK, NOW)
    one = bounds(tmp_path, on_full="drop_acknowledged", say=said.append)
    one.measure()
    assert not one.full and limit * 0.55 < one.used <= limit * 0.7 + 1000
    gone = [not one.path.exists() for one in made]
    assert gone == sorted(gone, reverse=True) and 0 < sum(gone) < 9
    assert len(said) == 1
    assert said[0].endswith(
        f"is full: {sum(made[i].size for i in range(sum(gone)))} bytes of acknowledged segments were deleted"
    )
    one.check(1000)


def test_it_is_pruned_before_a_record_is_refused(tmp_path: Path) -> None:
    made = old(tmp_path, 1)[0]
    filler = fill(tmp_path, 0)
    acknowledge(tmp_path, REAL_DISK, NOW)
    for max_bytes, before in ((MIB, 192 * 1024), (16 * MIB, 2 * MIB), (4096 * MIB, 205 * MIB)):
        limit = max_bytes - RESERVE_BYTES
        one = bounds(tmp_path, max_bytes, on_full="drop_acknowledged")
        os.truncate(filler, limit - before - made.size - 5000)
        one.measure()
        assert made.path.exists(), max_bytes
    os.truncate(filler, limit - 204 * MIB)
    one.measure()
    assert not made.path.exists() and not one.full


@pytest.mark.parametrize("why", ["stop", "nothing acknowledged", "too young", "may not now"])
def test_when_none_may_go_records_are_refused(tmp_path: Path, why: str) -> None:
    made = old(tmp_path, 9)
    if why != "nothing acknowledged":
        acknowledge(tmp_path, REAL_DISK, NOW)
    one = bounds(
        tmp_path,
        on_full="stop" if why == "stop" else "drop_acknowledged",
        min_age_seconds=30 * 86_400 if why == "too young" else 0,
    )
    one.measure(may_prune=why != "may not now")
    assert one.full and all(item.path.exists() for item in made)
    with pytest.raises(JournalFull):
        one.check(1)


def test_an_acknowledgement_that_comes_later_ends_the_refusal(tmp_path: Path) -> None:
    old(tmp_path, 9)
    one = bounds(tmp_path, on_full="drop_acknowledged")
    one.measure()
    assert one.full
    acknowledge(tmp_path, REAL_DISK, NOW)
    one.measure()
    assert not one.full


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_without_room_is_pruned_below_the_limit_too(tmp_path: Path, code: int) -> None:
    made = old(tmp_path, 5)
    acknowledge(tmp_path, REAL_DISK, NOW)
    one = bounds(tmp_path, 1024 * MIB, on_full="drop_acknowledged")
    one.measure()
    assert all(item.path.exists() for item in made)
    one.failed(OSError(code, os.strerror(code)))
    one.tick()
    # A tenth of them (50 KB) and room for the reserve (256 KiB), in whole segments.
    assert [item.path.exists() for item in made] == [False, False, False, True, True]
    assert not one.full, "the limit is not reached: whether there is room now, the next write tells"


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), OSError("short"), ValueError("x")])
def test_another_failure_deletes_nothing(tmp_path: Path, error: Exception) -> None:
    made = old(tmp_path, 2)
    acknowledge(tmp_path, REAL_DISK, NOW)
    one = bounds(tmp_path, 1024 * MIB, on_full="drop_acknowledged")
    one.failed(error)
    one.tick()
    assert all(item.path.exists() for item in made)


def test_a_measure_makes_the_reserve_and_one_after_a_failed_write_does_not(tmp_path: Path) -> None:
    one = bounds(tmp_path)
    one.failed(OSError(errno.ENOSPC, "No space left on device"))
    one.measure()
    assert not (tmp_path / "reserve").exists()
    one.measure()
    assert (tmp_path / "reserve").stat().st_size == RESERVE_BYTES


@pytest.mark.parametrize("operation", ["unlink", "write", "sync", "sync_directory", "lock", "open", "create"])
@pytest.mark.parametrize("code", [errno.EROFS, errno.EIO, errno.EACCES])
def test_measure_never_raises_and_says_it_once(tmp_path: Path, operation: str, code: int) -> None:
    old(tmp_path, 9)
    acknowledge(tmp_path, REAL_DISK, NOW)
    said: list[str] = []

    def fail(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    disk = RealDisk()
    setattr(disk, operation, fail)
    one = bounds(tmp_path, on_full="drop_acknowledged", say=said.append, disk=disk)
    for _ in range(3):
        one.measure()
    assert len([sentence for sentence in said if "cannot be measured or pruned" in sentence]) <= 1
    if operation in ("unlink", "write", "sync", "sync_directory"):
        assert os.strerror(code) in said[0]
    with pytest.raises(JournalFull):
        one.check(MIB)


def test_a_directory_that_is_gone_is_said_once_and_holds_up_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    one = bounds(tmp_path / "none", say=said.append)
    one.measure()
    one.measure()
    assert len(said) == 1 and "cannot be measured" in said[0]
    one.check(1000)


def test_a_child_has_its_own_lock(tmp_path: Path) -> None:
    one = bounds(tmp_path)
    one._measuring.acquire()
    one.measure()
    assert one.used == 0
    one.after_fork_in_child()
    fill(tmp_path, 700)
    one.measure()
    assert one.used == 700


def test_ten_thousand_segments_are_measured_in_a_moment(tmp_path: Path) -> None:
    for index in range(10_000):
        (tmp_path / f"20261124T000000Z-1-{index:08x}-0000-4000-8000-000000000000.jsonl").touch()
    best = min(_seconds(lambda: bounds(tmp_path).measure()) for _ in range(3))
    assert best < 0.5


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
