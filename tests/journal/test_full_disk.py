# SPDX-License-Identifier: Apache-2.0
"""A journal out of room: the disk, its inodes, a quota, a file-size limit, its own limit. Counts are exact, nothing is
torn, and the verification never cries wolf."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from journals import journal, kinds, read, record, until
from small_disk import small_disk
from written_segments import ledger

from opentelemetry.instrumentation.mcp_audit.integrity.verify import verify_paths
from opentelemetry.instrumentation.mcp_audit.journal.acknowledged import acknowledge
from opentelemetry.instrumentation.mcp_audit.journal.bounds import used_bytes
from opentelemetry.instrumentation.mcp_audit.journal.disk import REAL_DISK, RealDisk
from opentelemetry.instrumentation.mcp_audit.journal.journal import Journal
from opentelemetry.instrumentation.mcp_audit.journal.reserve import FOR_PRUNING, RESERVE_BYTES
from opentelemetry.instrumentation.mcp_audit.journal.ticket import JournalError
from opentelemetry.instrumentation.mcp_audit.record.encode import encode

HELPERS = str(Path(__file__).parents[1] / "helpers")
MIB = 1024 * 1024
LONG = 60.0


class Written:
    """What a test asked for: the names that were taken, and how many were refused."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.lost = 0

    def add(self, trail: Journal, name: str, times: int = 1, size: int = 300) -> int:
        """Append so many records; how many were taken."""
        before = len(self.kept)
        for index in range(times):
            try:
                trail.append(record(f"{name}{index}", size))
                self.kept.append(f"{name}{index}")
            except JournalError:
                self.lost += 1
        return len(self.kept) - before


def streams(directory: Path) -> list[Path]:
    """The segments that hold anything."""
    found = [path for path in directory.glob("2*.jsonl") if path.stat().st_size]
    return sorted(found, key=lambda path: path.stat().st_mtime_ns)


def names(directory: Path) -> list[str]:
    return [kind for path in streams(directory) for kind in kinds(read(path))]


def gaps(directory: Path) -> list[int]:
    return [int(name.split()[1]) for name in names(directory) if name.startswith("gap ")]


def ledger_kinds(directory: Path) -> list[str]:
    return [entry.kind for entry in ledger(directory).backwards()][::-1]


def sound(directory: Path, written: Written, trail: Journal) -> None:
    """Every record is there or counted, once, and the verification finds nothing but notes."""
    assert sorted(name for name in names(directory) if name[:3] in ("one", "two", "thr", "fou")) == sorted(written.kept)
    assert sum(gaps(directory)) == written.lost == trail.counters.lost
    report = verify_paths([directory])
    assert (report.exit_code(), report.first_violation()) == (0, None)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes a file system in memory with the given mount options."""
    with contextlib.ExitStack() as mounts:
        yield lambda options: mounts.enter_context(small_disk(tmp_path / "small", options))


def take_all_room(directory: Path) -> Path:
    filler = directory / "filler"
    with filler.open("ab", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))
    return filler


def test_a_disk_filled_and_freed(mounted: Callable[[str], Path]) -> None:
    directory, written, said = mounted("size=1m"), Written(), []
    trail = journal(directory, said.append, fsync_interval=LONG, adopts=False)
    trail.open()
    trail._upkeep.tick()  # the first measure makes the reserve
    assert (directory / "reserve").stat().st_size == RESERVE_BYTES
    assert written.add(trail, "one", 5) == 5
    filler = take_all_room(directory)
    assert written.add(trail, "two", 40, size=2000) < 40 and written.lost > 30
    assert trail.failing and len(said) == 1 and "No space left on device" in said[0] or "is the disk full?" in said[0]
    filler.unlink()
    assert written.add(trail, "three", 5) == 5
    assert not trail.failing and len(said) == 2
    trail.close()
    assert sum(gaps(directory)) == written.lost and len(gaps(directory)) <= 2, (
        "one, or one more in what was left of a page"
    )
    assert ledger_kinds(directory) == ["opened", "closed"]
    sound(directory, written, trail)


def test_a_disk_that_stays_full_until_the_end_still_has_the_last_words(mounted: Callable[[str], Path]) -> None:
    """The reserve is for them: no call's record may have taken it."""
    directory, written, said = mounted("size=1m"), Written(), []
    trail = journal(directory, said.append, fsync_interval=LONG, adopts=False)
    trail.open()
    trail._upkeep.tick()
    written.add(trail, "one", 5)
    take_all_room(directory)
    written.add(trail, "two", 200, size=2000)
    trail._upkeep.tick()
    written.add(trail, "three", 200, size=2000)
    assert written.lost > 380
    trail.close()
    assert (directory / "reserve").stat().st_size == 0
    (path,) = streams(directory)
    assert kinds(read(path))[-2:] == [f"gap {gaps(directory)[-1]}", "closed"]
    assert ledger_kinds(directory) == ["opened", "closed"]
    sound(directory, written, trail)
    assert not [sentence for sentence in said if "no gap record could be written" in sentence]


