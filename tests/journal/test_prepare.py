# SPDX-License-Identifier: Apache-2.0
"""How a segment begins: the order of its steps, and that a step that fails is made good by the next try."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from faulty_disk import LEDGER, SEGMENT, FaultyDisk
from journals import ORIGIN, kinds, read, segments

from opentelemetry.instrumentation.mcp_audit.journal.ledger import Ledger, LedgerError
from opentelemetry.instrumentation.mcp_audit.journal.marker import Marker
from opentelemetry.instrumentation.mcp_audit.journal.marker_contents import read_marker
from opentelemetry.instrumentation.mcp_audit.journal.prepare import Preparer
from opentelemetry.instrumentation.mcp_audit.journal.waiting import Commits

_ERROR = OSError(5, "Input/output error")


class _Prepared:
    """A Preparer and what it works with."""

    def __init__(self, directory: Path) -> None:
        self.disk = FaultyDisk()
        self.ledger = Ledger(directory, self.disk, ORIGIN.scope_name, ORIGIN.scope_version, print)
        self.marker = Marker(directory, self.disk, print)
        self.commits = Commits(lambda: False, lambda: None, lambda: False)
        self.preparer = Preparer(directory, ORIGIN, self.disk, self.ledger, self.marker, self.commits)


def test_every_step_is_on_the_disk_before_the_next(tmp_path: Path) -> None:
    with_parts = _Prepared(tmp_path)
    made = with_parts.preparer.prepare(1).segment
    calls = f"{made.stream_id}.calls"
    steps = [(step.operation, step.name) for step in with_parts.disk.steps]
    expected = [
        ("replace", calls),
        ("create", made.path.name),
        ("lock", made.path.name),
        ("write", made.path.name),
        ("sync", made.path.name),
        ("sync_directory", tmp_path.name),
        ("write_at", calls),
        ("write", LEDGER),
        ("sync", LEDGER),
    ]
    rest = iter(steps)
    assert all(step in rest for step in expected), steps
    assert kinds(read(made.path)) == ["opened"]
    (entry,) = with_parts.ledger.backwards()
    assert (entry.kind, entry.file, entry.count, entry.head) == ("opened", made.path.name, 1, made.head)
    header = read_marker(tmp_path / calls).header
    assert header is not None and header.stream == made.stream_id
    assert with_parts.commits.outcome(made.stream_id, 1) is True


def test_each_directory_that_it_makes_is_on_the_disk_before_what_stands_in_it(tmp_path: Path) -> None:
    above, directory = tmp_path / "above", tmp_path / "above" / "journal"
    with_parts = _Prepared(directory)
    with_parts.preparer.prepare(1)
    steps = [(step.operation, step.name) for step in with_parts.disk.steps]
    assert steps[:6] == [
        *(("make_directory", tmp_path.name), ("sync_directory", tmp_path.parent.name)),
        *(("make_directory", above.name), ("sync_directory", tmp_path.name)),
        *(("make_directory", directory.name), ("sync_directory", above.name)),
    ]
    assert directory.stat().st_mode & 0o777 == above.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_somebody_made_may_not_be_on_the_disk_yet(tmp_path: Path) -> None:
    with_parts = _Prepared(tmp_path)
    for _ in range(2):
        with_parts.preparer.prepare(1)
    assert len(with_parts.disk.asked("sync_directory", tmp_path.parent.name)) == 1, "once for a process"


def test_what_is_above_may_be_closed_to_us(tmp_path: Path) -> None:
    directory = tmp_path / "journal"
    with_parts = _Prepared(directory)
    error = PermissionError(13, "Permission denied")
    with with_parts.disk.raising(error, "sync_directory", name=tmp_path.name):
        with pytest.raises(PermissionError):
            with_parts.preparer.prepare(1)
        # Now it is there, and whether it is on the disk is for who made it to see to.
        made = with_parts.preparer.prepare(1)
    assert kinds(read(made.segment.path)) == ["opened"]


def test_the_next_one_names_the_one_before_and_the_marker_follows(tmp_path: Path) -> None:
    with_parts = _Prepared(tmp_path)
    first, second = with_parts.preparer.prepare(1), with_parts.preparer.prepare(1)
    second.over = True
    third = with_parts.preparer.prepare(1)
    assert [path.name for path in tmp_path.glob("*.calls")] == [f"{first.segment.stream_id}.calls"]
    header = read_marker(tmp_path / f"{first.segment.stream_id}.calls").header
    assert header is not None and header.stream == third.segment.stream_id
    of_second, of_third = (read(one.segment.path)[0]["facts"] for one in (second, third))
    assert of_second["mcp_audit.stream.previous_id"] == first.segment.stream_id
    assert "mcp_audit.stream.previous_hash" not in of_second, "something may follow in the one before"
    assert of_third["mcp_audit.stream.previous_id"] == second.segment.stream_id
    assert of_third["mcp_audit.stream.previous_hash"] == second.segment.head


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        ("create", "*.calls.new"),
        ("create", SEGMENT),
        ("lock", SEGMENT),
        ("write", SEGMENT),
        ("sync", SEGMENT),
        ("sync_directory", "*"),
        ("write_at", "*.calls"),
    ],
)
def test_what_fails_before_the_ledger_knows_leaves_no_segment(tmp_path: Path, operation: str, name: str) -> None:
    with_parts = _Prepared(tmp_path)
    descriptors = len(os.listdir("/proc/self/fd"))
    with with_parts.disk.raising(_ERROR, operation, name=name) as fault, pytest.raises(OSError, match="Input/output"):
        with_parts.preparer.prepare(1)
    assert fault.hits >= 1
    assert [path for path in tmp_path.glob("*.jsonl") if path.name != LEDGER] == []
    assert list(with_parts.ledger.backwards()) == []
    made = with_parts.preparer.prepare(1)
    assert "mcp_audit.stream.previous_id" not in read(made.segment.path)[0]["facts"], "that one never was"
    made.segment.close()
    with_parts.marker.close()
    assert len(os.listdir("/proc/self/fd")) == descriptors


@pytest.mark.parametrize(("operation", "name"), [("write", LEDGER), ("sync", LEDGER), ("lock", "ledger.lock")])
def test_a_segment_that_the_ledger_did_not_take_is_registered_at_the_next_try(
    tmp_path: Path, operation: str, name: str
) -> None:
    with_parts = _Prepared(tmp_path)
    for _ in range(3):
        with with_parts.disk.raising(_ERROR, operation, name=name), pytest.raises(OSError, match="Input/output"):
            with_parts.preparer.prepare(1)
    (waiting,) = segments(tmp_path)
    made = with_parts.preparer.prepare(1)
    assert made.segment.path == waiting and segments(tmp_path) == [waiting]
    assert [entry.file for entry in with_parts.ledger.backwards()] == [waiting.name]
    assert len(with_parts.disk.asked("create", SEGMENT)) == 1


def test_a_ledger_that_is_locked_bounds_the_wait(tmp_path: Path) -> None:
    with_parts, other = _Prepared(tmp_path), FaultyDisk()
    held = other.create(tmp_path / "ledger.lock", append=False)
    assert other.lock(held)
    with pytest.raises(LedgerError, match=r"was held by another process for 0\.05 s"):
        with_parts.preparer.prepare(0.05)
    other.close(held)
    with_parts.preparer.prepare(0.05)


def test_another_thread_at_it_bounds_the_wait(tmp_path: Path) -> None:
    with_parts = _Prepared(tmp_path)
    with with_parts.disk.hanging("sync", name=SEGMENT) as hang:
        first = threading.Thread(target=with_parts.preparer.prepare, args=(1,))
        first.start()
        assert hang.entered.wait(10)
        with pytest.raises(OSError, match=r"another thread has been opening a segment for 0\.05 s"):
            with_parts.preparer.prepare(0.05)
    first.join(10)


def test_closing_lets_go_of_what_the_ledger_never_took(tmp_path: Path) -> None:
    with_parts = _Prepared(tmp_path)
    with with_parts.disk.raising(_ERROR, "write", name=LEDGER), pytest.raises(OSError):
        with_parts.preparer.prepare(1)
    with_parts.preparer.close()
    with_parts.preparer.close()
    (path,) = segments(tmp_path)
    descriptor = with_parts.disk.open(path, append=True)
    assert with_parts.disk.lock(descriptor), "its lock is free"
    with_parts.disk.close(descriptor)
