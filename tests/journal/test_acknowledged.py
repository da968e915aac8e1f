# SPDX-License-Identifier: Apache-2.0
"""What is acknowledged: whole or not at all, never backwards by itself, and nothing when it cannot be read."""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentelemetry.instrumentation.mcp_audit.journal.acknowledged import (
    ACKNOWLEDGED,
    acknowledge,
    acknowledged_until,
)
from opentelemetry.instrumentation.mcp_audit.journal.disk import REAL_DISK, RealDisk
from opentelemetry.instrumentation.mcp_audit.journal.platform import try_lock

T = 1_795_000_000_000_000_001


def until(directory: Path) -> tuple[int, list[str]]:
    said: list[str] = []
    return acknowledged_until(directory, said.append), said


def test_written_and_read_back_to_the_nanosecond(tmp_path: Path) -> None:
    assert until(tmp_path) == (0, [])
    assert acknowledge(tmp_path, REAL_DISK, T) == T
    file = tmp_path / ACKNOWLEDGED
    assert file.read_bytes() == b'{"version": 1, "until_unix_nano": "%d"}\n' % T
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert until(tmp_path) == (T, [])
    assert [path.name for path in tmp_path.iterdir()] == [ACKNOWLEDGED]


def test_it_never_goes_back_unless_forced(tmp_path: Path) -> None:
    acknowledge(tmp_path, REAL_DISK, T)
    assert acknowledge(tmp_path, REAL_DISK, T - 1) == T
    assert until(tmp_path) == (T, [])
    assert acknowledge(tmp_path, REAL_DISK, T - 1, force=True) == T - 1
    assert until(tmp_path) == (T - 1, [])
    assert acknowledge(tmp_path, REAL_DISK, 0, force=True) == 0
    assert until(tmp_path) == (0, [])
    assert [path.name for path in tmp_path.iterdir()] == [ACKNOWLEDGED]


