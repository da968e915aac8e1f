# SPDX-License-Identifier: Apache-2.0
"""Pruning: what may go, in which order, and what never goes."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from written_segments import Made, ledger, segment

from opentelemetry.instrumentation.mcp_audit.journal.disk import RealDisk
from opentelemetry.instrumentation.mcp_audit.journal.ledger import Entry
from opentelemetry.instrumentation.mcp_audit.journal.prune import Pruner
from opentelemetry.instrumentation.mcp_audit.journal.reserve import RESERVE_BYTES, Reserve
from opentelemetry.instrumentation.mcp_audit.journal.slots import Header, header_slot

DAY = 86_400 * 10**9
NOW = time.time_ns()
HELPERS = str(Path(__file__).parents[1] / "helpers")
EVERYTHING = 1 << 40


class Watched(RealDisk):
    """The real disk, with the order of its steps, and a step that may fail."""

    def __init__(self, *failing: str, error: OSError | None = None, times: int = 1 << 30) -> None:
        self.steps: list[str] = []
        self.failing = failing
        self.error = error or OSError(28, "No space left on device")
        self.times = times

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if name in self.failing and self.times > 0:
            self.times -= 1
            raise self.error

    def write(self, descriptor: int, data: bytes) -> int:
        self._step("write")
        return super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        self._step("sync")
        super().sync(descriptor)

    def sync_directory(self, path: Path) -> None:
        self._step("sync_directory")
        super().sync_directory(path)

    def unlink(self, path: Path) -> None:
        self._step("unlink")
        super().unlink(path)


def pruner(directory: Path, disk: Any = None, min_age_seconds: float = 0.0, said: list[str] | None = None) -> Pruner:
    disk = disk or RealDisk()
    say = (lambda sentence: None) if said is None else said.append
    return Pruner(directory, disk, ledger(directory, disk), Reserve(directory, disk), min_age_seconds, say)


def days(directory: Path, *ages: int, **options: Any) -> list[Made]:
    """Closed segments that ended that many days ago."""
    return [segment(directory, NOW - age * DAY - 3600 * 10**9, NOW - age * DAY, **options) for age in ages]


def entries(directory: Path, made: Made) -> list[Entry]:
    """What the ledger says of a segment, oldest first."""
    return [entry for entry in ledger(directory).backwards() if entry.stream_id == made.stream_id][::-1]


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def test_the_oldest_go_first_and_no_more_than_are_needed(tmp_path: Path) -> None:
    old = days(tmp_path, 9, 7, 8)
    before = open_descriptors()
    freed = pruner(tmp_path).prune(old[0].size + 1, NOW)
    assert freed == old[0].size + old[2].size
    assert [made.path.exists() for made in old] == [False, True, False]
    assert open_descriptors() == before
    until = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(NOW // 10**9))
    for made in (old[0], old[2]):
        kinds = [(entry.kind, entry.count, entry.head) for entry in entries(tmp_path, made)]
        assert kinds[1:] == [("closed", made.count, made.head), ("pruned", made.count, made.head)]
        reason = entries(tmp_path, made)[-1].reason
        assert reason is not None and reason.startswith(f"acknowledged until {until}.") and reason.endswith("Z")
    assert [entry.kind for entry in entries(tmp_path, old[1])] == ["opened", "closed"]


def test_the_ledger_is_told_and_synced_before_anything_is_deleted(tmp_path: Path) -> None:
    days(tmp_path, 9, 8)
    disk = Watched()
    pruner(tmp_path, disk).prune(EVERYTHING, NOW)
    assert disk.steps == ["sync", "write", "sync", "write", "sync", "unlink", "unlink", "sync_directory"]


def test_nothing_acknowledged_nothing_deleted(tmp_path: Path) -> None:
    (made,) = days(tmp_path, 9)
    assert pruner(tmp_path).prune(EVERYTHING, 0) == 0
    assert made.path.exists()


def test_only_what_ended_by_the_acknowledged_time_goes(tmp_path: Path) -> None:
    made = segment(tmp_path, NOW - 9 * DAY, NOW - 2 * DAY)
    one = pruner(tmp_path)
    assert one.prune(EVERYTHING, NOW - 9 * DAY - 10**9) == 0, "it began later"
    assert one.prune(EVERYTHING, NOW - 2 * DAY - 1) == 0, "it ended a nanosecond later"
    assert made.path.exists()
    assert one.prune(EVERYTHING, NOW - 2 * DAY) == made.size, "another acknowledgement is looked at at once"


def test_the_minimum_age_counts_from_the_last_record_and_from_the_last_touch(tmp_path: Path) -> None:
    young, touched, old = days(tmp_path, 2, 9, 8)
    os.utime(touched.path, ns=(NOW - 2 * DAY, NOW - 2 * DAY))
    os.utime(young.path, ns=(NOW - 9 * DAY, NOW - 9 * DAY))
    assert pruner(tmp_path, min_age_seconds=7 * 86_400).prune(EVERYTHING, NOW) == old.size
    assert [made.path.exists() for made in (young, touched, old)] == [True, True, False]


def test_a_clock_that_was_years_ahead_keeps_its_segments(tmp_path: Path) -> None:
    made = segment(tmp_path, NOW + 3000 * DAY, NOW + 3001 * DAY)
    assert pruner(tmp_path).prune(EVERYTHING, NOW + 5000 * DAY) == 0
    os.utime(made.path, ns=(NOW, NOW))
    assert pruner(tmp_path).prune(EVERYTHING, NOW + 5000 * DAY) == 0
    assert made.path.exists()


def test_a_living_segment_stays_whoever_writes_it(tmp_path: Path) -> None:
    (made,) = days(tmp_path, 9)
    one = pruner(tmp_path)
    descriptor = os.open(made.path, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert one.prune(EVERYTHING, NOW) == 0
    os.close(descriptor)
    assert one.prune(EVERYTHING, NOW) == made.size


@pytest.mark.parametrize(("fate", "goes"), [("adopted", True), ("opened", False), ("unknown", False)])
def test_what_nobody_closed(tmp_path: Path, fate: Any, goes: bool) -> None:
    (made,) = days(tmp_path, 9, fate=fate)
    assert pruner(tmp_path).prune(EVERYTHING, NOW) == (made.size if goes else 0)
    assert made.path.exists() is not goes


def test_a_sealed_segment_with_a_torn_tail_goes_too(tmp_path: Path) -> None:
    (made,) = days(tmp_path, 9, fate="adopted")
    with made.path.open("ab") as file:
        file.write(b'{"resourceLogs":[{"half')
    assert pruner(tmp_path).prune(EVERYTHING, NOW) > made.size
    assert not made.path.exists()


@pytest.mark.parametrize("what", ["cut", "garbage", "longer"])
def test_one_that_does_not_end_as_the_ledger_says_is_evidence(tmp_path: Path, what: str) -> None:
    said: list[str] = []
    odd, good = days(tmp_path, 9, 8)
    data = odd.path.read_bytes()
    lines = data.splitlines(keepends=True)
    changed = {"cut": b"".join(lines[:-1]), "garbage": data + b"garbage\n", "longer": data + lines[-2]}[what]
    odd.path.write_bytes(changed)
    one = pruner(tmp_path, said=said)
    assert one.prune(EVERYTHING, NOW) == good.size
    assert one.prune(EVERYTHING, NOW) == 0
    assert odd.path.read_bytes() == changed
    assert [entry.kind for entry in entries(tmp_path, odd)] == ["opened", "closed"]
    assert len(said) == (0 if what == "garbage" else 1)
    assert all(odd.path.name in sentence for sentence in said)


def test_a_copy_under_another_name_does_not_go(tmp_path: Path) -> None:
    (made,) = days(tmp_path, 9)
    copy = made.path.with_name(made.path.name.replace("-4711-", "-4712-"))
    shutil.copy(made.path, copy)
    assert pruner(tmp_path).prune(EVERYTHING, NOW) == made.size
    assert copy.exists() and not made.path.exists()


@pytest.mark.parametrize("kind", ["link", "dangling", "directory", "fifo", "newline", "hidden", "ledger"])
def test_what_is_no_segment_is_neither_followed_nor_deleted(tmp_path: Path, kind: str) -> None:
    directory = tmp_path / "journal"
    (good,) = days(directory, 8)
    (outside,) = days(tmp_path / "elsewhere", 9)
    name = outside.path.name
    target = directory / {"newline": f"{name[:-6]}\n.jsonl", "hidden": f".{name}"}.get(kind, name)
    if kind == "link":
        target.symlink_to(outside.path)
    elif kind == "dangling":
        target.symlink_to(tmp_path / "nowhere")
    elif kind == "directory":
        target.mkdir()
    elif kind == "fifo":
        os.mkfifo(target)
    elif kind == "ledger":
        target = directory / "ledger.jsonl"
    else:
        target.write_bytes(outside.path.read_bytes())
    assert pruner(directory).prune(EVERYTHING, NOW) == good.size
    assert os.path.lexists(target) and outside.path.exists()


def test_killed_between_the_ledger_and_the_unlink_the_next_one_only_deletes(tmp_path: Path) -> None:
    first, second = days(tmp_path, 9, 8)
    with pytest.raises(OSError, match="No space"):
        pruner(tmp_path, Watched("unlink")).prune(EVERYTHING, NOW)
    assert first.path.exists() and second.path.exists()
    assert pruner(tmp_path).prune(EVERYTHING, NOW) == first.size + second.size
    for made in (first, second):
        assert [entry.kind for entry in entries(tmp_path, made)] == ["opened", "closed", "pruned"]


def test_a_ledger_that_cannot_be_written_keeps_everything(tmp_path: Path) -> None:
    (made,) = days(tmp_path, 9)
    before = open_descriptors()
    with pytest.raises(OSError, match="No space"):
        pruner(tmp_path, Watched("write")).prune(EVERYTHING, NOW)
    assert made.path.exists() and open_descriptors() == before
    assert [entry.kind for entry in entries(tmp_path, made)] == ["opened", "closed"]


def test_the_reserve_makes_room_for_the_ledger(tmp_path: Path) -> None:
    (made,) = days(tmp_path, 9)
    assert Reserve(tmp_path, RealDisk()).restore()
    assert (tmp_path / "reserve").stat().st_size == RESERVE_BYTES
    assert pruner(tmp_path, Watched("write", times=1)).prune(EVERYTHING, NOW) == made.size
    assert (tmp_path / "reserve").stat().st_size == 0
    assert [entry.kind for entry in entries(tmp_path, made)] == ["opened", "closed", "pruned"]


def test_more_than_are_held_at_once(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    made = [
        segment(tmp_path, NOW - 9 * DAY + index * 10**9, NOW - 8 * DAY, records=0, said_by=book) for index in range(70)
    ]
    before = open_descriptors()
    assert pruner(tmp_path).prune(EVERYTHING, NOW) == sum(one.size for one in made)
    assert open_descriptors() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger.jsonl", "ledger.lock"]


def test_unfit_ones_in_front_do_not_keep_the_others(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    for index in range(70):
        segment(tmp_path, NOW - 9 * DAY + index * 10**9, NOW - 8 * DAY, records=0, fate="opened", said_by=book)
    (good,) = days(tmp_path, 3)
    assert pruner(tmp_path).prune(1, NOW) == good.size


def test_a_dead_process_that_is_not_adopted_keeps_its_segments(tmp_path: Path) -> None:
    dead, other = days(tmp_path, 9, pid=17) + days(tmp_path, 8, pid=18)
    marker = tmp_path / f"{dead.stream_id}.calls"
    marker.write_bytes(header_slot(Header("boot", "host", 17, "1", dead.stream_id)).ljust(2048, b"\0"))
    (tmp_path / "odd.calls").write_bytes(b"garbage")
    before = open_descriptors()
    assert pruner(tmp_path).prune(EVERYTHING, NOW) == other.size
    assert open_descriptors() == before
    descriptor = os.open(marker, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert pruner(tmp_path).prune(EVERYTHING, NOW) == dead.size, "a living process's calls are really open"
    os.close(descriptor)


_RACE = """
import sys, time
sys.path[:0] = [sys.argv[2]]
from pathlib import Path
from written_segments import ledger
from opentelemetry.instrumentation.mcp_audit.journal.disk import REAL_DISK
from opentelemetry.instrumentation.mcp_audit.journal.prune import Pruner
from opentelemetry.instrumentation.mcp_audit.journal.reserve import Reserve
directory = Path(sys.argv[1])
one = Pruner(directory, REAL_DISK, ledger(directory), Reserve(directory, REAL_DISK), 0.0, print)
sys.stdin.readline()
print(sum(one.prune(1, time.time_ns()) for _ in range(40)))
"""


def test_two_pruners_say_pruned_once(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    made = [
        segment(tmp_path, NOW - 9 * DAY + index * 10**9, NOW - 8 * DAY, records=0, said_by=book) for index in range(30)
    ]
    both = [
        subprocess.Popen(
            [sys.executable, "-c", _RACE, str(tmp_path), HELPERS],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    freed = [int(process.communicate(timeout=60)[0]) for process in both]
    assert sum(freed) == sum(one.size for one in made)
    said = [entry.stream_id for entry in ledger(tmp_path).backwards() if entry.kind == "pruned"]
    assert sorted(said) == sorted(one.stream_id for one in made)


def test_release_closes_what_a_fork_found_open(tmp_path: Path) -> None:
    (made,) = days(tmp_path, 9)
    one = pruner(tmp_path)
    before = open_descriptors()
    assert one._hold(made.path.name, NOW) is not None
    assert open_descriptors() == before + 1
    one.release()
    assert open_descriptors() == before


def test_without_locks_nothing_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (made,) = days(tmp_path, 9)
    monkeypatch.setattr("opentelemetry.instrumentation.mcp_audit.journal.platform.CAN_LOCK", False)
    assert pruner(tmp_path).prune(EVERYTHING, NOW) == 0
    assert made.path.exists()
