# SPDX-License-Identifier: Apache-2.0
"""How a segment ends: synced, told to the ledger, let go, in this order; what fails is done at the next try."""

from __future__ import annotations

from pathlib import Path

import pytest
from faulty_disk import LEDGER, FaultyDisk
from journals import ORIGIN

from opentelemetry.instrumentation.mcp_audit.journal import events, platform, segment
from opentelemetry.instrumentation.mcp_audit.journal.ledger import Entry, Ledger
from opentelemetry.instrumentation.mcp_audit.journal.retire import Retired
from opentelemetry.instrumentation.mcp_audit.journal.segment import Segment, SyncFailed
from opentelemetry.instrumentation.mcp_audit.journal.stream import Writing
from opentelemetry.instrumentation.mcp_audit.journal.waiting import Commits
from opentelemetry.instrumentation.mcp_audit.record.encode import encode

_ERROR = OSError(5, "Input/output error")


class _Parts:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.disk = FaultyDisk()
        self.ledger = Ledger(directory, self.disk, ORIGIN.scope_name, ORIGIN.scope_version, print)
        self.commits = Commits(lambda: False, lambda: None, lambda: False)
        self.retired = Retired(self.ledger, self.commits)

    def over(self, place: int, ended: bool = True) -> Segment:
        """A segment of three records, the first of them synced, that takes no more."""
        made = segment.create(self.directory, f"6f1d1c1e-0000-4000-8000-{place:012}", self.disk)
        envelope, opened = ORIGIN.begin(made.stream_id, made.path.name, None)
        writing = Writing(made, envelope)
        writing.write(encode(opened))
        made.sync()
        self.commits.advanced(made.stream_id, 1)
        writing.write(encode(events.turned("instrumented", "p", "s")))
        writing.end()
        self.retired.add(made, ended)
        return made

    def entries(self) -> list[Entry]:
        return list(self.ledger.backwards())[::-1]


def test_it_is_synced_then_closed_in_the_ledger_then_let_go(tmp_path: Path) -> None:
    parts = _Parts(tmp_path)
    made = parts.over(1)
    assert bool(parts.retired)
    parts.disk.steps.clear()
    parts.retired.settle(1)
    assert not parts.retired
    of_interest = [(step.operation, step.name) for step in parts.disk.steps if step.name in (made.path.name, LEDGER)]
    assert of_interest[0] == ("sync", made.path.name) and of_interest[-1] == ("close", made.path.name)
    assert of_interest.index(("write", LEDGER)) > 0
    (entry,) = parts.entries()
    assert entry == Entry("closed", made.stream_id, made.path.name, 3, made.head, None, None, entry.time)
    assert parts.commits.outcome(made.stream_id, 3) is True


@pytest.mark.parametrize("torn", [0, 7])
def test_one_that_was_given_up_is_adopted_by_its_own_process(tmp_path: Path, torn: int) -> None:
    parts = _Parts(tmp_path)
    made = parts.over(1, ended=False)
    with made.path.open("ab") as file:
        file.write(b"x" * torn)
    parts.retired.settle(1)
    (entry,) = parts.entries()
    boot = platform.boot_id()
    assert entry == Entry("adopted", made.stream_id, made.path.name, 3, made.head, "sealed", boot, entry.time)
    assert f'"mcp_audit.stream.torn_bytes","value":{{"intValue":"{torn}"}}' in parts.ledger.path.read_text()


def test_they_are_settled_in_the_order_in_which_they_were_over(tmp_path: Path) -> None:
    parts = _Parts(tmp_path)
    made = [parts.over(place, ended=place != 2) for place in range(1, 5)]
    parts.retired.settle(1)
    assert [(entry.kind, entry.file) for entry in parts.entries()] == [
        ("adopted" if place == 2 else "closed", one.path.name) for place, one in enumerate(made, 1)
    ]


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_what_the_ledger_does_not_take_waits_and_is_told_once(tmp_path: Path, operation: str) -> None:
    parts = _Parts(tmp_path)
    made = [parts.over(1), parts.over(2)]
    for _ in range(3):
        with parts.disk.raising(_ERROR, operation, name=LEDGER), pytest.raises(OSError, match="Input/output"):
            parts.retired.settle(1)
        assert parts.retired
    parts.retired.settle(1)
    assert [entry.file for entry in parts.entries()] == [one.path.name for one in made]
    assert [len(parts.disk.asked("sync", one.path.name)) for one in made] == [2, 2], "once at first, once at the end"


def test_a_sync_that_fails_is_told_and_never_asked_again(tmp_path: Path) -> None:
    parts = _Parts(tmp_path)
    made = parts.over(1)
    with (
        parts.disk.raising(_ERROR, "sync", name=made.path.name),
        pytest.raises(SyncFailed, match=f"{made.path.name} may lack its numbers 2 to 3 on the disk"),
    ):
        parts.retired.settle(1)
    outcome = parts.commits.outcome(made.stream_id, 2)
    assert isinstance(outcome, str) and "Input/output error" in outcome
    assert parts.commits.outcome(made.stream_id, 1) is True
    parts.retired.settle(1)
    assert len(parts.disk.asked("sync", made.path.name)) == 2
    (entry,) = parts.entries()
    assert (entry.kind, entry.reason, entry.count) == ("adopted", "sealed", 3)
    assert isinstance(parts.commits.outcome(made.stream_id, 3), str)


def test_what_still_waits_is_let_go_for_whoever_adopts_it(tmp_path: Path) -> None:
    parts = _Parts(tmp_path)
    made = parts.over(1)
    parts.retired.close()
    assert not parts.retired and parts.entries() == []
    descriptor = parts.disk.open(made.path, append=True)
    assert parts.disk.lock(descriptor)
    parts.disk.close(descriptor)
