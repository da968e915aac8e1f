# SPDX-License-Identifier: Apache-2.0
"""Files of lines read from their end, and what is cut off and kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faulty_disk import FaultyDisk
from hypothesis import given
from hypothesis import strategies as st

from opentelemetry.instrumentation.mcp_audit.journal import tail
from opentelemetry.instrumentation.mcp_audit.journal.disk import REAL_DISK


@contextmanager
def _holding(data: bytes) -> Iterator[int]:
    descriptor = os.memfd_create("lines")
    try:
        os.write(descriptor, data)
        yield descriptor
    finally:
        os.close(descriptor)


_LINES = st.lists(st.binary(max_size=5).map(lambda data: data.replace(b"\n", b"x")), max_size=6)


@given(_LINES, st.binary(max_size=3).map(lambda data: data.replace(b"\n", b"x")), st.integers(1, 7))
def test_backwards_gives_every_line_once(lines: list[bytes], torn: bytes, block: int) -> None:
    data = b"".join(line + b"\n" for line in lines) + torn
    with pytest.MonkeyPatch.context() as patch, _holding(data) as descriptor:
        patch.setattr(tail, "_BLOCK", block)
        assert list(tail.backwards(descriptor, len(data))) == data.splitlines(keepends=True)[::-1] or b"\r" in data
        assert b"".join(reversed(list(tail.backwards(descriptor, len(data))))) == data


@given(_LINES, st.binary(max_size=3).map(lambda data: data.replace(b"\n", b"x")), st.integers(1, 7))
def test_line_before_walks_the_same_way(lines: list[bytes], torn: bytes, block: int) -> None:
    data = b"".join(line + b"\n" for line in lines) + torn
    with pytest.MonkeyPatch.context() as patch, _holding(data) as descriptor:
        patch.setattr(tail, "_BLOCK", block)
        walked, end = [], len(data)
        while end:
            line, start = tail.line_before(descriptor, end)
            assert data[start:end] == line
            walked.append(line)
            end = start
        assert walked == list(tail.backwards(descriptor, len(data)))


def test_an_endless_line_is_not_held_whole() -> None:
    with _holding(b"one\n") as descriptor:
        os.ftruncate(descriptor, 300 * 1024 * 1024)  # a sparse file: zeros, no line end
        line, start = tail.line_before(descriptor, 300 * 1024 * 1024)
        assert (len(line), start) == (1024 * 1024, 299 * 1024 * 1024)
        found = list(tail.backwards(descriptor, 300 * 1024 * 1024))
    assert [len(piece) for piece in found] == [1024 * 1024], "what comes before it is not looked for"


def test_a_cut_keeps_every_byte_before_it_takes_one(tmp_path: Path) -> None:
    disk = FaultyDisk()
    path = tmp_path / "file.jsonl"
    path.write_bytes(b"whole\n" + b"t" * 200_000)
    descriptor = disk.open(path, append=True)
    kept = tail.cut(disk, descriptor, 6, 200_006, tmp_path, "file.jsonl")
    assert kept == tmp_path / "quarantine" / "file.jsonl.6.torn"
    assert kept.read_bytes() == b"t" * 200_000
    assert path.read_bytes() == b"whole\n"
    assert kept.stat().st_mode & 0o777 == 0o600 and kept.parent.stat().st_mode & 0o777 == 0o700
    order = [(step.operation, step.name) for step in disk.steps]
    synced = [("sync", kept.name), ("close", kept.name), ("sync_directory", "quarantine")]
    # The name of quarantine/ itself as well: what is in a directory that a power cut takes is gone.
    assert order[-6:] == [*synced, ("sync_directory", tmp_path.name), ("truncate", path.name), ("sync", path.name)]
    disk.close(descriptor)


def test_a_tail_that_was_kept_before_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    for torn in (b"one", b"two", b"three"):
        path.write_bytes(b"whole\n" + torn)
        descriptor = REAL_DISK.open(path, append=True)
        tail.cut(REAL_DISK, descriptor, 6, 6 + len(torn), tmp_path, "file.jsonl")
        REAL_DISK.close(descriptor)
    names = [item.name for item in (tmp_path / "quarantine").iterdir()]
    assert sorted(item.read_bytes() for item in (tmp_path / "quarantine").iterdir()) == [b"one", b"three", b"two"]
    assert "file.jsonl.6.torn" in names
    assert all(name.startswith("file.jsonl.6.") and name.endswith(".torn") for name in names)


@pytest.mark.parametrize("operation", ["make_directory", "create", "write", "sync", "sync_directory", "truncate"])
def test_a_cut_that_fails_has_lost_nothing(tmp_path: Path, operation: str) -> None:
    disk = FaultyDisk()
    path = tmp_path / "file.jsonl"
    path.write_bytes(b"whole\ntorn")
    descriptor = disk.open(path, append=True)
    descriptors = len(os.listdir("/proc/self/fd"))
    with disk.raising(OSError(5, "Input/output error"), operation), pytest.raises(OSError, match="Input/output"):
        tail.cut(disk, descriptor, 6, 10, tmp_path, "file.jsonl")
    assert path.read_bytes() == b"whole\ntorn"
    assert len(os.listdir("/proc/self/fd")) == descriptors
    kept = tail.cut(disk, descriptor, 6, 10, tmp_path, "file.jsonl")
    assert (path.read_bytes(), kept.read_bytes()) == (b"whole\n", b"torn")
    disk.close(descriptor)


def test_reading_does_not_move_the_place_to_write() -> None:
    with _holding(b"0123456789") as descriptor:
        assert tail.read_at(descriptor, 3, 4) == b"456"
        assert os.lseek(descriptor, 0, os.SEEK_CUR) == 10
        assert tail.read_at(descriptor, 3, 99) == b""
