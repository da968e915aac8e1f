# SPDX-License-Identifier: Apache-2.0
"""When a segment follows another, and when and by whom what was written is synced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from faulty_disk import SEGMENT, FaultyDisk
from journals import journal, kinds, read, record, segments, until

from opentelemetry.instrumentation.mcp_audit.integrity.verify import verify_paths
from opentelemetry.instrumentation.mcp_audit.journal.ticket import NotDurable


def _names(files: list[list[dict[str, Any]]]) -> list[str]:
    return [name for found in files for name in kinds(found) if name[0] == "t"]


def test_rotation_by_size(tmp_path: Path) -> None:
    trail = journal(tmp_path, segment_bytes=8192, fsync_interval=60)
    for number in range(40):
        trail.append(record(f"t{number}", size=500))
        trail._upkeep.tick()
    trail.close()
    files = [read(path) for path in segments(tmp_path)]
    assert len(files) > 3 and trail.counters.segments == len(files)
    assert _names(files) == [f"t{n}" for n in range(40)]
    for found in files:
        assert kinds(found)[0] == "opened" and kinds(found)[-1] == "closed"
    for before, after in zip(files, files[1:], strict=False):
        assert after[0]["facts"]["mcp_audit.stream.previous_id"] == before[0]["facts"]["audit.sequence.stream_id"]
        assert "mcp_audit.stream.previous_hash" not in after[0]["facts"], "made while the one before was still written"
        assert int(after[0]["timeUnixNano"]) <= int(before[-1]["timeUnixNano"])
    for path in segments(tmp_path)[:-1]:
        *others, crossing, _closed = path.read_bytes().splitlines(keepends=True)
        size = sum(map(len, others))
        assert size < 8192 <= size + len(crossing), "a segment ends with the first record over the size"
    entries = [(entry.kind, entry.file, entry.count, entry.head) for entry in trail._ledger.backwards()]
    expected = []
    for path, found in zip(segments(tmp_path), files, strict=True):
        expected.append(("opened", path.name, 1, found[0]["facts"]["mcp_audit.record.hash"]))
        expected.append(("closed", path.name, len(found), found[-1]["facts"]["mcp_audit.record.hash"]))
    assert sorted(entries) == sorted(expected)
    # The next one is known before the one before it is over.
    assert [entry[0] for entry in entries[::-1]] == ["opened", *["opened", "closed"] * (len(files) - 1), "closed"]


def test_rotation_under_load_loses_nothing_and_no_call_waits_for_it(tmp_path: Path) -> None:
    """The size is a soft limit: while the journal's thread prepares the next segment, records go on into this one."""
    disk = FaultyDisk()
    trail = journal(tmp_path, segment_bytes=8192, fsync_interval=0.01, disk=disk)
    for number in range(300):
        trail.append(record(f"t{number}", size=500))
    until(lambda: trail.counters.segments > 1)
    trail.append(record("t300"))
    trail.close()
    files = [read(path) for path in segments(tmp_path)]
    assert _names(files) == [f"t{n}" for n in range(301)]
    assert len(files) > 1
    made = [step.thread for step in disk.asked("create", SEGMENT)]
    assert made == ["MainThread", *["mcp-audit-journal"] * (len(files) - 1)]
    assert verify_paths([tmp_path]).exit_code(strict=True) == 0


def test_rotation_by_age_but_never_of_an_empty_segment(tmp_path: Path) -> None:
    trail = journal(tmp_path, segment_seconds=0.0, fsync_interval=60)
    trail.open()
    for _ in range(3):
        trail._upkeep.tick()
    assert trail.counters.segments == 1
    for number in range(2):
        trail.append(record(f"t{number}"))
        trail._upkeep.tick()
    trail.close()
    assert [kinds(read(path)) for path in segments(tmp_path)] == [
        ["opened", "t0", "closed"],
        ["opened", "t1", "closed"],
        ["opened", "closed"],
    ]


def _syncs(disk: FaultyDisk) -> list[str]:
    """Who synced a segment, in order. (The ledger and the marker are synced as well.)"""
    return [step.thread for step in disk.asked("sync", SEGMENT)]


def test_fsync_always_commits_every_record_at_once_in_the_journals_thread(tmp_path: Path) -> None:
    disk = FaultyDisk()
    trail = journal(tmp_path, fsync="always", fsync_interval=60, disk=disk)
    for number in range(10):
        ticket = trail.append(record())
        until(lambda: trail._commits.outcome(ticket.stream_id, ticket.number) is True)  # noqa: B023
        assert len(_syncs(disk)) == 2 + number, "one for the first record of the segment, one for each append"
    trail.close()
    assert _syncs(disk) == ["MainThread", *["mcp-audit-journal"] * 10, "MainThread"]


def test_fsync_always_does_not_sync_inside_append(tmp_path: Path) -> None:
    disk = FaultyDisk()
    trail = journal(tmp_path, fsync="always", fsync_interval=60, disk=disk)
    trail.open()
    with disk.hanging("sync", name=SEGMENT) as hang:
        ticket = trail.append(record())
        assert hang.entered.wait(10), "though nobody waits for the ticket"
        with pytest.raises(NotDurable, match="deadline"):
            ticket.wait(0.01)
    ticket.wait(10)
    trail.close()


def test_fsync_never_leaves_it_to_the_system_unless_somebody_waits(tmp_path: Path) -> None:
    disk = FaultyDisk()
    ticks: list[int] = []
    trail = journal(tmp_path, fsync="never", fsync_interval=0.01, disk=disk)
    trail.after_tick = lambda: ticks.append(len(_syncs(disk)))
    for _ in range(10):
        ticket = trail.append(record())
    until(lambda: bool(ticks))
    assert _syncs(disk) == ["MainThread"], "only the first record of the segment"
    ticket.wait(10)
    assert _syncs(disk) == ["MainThread", "mcp-audit-journal"]
    trail.append(record())
    trail.close()
    assert len(_syncs(disk)) == 3, "before the ledger says that it is closed"


def test_fsync_interval_syncs_a_burst_once_in_the_journals_thread(tmp_path: Path) -> None:
    disk = FaultyDisk()
    ticks: list[int] = []
    trail = journal(tmp_path, fsync="interval", fsync_interval=0.8, disk=disk)
    trail.after_tick = lambda: ticks.append(len(_syncs(disk)))
    for _ in range(100):
        trail.append(record())
    until(lambda: bool(ticks))
    assert len(_syncs(disk)) <= 3, "the segment's first record, then one or two groups"
    assert set(_syncs(disk)[1:]) == {"mcp-audit-journal"}
    trail.close()
