# SPDX-License-Identifier: Apache-2.0
"""One segment file: its name, its lock, one ``write(2)`` a line, and what a failed write or sync leaves."""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path

import pytest
from faulty_disk import FaultyDisk, Step

from opentelemetry.instrumentation.mcp_audit.journal import platform, segment
from opentelemetry.instrumentation.mcp_audit.journal.disk import REAL_DISK, Disk

_STREAM = "6f1d1c1e-0000-4000-8000-000000000001"


def _create(directory: Path, disk: Disk = REAL_DISK) -> segment.Segment:
    return segment.create(directory, _STREAM, disk)


def _write(made: segment.Segment, line: bytes) -> None:
    """As the stream does: what was written whole has a number."""
    made.write(line)
    made.count += 1


def test_a_new_segment_is_ours_alone(tmp_path: Path) -> None:
    made = _create(tmp_path)
    assert re.fullmatch(rf"\d{{8}}T\d{{6}}Z-{os.getpid()}-{_STREAM}\.jsonl", made.path.name)
    assert made.path.stat().st_mode & 0o777 == 0o600
    assert (made.size, made.count, made.head, made.synced) == (0, 0, None, 0)
    assert not os.get_inheritable(made.descriptor)
    other = os.open(made.path, os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert platform.try_lock(other) is False
    made.close()
    assert platform.try_lock(other) is True
    os.close(other)


def test_an_existing_file_is_never_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opentelemetry.instrumentation.mcp_audit.journal.segment.time.strftime", lambda *_: "T")
    (tmp_path / f"T-{os.getpid()}-{_STREAM}.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        _create(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_another_locks_first_is_left_to_it(tmp_path: Path) -> None:
    disk = FaultyDisk()
    others: list[int] = []

    def adopter() -> None:
        (path,) = tmp_path.iterdir()
        others.append(os.open(path, os.O_RDWR))
        fcntl.flock(others[0], fcntl.LOCK_EX | fcntl.LOCK_NB)

    open_before = len(os.listdir("/proc/self/fd"))
    with disk.calling(adopter, "lock"), pytest.raises(OSError, match="was locked by another process as soon as"):
        _create(tmp_path, disk)
    os.close(others[0])
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_a_line_is_one_write(tmp_path: Path) -> None:
    disk = FaultyDisk()
    made = _create(tmp_path, disk)
    made.write(b"one\n")
    made.write(b"two\n")
    assert disk.asked("write") == [Step("write", made.path.name, "MainThread", 4)] * 2
    assert made.size == 8
    assert made.path.read_bytes() == b"one\ntwo\n"
    made.close()


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_a_short_write_raises_and_leaves_whole_lines(tmp_path: Path, taken: int) -> None:
    disk = FaultyDisk()
    made = _create(tmp_path, disk)
    made.write(b"one\n")
    with disk.short(taken), pytest.raises(OSError, match=f"only {taken} of 4 bytes"):
        made.write(b"two\n")
    assert made.path.read_bytes() == b"one\n"
    assert made.size == 4
    made.write(b"three\n")
    assert made.path.read_bytes() == b"one\nthree\n"
    made.close()


def test_a_segment_that_cannot_be_repaired_is_broken(tmp_path: Path) -> None:
    disk = FaultyDisk()
    made = _create(tmp_path, disk)
    with (
        disk.raising(OSError(5, "Input/output error"), "write", "truncate"),
        pytest.raises(segment.SegmentBroken, match="cutting it off failed too"),
    ):
        made.write(b"one\n")
    made.close()


def test_cut_takes_back_and_says_where_it_ends(tmp_path: Path) -> None:
    made = _create(tmp_path)
    made.write(b"one\n")
    made.write(b"two\n")
    made.cut(4)
    assert (made.size, made.path.read_bytes()) == (4, b"one\n")
    made.close()


def test_a_deleted_file_is_noticed(tmp_path: Path) -> None:
    made = _create(tmp_path)
    _write(made, b"one\n")
    _write(made, b"two\n")
    assert made.tampered() is None
    made.path.unlink()
    assert made.tampered() == segment.Tampered(2, "deleted")
    made.close()


def test_a_file_that_was_moved_away_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    made = _create(tmp_path / "journal")
    _write(made, b"one\n")
    (tmp_path / "journal").rename(tmp_path / "elsewhere")
    assert made.tampered() == segment.Tampered(0, "moved away"), "its records are still somewhere"
    (tmp_path / "journal").mkdir()
    made.path.write_bytes(b"another file of that name")
    assert made.tampered() == segment.Tampered(0, "moved away")
    made.path.unlink()
    made.path.symlink_to(tmp_path / "elsewhere" / made.path.name)
    assert made.tampered() == segment.Tampered(0, "moved away"), "a link to it is not the file"
    made.close()


@pytest.mark.parametrize(("size", "lost"), [(0, 3), (3, 3), (4, 2), (7, 2), (8, 1), (11, 1)])
def test_a_file_that_was_cut_is_noticed_and_what_is_left_counted(tmp_path: Path, size: int, lost: int) -> None:
    made = _create(tmp_path)
    for line in (b"one\n", b"two\n", b"six\n"):
        _write(made, line)
    os.truncate(made.path, size)
    assert made.tampered() == segment.Tampered(lost, f"cut to {size} bytes")
    made.close()


def test_a_file_that_grew_is_not_tampered_with(tmp_path: Path) -> None:
    """A write of ours may stand there whose number is not yet taken."""
    made = _create(tmp_path)
    _write(made, b"one\n")
    with made.path.open("ab") as file:
        file.write(b"more")
    assert made.tampered() is None
    made.close()


def test_a_sync_says_how_far_it_reaches(tmp_path: Path) -> None:
    disk = FaultyDisk()
    made = _create(tmp_path, disk)
    _write(made, b"one\n")
    _write(made, b"two\n")
    with disk.calling(lambda: _write(made, b"written meanwhile\n"), "sync"):
        assert made.sync() == 2
    assert (made.synced, made.count) == (2, 3)
    assert made.sync() == made.synced == 3
    assert [step.name for step in disk.asked("sync")] == [made.path.name] * 2
    made.close()


def test_a_sync_that_fails_says_which_numbers_may_be_missing(tmp_path: Path) -> None:
    disk = FaultyDisk()
    made = _create(tmp_path, disk)
    _write(made, b"one\n")
    made.sync()
    _write(made, b"two\n")
    _write(made, b"six\n")
    with disk.raising(OSError(5, "Input/output error"), "sync"), pytest.raises(segment.SyncFailed) as raised:
        made.sync()
    assert str(raised.value) == (
        f"fsync: [Errno 5] Input/output error: {made.path.name} may lack its numbers 2 to 3 on the disk"
    )
    assert made.synced == 1
    made.close()
