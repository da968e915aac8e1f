# SPDX-License-Identifier: Apache-2.0
"""What is done under the append lock: which segment is written, what follows it, and when opening one is tried again."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from faulty_disk import LEDGER, SEGMENT, FaultyDisk
from journals import journal, kinds, read, record, segments, until

from opentelemetry.instrumentation.mcp_audit.journal import keep
from opentelemetry.instrumentation.mcp_audit.journal.ticket import JournalError
from opentelemetry.instrumentation.mcp_audit.record.encode import encode

_FULL = OSError(28, "No space left on device")


def test_the_first_record_opens_a_segment_and_the_rest_use_it(tmp_path: Path) -> None:
    trail = journal(tmp_path, fsync_interval=60)
    keeper = trail._keeper
    assert keeper.current is None
    trail.append(record("one"))
    current = keeper.current
    trail.append(record("two"))
    assert keeper.current is current and keeper.next is None
    trail.close()
    assert keeper.current is None


def test_what_was_prepared_follows_and_is_used_when_the_current_one_is_lost(tmp_path: Path) -> None:
    disk = FaultyDisk()
    trail = journal(tmp_path, fsync_interval=60, disk=disk)
    trail.append(record("one"))
    following = trail._preparer.prepare(1)
    old = trail.path
    assert old is not None
    with disk.raising(_FULL, "write", name=old.name), pytest.raises(OSError, match="No space left"):
        trail._lock.hold(1, lambda: trail._keeper.switch(following))
    assert trail._keeper.current is None and trail._keeper.next is following
    trail.append(record("two"))
    assert trail._keeper.current is following and trail._keeper.next is None
    trail.close()
    assert [kinds(read(path)) for path in segments(tmp_path)] == [["opened", "one"], ["opened", "two", "closed"]]
    told = [(entry.kind, entry.reason) for entry in trail._ledger.backwards() if entry.file == old.name]
    assert told == [("adopted", "sealed"), ("opened", None)], "it has no end, and none will come"


def test_a_prepared_segment_that_was_never_used_is_ended_too(tmp_path: Path) -> None:
    trail = journal(tmp_path, fsync_interval=60)
    trail.append(record("one"))
    trail._keeper.next = trail._preparer.prepare(1)
    trail.close()
    assert [kinds(read(path)) for path in segments(tmp_path)] == [["opened", "one", "closed"], ["opened", "closed"]]
    assert sorted(entry.kind for entry in trail._ledger.backwards()) == ["closed", "closed", "opened", "opened"]


def test_no_ledger_no_segment_and_every_record_counted(tmp_path: Path) -> None:
    said: list[str] = []
    disk = FaultyDisk()
    trail = journal(tmp_path, said.append, fsync_interval=60, disk=disk)
    with disk.raising(OSError(5, "Input/output error"), "write", name=LEDGER):
        for _ in range(3):
            with pytest.raises(JournalError, match="Input/output error"):
                trail.append(record("lost"))
        assert trail.failing and trail.path is None
    trail.append(record("kept"))
    trail.close()
    (path,) = segments(tmp_path)
    assert kinds(read(path)) == ["opened", "gap 3", "kept", "closed"], "the one that was prepared first"
    assert len(said) == 2


def test_an_opening_that_failed_slowly_is_not_waited_for_by_every_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keep, "_MAX_BACKOFF_SECONDS", 2.0)
    disk = FaultyDisk()
    held = disk.create(tmp_path / "ledger.lock", append=False)
    assert disk.lock(held)
    trail = journal(tmp_path, fsync_interval=60, deadline=0.5, disk=disk)
    with pytest.raises(JournalError, match=r"ledger\.lock was held by another process for 0\.5 s"):
        trail.append(record("slow"))
    began = time.monotonic()
    with pytest.raises(JournalError, match=r"no segment could be opened a moment ago: .*ledger\.lock was held"):
        trail.append(record("fast"))
    assert time.monotonic() - began < 0.4
    disk.close(held)
    until(lambda: time.monotonic() >= trail._keeper._not_before)
    trail.append(record("kept"))
    trail.close()
    assert kinds(read(segments(tmp_path)[0])) == ["opened", "gap 2", "kept", "closed"]


def test_an_interrupt_puts_a_queued_record_back(tmp_path: Path) -> None:
    disk = FaultyDisk()
    trail = journal(tmp_path, fsync_interval=60, disk=disk)
    trail.append(record("one"))
    for name in ("a", "b"):
        trail._keeper.queued.append(keep.Appended(encode(record(name)), None))
    with disk.raising(KeyboardInterrupt(), "write", name=SEGMENT, times=1), pytest.raises(KeyboardInterrupt):
        trail._lock.hold(1, trail._keeper.write_queued)
    assert len(trail._keeper.queued) == 2
    trail.close()
    assert kinds(read(segments(tmp_path)[0])) == ["opened", "one", "a", "b", "closed"]


def test_a_gap_is_told_before_what_follows_it_and_without_the_reserve(tmp_path: Path) -> None:
    disk = FaultyDisk()
    trail = journal(tmp_path, fsync_interval=60, disk=disk)
    trail.append(record("one"))
    trail._upkeep.tick()
    size = (tmp_path / "reserve").stat().st_size
    with disk.raising(_FULL, "write", name=SEGMENT):
        for _ in range(3):
            with pytest.raises(JournalError):
                trail.append(record("lost"))
    assert (tmp_path / "reserve").stat().st_size == size > 0
    trail.append(record("two"))
    trail.close()
    assert kinds(read(segments(tmp_path)[0])) == ["opened", "one", "gap 3", "two", "closed"]
