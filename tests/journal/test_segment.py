# SPDX-License-Identifier: Apache-2.0
"""One segment file: its name, its lock, one ``write(2)`` a line, and what a failed write leaves."""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path

import pytest

from opentelemetry.instrumentation.mcp_audit.journal import platform, segment

_STREAM = "6f1d1c1e-0000-4000-8000-000000000001"
_OS = "opentelemetry.instrumentation.mcp_audit.journal.segment.os"


def test_a_new_segment_is_ours_alone(tmp_path: Path) -> None:
    made = segment.create(tmp_path, _STREAM)
    assert re.fullmatch(rf"\d{{8}}T\d{{6}}Z-{os.getpid()}-{_STREAM}\.jsonl", made.path.name)
    assert made.path.stat().st_mode & 0o777 == 0o600
    assert (made.size, made.count, made.head) == (0, 0, None)
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
        segment.create(tmp_path, _STREAM)
    assert not (tmp_path / "elsewhere").exists()


def test_a_line_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = segment.create(tmp_path, _STREAM)
    calls: list[bytes] = []
    real = os.write
    monkeypatch.setattr(f"{_OS}.write", lambda descriptor, data: (calls.append(data), real(descriptor, data))[1])
    made.write(b"one\n")
    made.write(b"two\n")
    assert calls == [b"one\n", b"two\n"]
    assert made.size == 8
    assert made.path.read_bytes() == b"one\ntwo\n"
    made.close()


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_a_short_write_raises_and_leaves_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    made = segment.create(tmp_path, _STREAM)
    made.write(b"one\n")
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(f"{_OS}.write", lambda descriptor, data: real(descriptor, data[:taken]))
        with pytest.raises(OSError, match=f"only {taken} of 4 bytes"):
            made.write(b"two\n")
    assert made.path.read_bytes() == b"one\n"
    assert made.size == 4
    made.write(b"three\n")
    assert made.path.read_bytes() == b"one\nthree\n"
    made.close()


def test_a_segment_that_cannot_be_repaired_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = segment.create(tmp_path, _STREAM)

    def refuse(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(f"{_OS}.write", refuse)
    monkeypatch.setattr(f"{_OS}.ftruncate", refuse)
    with pytest.raises(segment.SegmentBroken, match="cutting it off failed too"):
        made.write(b"one\n")
    made.close()


def test_cut_takes_back_and_says_where_it_ends(tmp_path: Path) -> None:
    made = segment.create(tmp_path, _STREAM)
    made.write(b"one\n")
    made.write(b"two\n")
    made.cut(4)
    assert (made.size, made.path.read_bytes()) == (4, b"one\n")
    made.close()


def test_a_deleted_file_is_noticed(tmp_path: Path) -> None:
    made = segment.create(tmp_path, _STREAM)
    assert made.whereabouts() == "there"
    made.path.unlink()
    assert made.whereabouts() == "deleted"
    made.close()


def test_a_file_that_was_moved_away_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    made = segment.create(tmp_path / "journal", _STREAM)
    (tmp_path / "journal").rename(tmp_path / "elsewhere")
    assert made.whereabouts() == "moved"
    (tmp_path / "journal").mkdir()
    made.path.write_bytes(b"another file of that name")
    assert made.whereabouts() == "moved"
    made.close()


def test_sync_reaches_the_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(platform, "sync_data", synced.append)
    made = segment.create(tmp_path, _STREAM)
    made.sync()
    assert synced == [made.descriptor]
    made.close()


def test_bytes_are_written_as_they_are_where_that_must_be_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    real = os.open
    monkeypatch.setattr(f"{_OS}.O_BINARY", 1 << 30, raising=False)
    monkeypatch.setattr(
        f"{_OS}.open", lambda path, flags, mode: (asked.append(flags), real(path, flags & ~(1 << 30), mode))[1]
    )
    made = segment.create(tmp_path, _STREAM)
    made.close()
    assert [flags & 1 << 30 for flags in asked] == [1 << 30]