def test_a_disk_that_fills_while_nothing_is_lost_still_ends_well(mounted: Callable[[str], Path]) -> None:
    directory, written = mounted("size=1m"), Written()
    trail = journal(directory, fsync_interval=LONG, adopts=False)
    trail.open()
    trail._upkeep.tick()
    written.add(trail, "one", 5)
    # Up to the last byte of the segment's last page.
    current = trail.path
    assert current is not None
    take_all_room(directory)
    while 4096 - current.stat().st_size % 4096 > 1500:
        written.add(trail, "two", 1, size=1)
    trail.close()
    assert kinds(read(current))[-1] == "closed"
    assert ledger_kinds(directory) == ["opened", "closed"]
    sound(directory, written, trail)


def test_a_process_that_starts_on_a_full_disk(mounted: Callable[[str], Path]) -> None:
    directory, written, said = mounted("size=1m"), Written(), []
    filler = take_all_room(directory)
    trail = journal(directory, said.append, fsync_interval=LONG, adopts=False)
    trail.open()
    assert written.add(trail, "one", 7) == 0
    assert len([sentence for sentence in said if sentence.startswith("AUDIT RECORDS ARE BEING LOST")]) == 1
    assert streams(directory) == []
    filler.unlink()
    until(lambda: written.add(trail, "two", 1) == 1)
    trail.close()
    sound(directory, written, trail)


def test_without_inodes_the_segment_goes_on(mounted: Callable[[str], Path]) -> None:
    directory, written, said = mounted("size=8m,nr_inodes=40"), Written(), []
    trail = journal(directory, said.append, fsync_interval=LONG, segment_bytes=20_000, adopts=False)
    trail.open()
    trail._upkeep.tick()
    taken: list[Path] = []
    with pytest.raises(OSError, match="No space left"):
        while True:
            taken.append(directory / f"x{len(taken)}")
            taken[-1].touch()
    first = trail.path
    assert written.add(trail, "one", 30, size=2000) == 30, "a segment that cannot be followed is better than none"
    trail._upkeep.tick()
    assert trail.path == first and not trail.failing
    assert len(said) == 1 and "No space left on device" in said[0]
    for path in taken:
        path.unlink(missing_ok=True)
    trail._upkeep.tick()
    assert trail.path != first
    assert written.add(trail, "two", 3) == 3
    trail.close()
    assert len(said) == 2
    assert ledger_kinds(directory) == ["opened", "opened", "closed", "closed"]
    sound(directory, written, trail)


def test_a_process_that_starts_without_inodes(mounted: Callable[[str], Path]) -> None:
    directory, written = mounted("size=8m,nr_inodes=10"), Written()
    taken: list[Path] = []
    with pytest.raises(OSError, match="No space left"):
        while True:
            taken.append(directory / f"x{len(taken)}")
            taken[-1].touch()
    trail = journal(directory, fsync_interval=LONG, adopts=False)
    assert written.add(trail, "one", 4) == 0
    for path in taken:
        path.unlink(missing_ok=True)
    until(lambda: written.add(trail, "two", 1) == 1)
    trail.close()
    sound(directory, written, trail)


