# SPDX-License-Identifier: Apache-2.0
"""A disk that hangs: no call waits longer than the deadline, what comes is queued in order, and exit is not held up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from faulty_disk import SEGMENT, FaultyDisk
from journals import journal, kinds, read, record, segments, until

from opentelemetry.instrumentation.mcp_audit.integrity.verify import verify_paths
from opentelemetry.instrumentation.mcp_audit.journal import journal as journal_module
from opentelemetry.instrumentation.mcp_audit.journal.journal import Journal
from opentelemetry.instrumentation.mcp_audit.journal.ticket import Deferred, JournalError, NotDurable

# A machine with work of its own may be late by this, in seconds.
_SLACK = 1.0


def _thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def _hang(trail: Journal, operation: str) -> threading.Thread:
    """Have somebody be the first who finds that the disk hangs in a ``write`` or ``sync``."""
    if operation == "write":
        return _thread(lambda: trail.append(record("first")))
    trail.append(record("first"))
    return _thread(trail._upkeep.tick)


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_what_comes_meanwhile_is_queued_without_touching_the_file(tmp_path: Path, operation: str) -> None:
    said: list[str] = []
    disk = FaultyDisk()
    trail = journal(tmp_path, said.append, fsync_interval=60, deadline=0.2, disk=disk)
    trail.append(record("before"))
    with disk.hanging(operation, name=SEGMENT) as hang:
        stuck = _hang(trail, operation)
        assert hang.entered.wait(10)
        until(trail._stuck)
        asked = len(disk.steps)
        began = time.monotonic()
        for number in range(100):
            with pytest.raises(Deferred, match="the disk hangs; the record is queued"):
                trail.append(record(f"t{number}"))
        assert time.monotonic() - began < _SLACK, "not even the deadline is waited for each"
        assert len(disk.steps) == asked, "nothing was asked of the disk"
    stuck.join(10)
    trail._upkeep.tick()
    trail.append(record("after"))
    trail.close()
    (path,) = segments(tmp_path)
    assert kinds(read(path)) == ["opened", "before", "first", *(f"t{n}" for n in range(100)), "after", "closed"]
    assert (trail.counters.lost, trail.counters.records, said) == (0, 103, [])
    assert verify_paths([tmp_path]).exit_code(strict=True) == 0


def test_none_waits_longer_than_the_deadline(tmp_path: Path) -> None:
    disk = FaultyDisk()
    trail = journal(tmp_path, fsync_interval=60, deadline=0.4, disk=disk)
    trail.append(record("before"))
    waited: list[float] = []

    def call() -> None:
        began = time.monotonic()
        with pytest.raises(Deferred):
            trail.append(record("queued"))
        waited.append(time.monotonic() - began)

    with disk.hanging("write", name=SEGMENT) as hang:
        stuck = _thread(lambda: trail.append(record("first")))
        assert hang.entered.wait(10)
        threads = [_thread(call) for _ in range(16)]
        for thread in threads:
            thread.join(10)
    stuck.join(10)
    assert len(waited) == 16 and max(waited) < 0.4 + _SLACK
    trail.close()
    assert kinds(read(segments(tmp_path)[0])) == ["opened", "before", "first", *["queued"] * 16, "closed"]


def test_what_finds_the_queue_full_is_counted_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(journal_module, "MAX_QUEUED", 20)
    disk = FaultyDisk()
    trail = journal(tmp_path, said.append, fsync_interval=60, deadline=0.1, disk=disk)
    trail.append(record("before"))
    began = time.time_ns()
    with disk.hanging("write", name=SEGMENT) as hang:
        stuck = _hang(trail, "write")
        assert hang.entered.wait(10)
        until(trail._stuck)
        for number in range(20):
            with pytest.raises(Deferred):
                trail.append(record(f"t{number}"))
        for _ in range(7):
            with pytest.raises(JournalError, match="the disk hangs and 20 records wait for it already") as refused:
                trail.append(record("over"))
            assert not isinstance(refused.value, Deferred)
    stuck.join(10)
    trail._upkeep.tick()
    trail.append(record("after"))
    trail.close()
    found = read(segments(tmp_path)[0])
    names = kinds(found)
    assert [name for name in names if name != "gap 7"] == [
        "opened", "before", "first", *(f"t{n}" for n in range(20)), "after", "closed",
    ]  # fmt: skip
    assert names.count("gap 7") == 1
    gap = found[names.index("gap 7")]["facts"]
    assert gap["mcp_audit.gap.reason"] == "the journal was busy and its queue full"
    assert began <= int(gap["mcp_audit.gap.from"]) <= int(gap["mcp_audit.gap.to"]) <= time.time_ns()
    assert trail.counters.lost == 7 and len(said) == 2


def test_a_ticket_says_that_the_disk_did_not_answer_and_later_that_it_did(tmp_path: Path) -> None:
    disk = FaultyDisk()
    trail = journal(tmp_path, fsync_interval=60, deadline=0.1, disk=disk)
    trail.open()
    with disk.hanging("sync", name=SEGMENT) as hang:
        ticket = trail.append(record("one"))
        with pytest.raises(NotDurable) as raised:
            ticket.wait(0.2)
        assert raised.value.reason == "deadline" and hang.entered.is_set()
    ticket.wait(10)
    trail.close()


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_closing_while_the_disk_hangs_says_so_and_returns(tmp_path: Path, operation: str) -> None:
    said: list[str] = []
    disk = FaultyDisk()
    trail = journal(tmp_path, said.append, fsync_interval=60, deadline=0.2, disk=disk)
    trail.append(record("before"))
    with disk.hanging(operation, name=SEGMENT) as hang:
        stuck = _hang(trail, operation)
        assert hang.entered.wait(10)
        until(trail._stuck)
        with pytest.raises(Deferred):
            trail.append(record("queued"))
        began = time.monotonic()
        trail.close()
        assert time.monotonic() - began < 2 + _SLACK
        assert said == [
            "the journal was busy at exit; its last segment has no end record, and whoever starts next adopts it",
            "1 audit records are queued, and lost if the disk does not come back",
        ]
    stuck.join(10)
    trail.close()
    assert kinds(read(segments(tmp_path)[0])) == ["opened", "before", "first", "queued", "closed"]


def test_a_ledger_that_hangs_stops_no_call(tmp_path: Path) -> None:
    """The next segment is prepared by the journal's thread: until then records go into the old one."""
    disk = FaultyDisk()
    trail = journal(tmp_path, segment_bytes=4096, fsync_interval=0.01, deadline=0.2, disk=disk)
    trail.append(record("first"))
    with disk.hanging("sync", name="ledger.jsonl") as hang:
        number = 0
        while not hang.entered.is_set():
            trail.append(record(f"t{number}", size=500))
            number += 1
        began = time.monotonic()
        for _ in range(100):
            trail.append(record(f"t{number}", size=500))
            number += 1
        assert time.monotonic() - began < _SLACK
        assert trail.counters.segments == 1
    until(lambda: trail.counters.segments > 1)
    trail.close()
    found = [name for path in segments(tmp_path) for name in kinds(read(path)) if name[0] == "t"]
    assert found == [f"t{n}" for n in range(number)]
    assert trail.counters.lost == 0


def test_while_the_first_segment_hangs_only_the_first_calls_wait(tmp_path: Path) -> None:
    disk = FaultyDisk()
    trail = journal(tmp_path, fsync_interval=60, deadline=0.3, disk=disk)
    with disk.hanging("sync", name=SEGMENT) as hang:
        stuck = _thread(lambda: trail.append(record("first")))
        assert hang.entered.wait(10)
        until(trail._stuck)
        began = time.monotonic()
        for number in range(20):
            with pytest.raises(Deferred):
                trail.append(record(f"t{number}"))
        assert time.monotonic() - began < _SLACK
    stuck.join(10)
    trail.close()
    assert kinds(read(segments(tmp_path)[0])) == ["opened", "first", *(f"t{n}" for n in range(20)), "closed"]
