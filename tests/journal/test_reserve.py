# SPDX-License-Identifier: Apache-2.0
"""The reserve: real room, given back at once, and never somebody else's file."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from opentelemetry.instrumentation.mcp_audit.journal.disk import REAL_DISK, RealDisk
from opentelemetry.instrumentation.mcp_audit.journal.reserve import RESERVE_BYTES, Reserve


def reserve(directory: Path) -> Reserve:
    return Reserve(directory, REAL_DISK)


def test_it_is_made_with_real_blocks_and_given_back(tmp_path: Path) -> None:
    one, file = reserve(tmp_path), tmp_path / "reserve"
    assert one.release() is False, "there is none yet"
    assert one.restore() is True
    status = file.stat()
    assert (status.st_size, stat.S_IMODE(status.st_mode)) == (RESERVE_BYTES, 0o600)
    assert status.st_blocks * 512 >= RESERVE_BYTES
    assert one.restore() is True
    assert one.release() is True
    assert (file.stat().st_size, file.stat().st_blocks) == (0, 0)
    assert one.release() is False, "nothing more to give"
    assert reserve(tmp_path).restore() is True, "another process makes it again"
    assert file.stat().st_size == RESERVE_BYTES


def test_one_that_was_half_made_is_completed(tmp_path: Path) -> None:
    (tmp_path / "reserve").write_bytes(bytes(1000))
    assert reserve(tmp_path).restore() is True
    assert (tmp_path / "reserve").read_bytes() == bytes(RESERVE_BYTES)


@pytest.mark.parametrize(
    "content", [b"a", b"\0" * 5000 + b"1", bytes(RESERVE_BYTES + 1), bytes(RESERVE_BYTES - 1) + b"x"]
)
def test_a_file_with_something_in_it_is_not_ours(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "reserve").write_bytes(content)
    assert reserve(tmp_path).restore() is False
    assert reserve(tmp_path).release() is False
    assert (tmp_path / "reserve").read_bytes() == content


@pytest.mark.parametrize("kind", ["symlink", "hard link", "directory", "fifo"])
def test_nothing_else_of_that_name_is_touched(tmp_path: Path, kind: str) -> None:
    other = tmp_path / "elsewhere"
    other.write_bytes(bytes(100))
    file = tmp_path / "reserve"
    if kind == "symlink":
        file.symlink_to(other)
    elif kind == "hard link":
        os.link(other, file)
    elif kind == "directory":
        file.mkdir()
    else:
        os.mkfifo(file)
    assert reserve(tmp_path).restore() is False
    assert reserve(tmp_path).release() is False
    assert other.read_bytes() == bytes(100)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    assert reserve(tmp_path / "none").restore() is False
    assert reserve(tmp_path / "none").release() is False


@pytest.mark.parametrize("operation", ["open", "create", "truncate", "allocate", "sync"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_neither_raises_whatever_the_disk_says(tmp_path: Path, operation: str, code: int) -> None:
    class Failing(RealDisk):
        pass

    def fail(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    disk = Failing()
    if operation in ("truncate", "sync"):
        assert reserve(tmp_path).restore()
    setattr(disk, operation, fail)
    one = Reserve(tmp_path, disk)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert one.restore() is (operation in ("truncate", "sync"))
    assert one.release() is False
    assert (len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    may = shutil.which("mount") and os.name == "posix" and os.geteuid() == 0
    command = ["mount", "-t", "tmpfs", "-o", "size=512k,mode=0700", "tmpfs", str(place)]
    if not may or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("no small file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_on_a_full_disk_its_room_can_be_written(small_disk: Path) -> None:
    one = reserve(small_disk)
    assert one.restore() is True
    with (small_disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space left"):
        while True:
            filler.write(bytes(4096))
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "last words").write_bytes(b"x" * 5000)
    assert one.release() is True
    (small_disk / "last words").write_bytes(b"x" * (RESERVE_BYTES - 8192))
    assert one.restore() is False, "there is no room for it now"
    assert (small_disk / "reserve").stat().st_size == 0, "and what there is, it does not take"
    (small_disk / "filler").unlink()
    assert one.restore() is True