_LIMITED = """
import json, pathlib, resource, signal, sys
sys.path[:0] = [sys.argv[2]]
from journals import journal, record
from opentelemetry.instrumentation.mcp_audit.journal.ticket import JournalError
from opentelemetry.instrumentation.mcp_audit.record.encode import encode
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
said = []
trail = journal(pathlib.Path(sys.argv[1]), said.append, fsync_interval=60, adopts=False)
kept, lost = [], 0
def add(name, times):
    global lost
    for index in range(times):
        try:
            trail.append(record(f"{name}{index}", size=300))
            kept.append(f"{name}{index}")
        except JournalError:
            lost += 1
add("one", 5)
limit = trail.path.stat().st_size + 500
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
add("two", 20)
over = trail.path.stat().st_size > limit
trail._upkeep.tick()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
add("three", 5)
trail.close()
print(json.dumps({"kept": kept, "lost": lost, "counted": trail.counters.lost, "over": over, "said": said}))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
def test_a_file_size_limit_writes_short_and_then_not_at_all(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(tmp_path), HELPERS], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["lost"], found["counted"], found["over"]) == (20, 20, False)
    assert found["kept"] == [f"one{i}" for i in range(5)] + [f"three{i}" for i in range(5)]
    assert sum(gaps(tmp_path)) == 20
    assert [name for name in names(tmp_path) if name[:3] in ("one", "two", "thr")] == found["kept"]
    assert len([one for one in found["said"] if one.startswith("AUDIT RECORDS ARE BEING LOST")]) == 1
    report = verify_paths([tmp_path])
    assert (report.exit_code(), report.first_violation()) == (0, None)


def test_its_own_limit_stops_it_and_room_starts_it_again(tmp_path: Path) -> None:
    said: list[str] = []
    written = Written()
    (tmp_path / "filler").write_bytes(bytes(MIB // 2))
    trail = journal(
        tmp_path, said.append, fsync_interval=LONG, max_bytes=MIB, on_full="stop", segment_bytes=64 * 1024, adopts=False
    )
    trail.open()
    trail._upkeep.tick()
    written.add(trail, "one", 400, size=2000)
    assert written.lost > 100 and trail.failing
    assert used_bytes(tmp_path) < MIB - RESERVE_BYTES + 128 * 1024
    (loss,) = [sentence for sentence in said if sentence.startswith("AUDIT RECORDS ARE BEING LOST")]
    assert "OTEL_MCP_AUDIT_MAX_BYTES" in loss
    before = used_bytes(tmp_path)
    for _ in range(5):
        trail._upkeep.tick()
        assert written.add(trail, "two", 10) == 0
    assert used_bytes(tmp_path) < before + 16 * 1024, "no gap record for each call that is refused"
    assert len([sentence for sentence in said if sentence.startswith("AUDIT RECORDS ARE BEING LOST")]) == 1
    (tmp_path / "filler").unlink()
    trail._bounds.measure()
    assert written.add(trail, "three", 5) == 5
    trail.close()
    assert gaps(tmp_path) == [written.lost]
    sound(tmp_path, written, trail)


def test_a_refusal_that_lasts_to_the_end_is_counted_in_the_reserve(tmp_path: Path) -> None:
    written = Written()
    (tmp_path / "filler").write_bytes(bytes(MIB))
    trail = journal(tmp_path, fsync_interval=LONG, max_bytes=MIB, on_full="stop", adopts=False)
    trail.open()
    trail._upkeep.tick()
    assert written.add(trail, "one", 9) == 0
    trail.close()
    assert gaps(tmp_path) == [9]
    sound(tmp_path, written, trail)


def test_what_is_acknowledged_makes_room_and_nothing_is_lost(tmp_path: Path) -> None:
    written = Written()
    trail = journal(tmp_path, fsync_interval=LONG, max_bytes=MIB, min_age=0, segment_bytes=64 * 1024, adopts=False)
    trail.open()

    def room_is_made() -> bool:
        acknowledge(tmp_path, REAL_DISK, time.time_ns())
        trail._upkeep.tick()
        trail._bounds.measure()
        return trail._bounds.used < MIB - RESERVE_BYTES - 100 * 1024

    for index in range(1500):
        written.add(trail, f"one{index}.", 1, size=1000)
        if index % 20 == 0:
            until(room_is_made)
    assert written.lost == 0 and used_bytes(tmp_path) < MIB
    trail.close()
    said = ledger_kinds(tmp_path)
    assert said.count("pruned") > 10
    assert said.count("opened") - said.count("pruned") == len(streams(tmp_path))
    held = [name for name in names(tmp_path) if name.startswith("one")]
    assert held == written.kept[-len(held) :], "the oldest went first"
    report = verify_paths([tmp_path])
    assert (report.exit_code(), report.first_violation()) == (0, None)


def fill(trail: Journal, written: Written, name: str, directory: Path) -> None:
    """Take all room of the disk, and lose a record for want of it."""
    take_all_room(directory.parent)
    before = written.lost
    for index in range(20):
        written.add(trail, f"{name}{index}.", 5, size=2000)
    assert written.lost > before


def old_segments(directory: Path, written: Written, say: Callable[[str], None] = lambda _: None) -> Journal:
    """A journal that has written some segments and has its reserve; nothing in it is acknowledged."""
    trail = journal(directory, say, fsync_interval=LONG, min_age=0, segment_bytes=64 * 1024, adopts=False)
    trail.open()
    trail._upkeep.tick()
    for index in range(60):
        written.add(trail, f"one{index}.", 5, size=2000)
        trail._upkeep.tick()
    assert written.lost == 0 and len(streams(directory)) > 5
    return trail


def ends_well(directory: Path, written: Written, trail: Journal) -> None:
    trail.close()
    assert sum(gaps(directory)) == written.lost == trail.counters.lost
    report = verify_paths([directory])
    assert (report.exit_code(), report.first_violation()) == (0, None)


def test_a_full_disk_is_pruned_for_room_each_time(mounted: Callable[[str], Path]) -> None:
    """At the first tick of every such time, without waiting for the next measure: the reserve is there again."""
    directory, written = mounted("size=2m") / "journal", Written()
    directory.mkdir()
    trail = old_segments(directory, written)
    acknowledge(directory, REAL_DISK, time.time_ns())
    for time_, name in enumerate(("two", "three"), 1):
        before = ledger_kinds(directory).count("pruned")
        fill(trail, written, name, directory)
        trail._upkeep.tick()
        assert ledger_kinds(directory).count("pruned") > before
        assert (directory / "reserve").stat().st_size == RESERVE_BYTES, f"time {time_}"
        assert written.add(trail, "four", 5) == 5
        assert not trail.failing
    ends_well(directory, written, trail)


def test_what_is_acknowledged_on_a_full_disk_makes_room(mounted: Callable[[str], Path]) -> None:
    """Else a trail whose Collector was away until its disk was full would never be written again."""
    directory, written = mounted("size=2m") / "journal", Written()
    directory.mkdir()
    trail = old_segments(directory, written)
    fill(trail, written, "two", directory)
    trail._upkeep.tick()
    assert ledger_kinds(directory).count("pruned") == 0
    acknowledge(directory, REAL_DISK, time.time_ns())
    assert (directory / "reserve").stat().st_size == FOR_PRUNING
    fill(trail, written, "three", directory)
    trail._bounds.measure()
    assert ledger_kinds(directory).count("pruned") > 0
    assert (directory / "reserve").stat().st_size == RESERVE_BYTES
    assert written.add(trail, "four", 5) == 5
    ends_well(directory, written, trail)


def test_a_segment_whose_last_words_took_the_reserve_is_followed_by_pruning(mounted: Callable[[str], Path]) -> None:
    """No record is lost then, so nothing but the end of a segment tells that the disk is full."""
    directory, written = mounted("size=2m") / "journal", Written()
    directory.mkdir()
    trail = old_segments(directory, written)
    acknowledge(directory, REAL_DISK, time.time_ns())
    trail._bounds.measure()
    take_all_room(directory.parent)
    trail._lock.hold(
        1, lambda: trail._keeper.with_reserve(lambda: trail._keeper.ready().write(encode(record("last", 9000))))
    )
    assert (directory / "reserve").stat().st_size == 0
    trail._upkeep.tick()
    assert ledger_kinds(directory).count("pruned") > 0
    assert (directory / "reserve").stat().st_size == RESERVE_BYTES
    assert written.add(trail, "two", 5) == 5 and written.lost == 0
    ends_well(directory, written, trail)


OPERATIONS = ("create", "open", "write", "write_at", "allocate", "truncate", "sync", "sync_directory", "unlink")


class Faulty(RealDisk):
    """A disk on which some operations fail, all of them from now on, or only the one of a given number."""

    def __init__(self, code: int = errno.ENOSPC, at: int = -1) -> None:
        self.code, self.at = code, at
        self.failing: frozenset[str] = frozenset()
        self.done = 0
        for name in OPERATIONS:
            setattr(self, name, self._guarded(name, getattr(super(), name)))

    def _guarded(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*given: Any, **named: Any) -> Any:
            self.done += 1
            if name in self.failing or self.done - 1 == self.at:
                raise OSError(self.code, os.strerror(self.code))
            return real(*given, **named)

        return operation


CODES = [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO]


@pytest.mark.parametrize("code", CODES, ids=lambda code: errno.errorcode[code])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_that_fails_for_a_while(tmp_path: Path, operation: str, code: int) -> None:
    disk, written = Faulty(code), Written()
    trail = journal(tmp_path, disk=disk, fsync_interval=LONG, segment_bytes=20_000, adopts=False)
    trail.open()
    trail._upkeep.tick()
    written.add(trail, "one", 5)
    disk.failing = frozenset((operation,))
    for _ in range(3):
        written.add(trail, "two", 10)
        trail._upkeep.tick()
    disk.failing = frozenset()
    trail._upkeep.tick()
    until(lambda: written.add(trail, "three", 1) == 1)
    written.add(trail, "four", 30)
    trail._upkeep.tick()
    trail.close()
    assert written.kept[-30:] == [f"four{i}" for i in range(30)]
    sound(tmp_path, written, trail)
    after = journal(tmp_path, fsync_interval=LONG)
    after.adopt()
    after.close()
    report = verify_paths([tmp_path])
    assert (report.exit_code(), report.first_violation()) == (0, None)


def test_whichever_operation_fails_once(tmp_path: Path) -> None:
    at, done = 0, 1 << 30
    while at < done:
        done = one_fault(tmp_path / str(at), Faulty(CODES[at % 4], at))
        at += 1
    assert at > 40


def one_fault(directory: Path, disk: Faulty) -> int:
    """The whole life of a journal on this disk; how many operations it took."""
    written = Written()
    trail = journal(directory, disk=disk, fsync_interval=LONG, segment_bytes=6000, adopts=False)
    trail.open()
    for name in ("one", "two"):
        written.add(trail, name, 3, size=1000)
        trail._upkeep.tick()
    until(lambda: written.add(trail, "three", 1) == 1)
    trail.close()
    sound(directory, written, trail)
    return disk.done


class OnlyTheReserve(RealDisk):
    """A disk on which, when ``full``, nothing can be written until the reserve is given back."""

    def __init__(self, directory: Path) -> None:
        self.reserve = directory / "reserve"
        self.full = False

    def write(self, descriptor: int, data: bytes) -> int:
        if self.full and self.reserve.stat().st_size:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(descriptor, data)


@pytest.mark.parametrize("refused", [0, 30])
def test_the_last_words_need_no_more_than_the_reserve(tmp_path: Path, refused: int) -> None:
    disk, written = OnlyTheReserve(tmp_path), Written()
    trail = journal(tmp_path, disk=disk, fsync_interval=LONG, adopts=False)
    trail.open()
    trail._upkeep.tick()
    written.add(trail, "one", 5)
    disk.full = True
    for _ in range(3):
        written.add(trail, "two", refused // 3)
        trail._upkeep.tick()
    assert written.lost == refused and disk.reserve.stat().st_size == RESERVE_BYTES
    trail.close()
    assert disk.reserve.stat().st_size == 0
    assert names(tmp_path)[6:] == [*([f"gap {refused}"] if refused else []), "closed"]
    assert ledger_kinds(tmp_path) == ["opened", "closed"]
    sound(tmp_path, written, trail)
