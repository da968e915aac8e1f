# SPDX-License-Identifier: Apache-2.0
"""The journal's thread at one tick: what it syncs, rotates and settles, and what it says when it cannot."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from faulty_disk import LEDGER, SEGMENT, FaultyDisk
from journals import journal, kinds, read, record, segments

_ERROR = OSError(5, "Input/output error")


def test_a_tick_with_nothing_to_do_asks_nothing_of_the_disk(tmp_path: Path) -> None:
    disk = FaultyDisk()
    trail = journal(tmp_path, fsync_interval=60, disk=disk)
    trail.append(record("one"))
    trail._upkeep.tick()
    asked = len(disk.steps)
    assert trail._upkeep.tick() is False
    assert len(disk.steps) == asked
    trail.close()


def test_a_tick_syncs_what_is_written_and_no_more(tmp_path: Path) -> None:
    disk = FaultyDisk()
    trail = journal(tmp_path, fsync_interval=60, disk=disk)
    tickets = [trail.append(record(f"t{number}")) for number in range(3)]
    late = []
    with disk.calling(lambda: late.append(trail.append(record("late"))), "sync", name=SEGMENT):
        trail._upkeep.tick()
    assert [trail._commits.outcome(one.stream_id, one.number) for one in (*tickets, *late)] == [True, True, True, None]
    trail._upkeep.tick()
    assert trail._commits.outcome(late[0].stream_id, late[0].number) is True
    trail.close()


def test_a_full_segment_is_followed_at_once_and_settled_in_the_same_tick(tmp_path: Path) -> None:
    trail = journal(tmp_path, fsync_interval=60, segment_seconds=0.0)
    trail.append(record("one"))
    first = trail.path
    assert first is not None
    assert trail._upkeep.tick() is False
    assert trail.path != first
    assert [(entry.kind, entry.file == first.name) for entry in trail._ledger.backwards()] == [
        ("closed", True),
        ("opened", False),
        ("opened", True),
    ]
    trail.close()


def test_a_ledger_that_cannot_be_written_is_said_once_and_loses_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    disk = FaultyDisk()
    trail = journal(tmp_path, said.append, fsync_interval=60, segment_seconds=0.0, disk=disk)
    trail.append(record("t0"))
    with disk.raising(_ERROR, "write", name=LEDGER):
        for number in range(1, 4):
            assert trail._upkeep.tick() is True
            trail.append(record(f"t{number}"))
        assert not trail.failing and trail.last_error == "[Errno 5] Input/output error"
    assert said == [
        "the journal cannot be kept in order ([Errno 5] Input/output error); "
        "records are still written, and it is tried again"
    ]
    assert trail._upkeep.tick() is False
    assert said[1:] == ["the journal is in order again"]
    trail.close()
    assert [kinds(read(path)) for path in segments(tmp_path)] == [
        ["opened", "t0", "t1", "t2", "t3", "closed"],
        ["opened", "closed"],
    ]
    assert trail.counters.lost == 0 and len(said) == 2


def test_one_thread_at_a_time(tmp_path: Path) -> None:
    disk = FaultyDisk()
    trail = journal(tmp_path, fsync_interval=60, disk=disk)
    trail.append(record("one"))
    with disk.hanging("sync", name=SEGMENT) as hang:
        first = threading.Thread(target=trail._upkeep.tick)
        first.start()
        assert hang.entered.wait(10)
        assert trail._upkeep.finish(0.05) is False, "somebody is at it, and is not waited for for long"
        second = threading.Thread(target=trail._upkeep.tick)
        second.start()
        second.join(0.1)
        assert second.is_alive() and len(disk.asked("sync", SEGMENT)) == 2
    first.join(10)
    second.join(10)
    assert len(disk.asked("sync", SEGMENT)) == 2, "the second found everything on the disk"
    trail.close()


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_what_cannot_be_settled_at_the_end_is_left_to_be_adopted_and_said(tmp_path: Path, operation: str) -> None:
    said: list[str] = []
    disk = FaultyDisk()
    trail = journal(tmp_path, said.append, fsync_interval=60, disk=disk)
    trail.append(record("one"))
    with disk.raising(_ERROR, operation, name=LEDGER):
        trail.close()
    assert said == [
        "the journal cannot be kept in order ([Errno 5] Input/output error); "
        "records are still written, and it is tried again",
        "the journal was not ended well; whoever starts next in its directory adopts what it left",
    ]
    (path,) = segments(tmp_path)
    assert kinds(read(path)) == ["opened", "one", "closed"]
    assert len(list(tmp_path.glob("*.calls"))) == 1, "by which the next one finds it"
    heir = journal(tmp_path, fsync_interval=60, adopts=False)
    heir.append(record("two"))
    heir.adopt()
    heir.close()
    entries = [(entry.kind, entry.reason) for entry in heir._ledger.backwards() if entry.file == path.name]
    assert entries == [("adopted", "ended"), ("opened", None)]
    assert list(tmp_path.glob("*.calls")) == []
