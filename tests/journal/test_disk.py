# SPDX-License-Identifier: Apache-2.0
"""The operating system's files: modes, what is never followed or opened, and that bytes are written as they are."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from opentelemetry.instrumentation.mcp_audit.journal import disk as disk_module
from opentelemetry.instrumentation.mcp_audit.journal import platform
from opentelemetry.instrumentation.mcp_audit.journal.disk import REAL_DISK


@pytest.mark.parametrize("append", [True, False])
def test_a_created_file_is_new_private_and_not_inherited(tmp_path: Path, append: bool) -> None:
    path = tmp_path / "file"
    before = os.umask(0)
    try:
        descriptor = REAL_DISK.create(path, append=append)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not os.get_inheritable(descriptor)
    with pytest.raises(FileExistsError):
        REAL_DISK.create(path, append=append)
    REAL_DISK.close(descriptor)


def test_a_directory_is_private_and_made_once(tmp_path: Path) -> None:
    place = tmp_path / "a" / "b"
    before = os.umask(0)
    try:
        REAL_DISK.make_directory(place)
    finally:
        os.umask(before)
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    REAL_DISK.make_directory(place)
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        REAL_DISK.make_directory(tmp_path / "file")


def test_open_needs_a_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        REAL_DISK.open(tmp_path / "none", append=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "directory", "socket", "device"])
@pytest.mark.parametrize("append", [True, False])
def test_only_a_regular_file_is_opened_and_nothing_hangs(tmp_path: Path, kind: str, append: bool) -> None:
    path = tmp_path / "odd"
    (tmp_path / "target").write_bytes(b"theirs")
    if kind == "link":
        path.symlink_to(tmp_path / "target")
    elif kind == "dangling":
        path.symlink_to(tmp_path / "nowhere")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)
    else:
        path = Path("/dev/null")
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError):
        REAL_DISK.open(path, append=append)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert (tmp_path / "target").read_bytes() == b"theirs"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("target", ["there", "nowhere"])
def test_nothing_is_created_through_a_link(tmp_path: Path, target: str) -> None:
    (tmp_path / "there").write_bytes(b"theirs")
    (tmp_path / "link").symlink_to(tmp_path / target)
    with pytest.raises(FileExistsError):
        REAL_DISK.create(tmp_path / "link", append=True)
    assert (tmp_path / "there").read_bytes() == b"theirs"
    assert not (tmp_path / "nowhere").exists()


def test_what_is_opened_to_append_is_written_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    first = REAL_DISK.create(path, append=True)
    second = REAL_DISK.open(path, append=True)
    assert REAL_DISK.write(first, b"one") == 3
    assert REAL_DISK.write(second, b"two") == 3
    assert REAL_DISK.write(first, b"three") == 5
    REAL_DISK.truncate(first, 6)
    assert REAL_DISK.write(second, b"4") == 1
    assert path.read_bytes() == b"onetwo4"
    REAL_DISK.close(first)
    REAL_DISK.close(second)


def test_write_at_leaves_the_rest_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    descriptor = REAL_DISK.create(path, append=False)
    REAL_DISK.allocate(descriptor, 8)
    assert path.read_bytes() == bytes(8)
    assert REAL_DISK.write_at(descriptor, b"ab", 3) == 2
    assert path.read_bytes() == b"\0\0\0ab\0\0\0"
    REAL_DISK.allocate(descriptor, 4)
    assert path.stat().st_size == 8, "allocate never shortens"
    REAL_DISK.close(descriptor)


@pytest.mark.parametrize("fallocate", [True, False])
def test_allocated_room_is_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fallocate: bool) -> None:
    if not fallocate:
        monkeypatch.delattr(os, "posix_fallocate")
    path = tmp_path / "file"
    descriptor = REAL_DISK.create(path, append=False)
    REAL_DISK.write_at(descriptor, b"kept", 0)
    REAL_DISK.allocate(descriptor, 200_000)
    REAL_DISK.sync(descriptor)
    assert path.read_bytes() == b"kept" + bytes(199_996)
    assert path.stat().st_blocks * 512 >= 200_000
    REAL_DISK.close(descriptor)


def test_the_lock_is_the_open_files(tmp_path: Path) -> None:
    first = REAL_DISK.create(tmp_path / "file", append=False)
    second = REAL_DISK.open(tmp_path / "file", append=False)
    assert (REAL_DISK.lock(first), REAL_DISK.lock(second)) == (True, False)
    REAL_DISK.close(first)
    assert REAL_DISK.lock(second) is True
    REAL_DISK.close(second)


def test_replace_and_unlink(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("new")
    (tmp_path / "b").write_text("old")
    REAL_DISK.replace(tmp_path / "a", tmp_path / "b")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"b": "new"}
    REAL_DISK.unlink(tmp_path / "b")
    REAL_DISK.sync_directory(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        REAL_DISK.unlink(tmp_path / "b")


def test_sync_reaches_the_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[object] = []
    monkeypatch.setattr(platform, "sync_data", synced.append)
    monkeypatch.setattr(platform, "sync_directory", synced.append)
    descriptor = REAL_DISK.create(tmp_path / "file", append=True)
    REAL_DISK.sync(descriptor)
    REAL_DISK.sync_directory(tmp_path)
    assert synced == [descriptor, tmp_path]
    REAL_DISK.close(descriptor)


def test_bytes_are_written_as_they_are_where_that_must_be_asked_for() -> None:
    """Windows has O_BINARY, and would write two bytes for every line's end without it."""
    code = (
        "import os\n"
        "os.O_BINARY = 1 << 30\n"
        "from opentelemetry.instrumentation.mcp_audit.journal import disk\n"
        "assert disk._FLAGS & os.O_BINARY\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert not disk_module._FLAGS & 1 << 30
