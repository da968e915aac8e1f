# SPDX-License-Identifier: Apache-2.0
"""The model of crashes: what must be possible is, what cannot be is not, and what was done for real looks like it."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
from disk_log import Log, Recording
from hypothesis import given
from hypothesis import strategies as st
from images import SECTOR, File, Image, Model, kills, power_cuts


def disk(tmp_path: Path) -> tuple[Log, Recording]:
    log = Log.of(tmp_path)
    return log, Recording(log)


def looks(log: Log, cap: int = 500) -> list[dict[str, bytes]]:
    """The files of every state that a power cut after the last operation may leave."""
    model = Model.of(log)
    for operation in log.operations:
        model.apply(operation)
    return [image.files for image in model.power_cuts(random.Random(1), cap)]


def real(log: Log) -> dict[str, bytes]:
    return {path.relative_to(log.base).as_posix(): path.read_bytes() for path in log.base.rglob("*") if path.is_file()}


def test_a_kill_leaves_every_prefix(tmp_path: Path) -> None:
    log, files = disk(tmp_path)
    descriptor = files.create(tmp_path / "a", append=True)
    files.write(descriptor, b"1234")
    files.write(descriptor, b"5678")
    files.truncate(descriptor, 2)
    files.unlink(tmp_path / "a")
    files.close(descriptor)
    assert [image.files.get("a") for image in kills(log)] == [
        *(None, b""),
        *(b"1", b"12", b"123", b"1234"),
        *(b"12345", b"123456", b"1234567", b"12345678"),
        *(b"12", None),
    ]


def test_what_was_synced_survives_and_the_rest_may_be_kept_missing_or_zeroed(tmp_path: Path) -> None:
    log, files = disk(tmp_path)
    descriptor = files.create(tmp_path / "a", append=True)
    files.write(descriptor, b"sure")
    files.sync(descriptor)
    files.sync_directory(tmp_path)
    assert looks(log) == [{"a": b"sure"}]
    files.write(descriptor, b"x" * 600)
    found = [each["a"] for each in looks(log)]
    first, later = b"x" * (SECTOR - 4), b"x" * (600 - SECTOR + 4)
    assert {b"sure" + b"x" * 600, b"sure", b"sure" + bytes(600), b"sure" + first + bytes(len(later))} <= set(found)
    assert b"sure" + bytes(len(first)) + later in found, "the later page is there, the earlier is not"
    assert all(each.startswith(b"sure") for each in found)
    files.close(descriptor)


def test_a_name_is_there_or_not_until_its_directory_is_synced(tmp_path: Path) -> None:
    log, files = disk(tmp_path)
    for name in ("a", "b"):
        descriptor = files.create(tmp_path / name, append=True)
        files.write(descriptor, name.encode())
        files.sync(descriptor)
        files.close(descriptor)
    assert sorted(map(sorted, looks(log))) == [[], ["a"], ["a", "b"], ["b"]]
    files.sync_directory(tmp_path)
    files.replace(tmp_path / "a", tmp_path / "b")
    assert sorted(looks(log), key=len) == [{"b": b"a"}, {"a": b"a", "b": b"b"}]
    files.sync_directory(tmp_path)
    files.unlink(tmp_path / "b")
    assert sorted(looks(log), key=len) == [{}, {"b": b"a"}]


def test_a_file_below_a_directory_that_did_not_come_through_is_not_there(tmp_path: Path) -> None:
    log, files = disk(tmp_path)
    files.make_directory(tmp_path / "x" / "y")
    descriptor = files.create(tmp_path / "x" / "y" / "a", append=True)
    files.sync_directory(tmp_path / "x" / "y")
    assert {tuple(each) for each in looks(log)} == {(), ("x/y/a",)}
    files.sync_directory(tmp_path)
    files.sync_directory(tmp_path / "x")
    assert looks(log) == [{"x/y/a": b""}]
    files.close(descriptor)


def test_what_a_failed_sync_gave_up_no_later_sync_brings_back(tmp_path: Path) -> None:
    log, files = disk(tmp_path)
    descriptor = files.create(tmp_path / "a", append=True)
    files.sync_directory(tmp_path)
    files.write(descriptor, b"1" * SECTOR)
    log.refuse = lambda operation, name: OSError("no") if operation == "sync" else None
    with pytest.raises(OSError, match="no"):
        files.sync(descriptor)
    log.refuse = lambda operation, name: None
    files.write(descriptor, b"2" * SECTOR)
    files.sync(descriptor)
    assert {each["a"] for each in looks(log)} == {
        b"1" * SECTOR + b"2" * SECTOR,
        bytes(SECTOR) + b"2" * SECTOR,
    }
    files.close(descriptor)


def test_a_sector_written_again_after_a_failed_sync_is_sure(tmp_path: Path) -> None:
    file = File.holding(b"")
    file.write(1, 0, b"12")
    file.sync(done=False)
    file.write(2, 2, b"34")
    assert len({file.at(float("inf"), {0: moment}) for moment in (0, 1, 2)}) == 3
    file.sync(done=True)
    assert {file.at(float("inf"), {0: moment}) for moment in (0, 1, 2)} == {b"1234"}


def test_a_slot_of_a_preallocated_file(tmp_path: Path) -> None:
    log, files = disk(tmp_path)
    descriptor = files.create(tmp_path / "a", append=False)
    files.allocate(descriptor, 2048)
    files.sync(descriptor)
    files.sync_directory(tmp_path)
    files.write_at(descriptor, b"A" * 1024, 1024)
    found = {each["a"] for each in looks(log)}
    assert {len(each) for each in found} == {2048}
    half = SECTOR
    assert found >= {
        bytes(2048),
        bytes(1024) + b"A" * 1024,
        bytes(1024 + half) + b"A" * half,
        bytes(1024) + b"A" * half + bytes(half),
    }
    assert real(log) == {"a": bytes(1024) + b"A" * 1024}
    files.close(descriptor)


def test_a_full_disk_takes_a_part_then_nothing_and_gives_back(tmp_path: Path) -> None:
    log, files = disk(tmp_path)
    descriptor = files.create(tmp_path / "a", append=True)
    log.room = 6
    assert files.write(descriptor, b"1234") == 4
    assert files.write(descriptor, b"5678") == 2
    with pytest.raises(OSError, match="No space"):
        files.write(descriptor, b"9")
    with pytest.raises(OSError, match="No space"):
        files.allocate(descriptor, 100)
    files.truncate(descriptor, 1)
    assert log.room == 5
    files.close(descriptor)
    files.unlink(tmp_path / "a")
    assert log.room == 6


def test_who_dies_lets_go_of_its_locks(tmp_path: Path) -> None:
    log, dead = disk(tmp_path)
    descriptor = dead.create(tmp_path / "a", append=True)
    assert dead.lock(descriptor)
    heir = Recording(log)
    other = heir.open(tmp_path / "a", append=True)
    assert not heir.lock(other)
    dead.die()
    assert heir.lock(other)
    assert (dead.held, heir.held) == (0, 1)
    heir.die()


NAMES = ("a", "b", "d/c")
steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["create", "append", "write_at", "allocate", "truncate", "sync", "sync_directory", "unlink", "replace"]
        ),
        st.sampled_from(NAMES),
        st.integers(0, 3000),
    ),
    max_size=30,
)


@given(steps)
def test_the_model_agrees_with_a_real_directory(tmp_path_factory: pytest.TempPathFactory, taken: object) -> None:
    base = tmp_path_factory.mktemp("base")
    log, files = disk(base)
    files.make_directory(base / "d")
    letters = itertools.cycle(b"ABCDEFG")
    for operation, name, amount in taken:  # type: ignore[attr-defined]
        path = base / name
        if operation == "sync_directory":
            files.sync_directory(path.parent)
            continue
        if operation == "create":
            if not path.exists():
                files.close(files.create(path, append=True))
            continue
        if not path.exists():
            continue
        if operation == "unlink":
            files.unlink(path)
            continue
        if operation == "replace":
            files.replace(path, base / "a")
            continue
        descriptor = files.open(path, append=operation == "append")
        data = bytes([next(letters)]) * amount
        if operation == "append":
            files.write(descriptor, data)
        elif operation == "write_at":
            files.write_at(descriptor, data, amount // 2)
        elif operation == "allocate":
            files.allocate(descriptor, max(1, amount))
        elif operation == "truncate":
            files.truncate(descriptor, amount)
        else:
            files.sync(descriptor)
        files.close(descriptor)
    *_, last = kills(log)
    assert last.files == real(log)
    cuts = list(power_cuts(log, random.Random(0), cap=3))
    assert any(image.prefix == len(log.operations) and image.files == real(log) for image in cuts)
    for name in NAMES:
        assert all(name not in image.files or isinstance(image.files[name], bytes) for image in cuts)
    assert isinstance(last, Image)