@pytest.mark.parametrize("wrong", [-1, 10**19])
def test_what_is_no_time_is_refused(tmp_path: Path, wrong: int) -> None:
    with pytest.raises(ValueError, match=str(wrong)):
        acknowledge(tmp_path, REAL_DISK, wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 100,
        b"garbage",
        b"\xff\xfe",
        b"[]",
        b"17",
        b"[" * 4000,
        b"{}",
        b'{"version":1}',
        b'{"version":2,"until_unix_nano":"17"}',
        b'{"version":true,"until_unix_nano":"17"}',
        b'{"version":1.0,"until_unix_nano":"17"}',
        b'{"version":1,"until_unix_nano":17}',
        b'{"version":1,"until_unix_nano":"-17"}',
        b'{"version":1,"until_unix_nano":"017"}',
        b'{"version":1,"until_unix_nano":"1e3"}',
        b'{"version":1,"until_unix_nano":"17\\n"}',
        '{"version":1,"until_unix_nano":"\u0661\u0667"}'.encode(),
        b'{"version":1,"until_unix_nano":"99999999999999999999"}',
        b'{"version":1,"until_unix_nano":"17"} ' + b" " * 5000,
        b'{"version":1,"until_unix_nano":"17"',
    ],
)
def test_garbage_acknowledges_nothing_says_so_and_can_be_replaced(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / ACKNOWLEDGED
    file.write_bytes(content)
    value, said = until(tmp_path)
    if content.endswith(b" "):
        assert (value, said) == (17, []), "white space is not garbage"
        return
    assert value == 0 and len(said) == 1 and said[0].startswith(f"{ACKNOWLEDGED} cannot be used (")
    assert acknowledge(tmp_path, REAL_DISK, T) == T
    assert until(tmp_path) == (T, [])


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    directory = tmp_path_factory.mktemp("any")
    (directory / ACKNOWLEDGED).write_bytes(content)
    assert until(directory)[0] >= 0


@pytest.mark.parametrize("kind", ["link", "directory", "fifo"])
def test_only_a_regular_file_counts_and_nothing_is_followed(tmp_path: Path, kind: str) -> None:
    good = tmp_path / "good"
    good.write_bytes(b'{"version":1,"until_unix_nano":"17"}')
    file = tmp_path / ACKNOWLEDGED
    if kind == "link":
        file.symlink_to(good)
    elif kind == "directory":
        file.mkdir()
    else:
        os.mkfifo(file)
    value, said = until(tmp_path)
    assert value == 0 and len(said) == 1
    if kind == "directory":
        with pytest.raises(OSError):
            acknowledge(tmp_path, REAL_DISK, T)
        return
    assert acknowledge(tmp_path, REAL_DISK, T) == T
    assert good.read_bytes() == b'{"version":1,"until_unix_nano":"17"}'
    assert until(tmp_path) == (T, [])


def test_a_name_that_waits_to_be_followed_is_not(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    (tmp_path / f"{ACKNOWLEDGED}.next").symlink_to(precious)
    with pytest.raises(OSError):
        acknowledge(tmp_path, REAL_DISK, T)
    (tmp_path / f"{ACKNOWLEDGED}.next").unlink()
    os.link(precious, tmp_path / f"{ACKNOWLEDGED}.next")
    with pytest.raises(OSError, match="another name"):
        acknowledge(tmp_path, REAL_DISK, T)
    assert precious.read_bytes() == b"precious"
    assert until(tmp_path) == (0, [])


@pytest.mark.parametrize("operation", ["create", "truncate", "write_at", "sync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_when_it_cannot_be_written_the_old_one_holds(tmp_path: Path, operation: str, code: int) -> None:
    acknowledge(tmp_path, REAL_DISK, T)

    def fail(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    disk = RealDisk()
    setattr(disk, operation, fail)
    with pytest.raises(OSError) as caught:
        acknowledge(tmp_path, disk, T + 5)
    assert caught.value.errno == code
    assert until(tmp_path) == (T, [])
    assert acknowledge(tmp_path, REAL_DISK, T + 5) == T + 5, "what was left behind is taken over"
    assert [path.name for path in tmp_path.iterdir()] == [ACKNOWLEDGED]


def test_a_short_write_is_none(tmp_path: Path) -> None:
    disk = RealDisk()
    disk.write_at = lambda descriptor, data, offset: os.pwrite(descriptor, data[:9], offset)  # type: ignore[method-assign]
    with pytest.raises(OSError, match="only 9 of"):
        acknowledge(tmp_path, disk, T)
    assert until(tmp_path) == (0, [])


def test_the_order_of_the_steps(tmp_path: Path) -> None:
    steps: list[str] = []
    disk = RealDisk()
    for name in ("create", "write_at", "sync", "replace", "sync_directory", "unlink"):
        real = getattr(disk, name)
        setattr(
            disk, name, lambda *given, _real=real, _name=name, **named: (steps.append(_name), _real(*given, **named))[1]
        )
    acknowledge(tmp_path, disk, T)
    assert steps == ["create", "write_at", "sync", "replace", "sync_directory"]


def test_one_who_hangs_with_it_is_not_waited_for_longer_than_said(tmp_path: Path) -> None:
    following = tmp_path / f"{ACKNOWLEDGED}.next"
    with following.open("wb") as file:
        assert try_lock(file.fileno())
        began = time.monotonic()
        with pytest.raises(OSError, match=r"held by another process for 0\.1 s"):
            acknowledge(tmp_path, REAL_DISK, T, timeout=0.1)
        assert time.monotonic() - began < 5
    assert acknowledge(tmp_path, REAL_DISK, T, timeout=0.1) == T


def test_many_at_once_leave_the_latest(tmp_path: Path) -> None:
    start, held = threading.Barrier(8), []

    def one(offset: int) -> None:
        start.wait()
        for step in range(20):
            held.append(acknowledge(tmp_path, REAL_DISK, T + step * 8 + offset, timeout=60))

    threads = [threading.Thread(target=one, args=(offset,)) for offset in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert until(tmp_path) == (T + 19 * 8 + 7, [])
    assert len(held) == 160
    assert [path.name for path in tmp_path.iterdir()] == [ACKNOWLEDGED]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_what_root_acknowledges_the_service_can_read(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    tmp_path.chmod(0o700)
    acknowledge(tmp_path, REAL_DISK, T)
    status = (tmp_path / ACKNOWLEDGED).stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (12345, 12345, 0o600)


def test_the_file_is_plain_json_for_other_tools(tmp_path: Path) -> None:
    acknowledge(tmp_path, REAL_DISK, T)
    assert json.loads((tmp_path / ACKNOWLEDGED).read_text()) == {"version": 1, "until_unix_nano": str(T)}
