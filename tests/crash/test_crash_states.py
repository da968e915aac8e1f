# SPDX-License-Identifier: Apache-2.0
"""A share of the crash campaign (``campaign.py``): every history, some of its states, chosen by MCP_AUDIT_TEST_SEED.

A second part breaks the journal on purpose: a journal that is broken on purpose must be found out.

And that the campaign has teeth: a journal that leaves out a step which it owes is found out.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
from disk_log import Create, Log, Mark, Operation, Recording, Sync, Truncate, Unlink, Write
from histories import HISTORIES, Script, record
from images import power_cuts
from processes import Machine
from states import Plan, explore
from truth import Truth
from wandering import wandering

from opentelemetry.instrumentation.mcp_audit.journal.adopter import Adopter
from opentelemetry.instrumentation.mcp_audit.journal.answer import Answering
from opentelemetry.instrumentation.mcp_audit.journal.prune import Pruner
from opentelemetry.instrumentation.mcp_audit.journal.retire import Retired, _entry
from opentelemetry.instrumentation.mcp_audit.journal.segment import Segment
from opentelemetry.instrumentation.mcp_audit.record.attributes import STREAM_FILE
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord

SEED = int(os.environ.get("MCP_AUDIT_TEST_SEED", "20261124"))
SHARE = Plan(cap=5, share=0.12, nested=0.05, nested_cap=8)
# Of these, power cuts at each prefix: what a left out sync costs shows in few states.
TEETH = Plan(cap=12, share=1.0, nested=0.0)


@pytest.mark.parametrize("name", [name for name in HISTORIES if name != "new_directory"])
def test_the_journal_comes_back_from_every_state(tmp_path: Path, name: str) -> None:
    figures = explore(record(HISTORIES[name], SEED), tmp_path, SEED, SHARE)
    assert figures.problems == []
    assert figures.kinds["killed"] and figures.kinds["disorder"]


def test_a_directory_that_the_journal_makes_survives_a_power_cut(tmp_path: Path) -> None:
    """Not only its entries must be on the disk but the name of the directory itself, in the one above."""
    figures = explore(record(HISTORIES["new_directory"], SEED), tmp_path, SEED, TEETH)
    assert figures.problems == []


def test_a_torn_tail_that_is_set_aside_survives_a_power_cut(tmp_path: Path) -> None:
    """At every moment it is in the segment or in quarantine, whose own name must be on the disk before anything is cut."""
    torn = b'{"torn'

    def history(script: Script) -> None:
        process = script.process()
        process.calls(1)
        segment = process.journal.path
        assert segment is not None
        process.die()
        hand = Recording(script.log)
        descriptor = hand.open(segment, append=True)
        hand.write(descriptor, torn)
        hand.sync(descriptor)
        hand.close(descriptor)
        script.log.mark("durable", "torn")
        heir = script.process()
        heir.adopt()
        heir.close()

    log = record(history, SEED)
    since = log.operations.index(Mark("durable", "torn"))
    lost = [
        image.what + f" after operation {image.prefix}: {log.operations[image.prefix - 1]}"
        for image in power_cuts(log, random.Random(SEED), cap=24)
        if image.prefix > since and not any(torn in data for data in image.files.values())
    ]
    assert lost == []


@pytest.mark.parametrize("turn", range(3))
def test_histories_by_chance(tmp_path: Path, turn: int) -> None:
    figures = explore(record(wandering(SEED + turn), SEED), tmp_path, SEED, SHARE)
    assert figures.problems == []
    assert figures.states


def test_a_history_is_the_same_again() -> None:
    def shape(log: Log) -> list[str]:
        return [type(each).__name__ for each in log.operations]

    assert shape(record(wandering(SEED), SEED)) == shape(record(wandering(SEED), SEED))


def _found_out(tmp_path: Path, name: str, since: float, words: str) -> bool:
    """Whether a state of the history has a problem with these words; looked for from some way through it on."""
    log = record(HISTORIES[name], 1)
    plan = replace(TEETH, first=int(since * len(log.operations)))
    return any(words in problem for problem in explore(log, tmp_path, 1, plan, words).problems)


def test_directories_that_are_not_synced_are_found_out(tmp_path: Path) -> None:
    with mock.patch.object(Recording, "sync_directory", lambda disk, path: None):
        assert _found_out(tmp_path, "one_life", 0.4, "missing")


def test_segments_that_are_not_synced_are_found_out(tmp_path: Path) -> None:
    def sync(segment: Segment) -> int:
        segment.synced = segment.count
        return segment.count

    with mock.patch.object(Segment, "sync", sync):
        assert _found_out(tmp_path, "always_synced", 0.5, "missing")


def test_a_ledger_that_says_closed_before_the_end_is_on_the_disk_is_found_out(tmp_path: Path) -> None:
    right = Retired.settle

    def settle(retired: Retired, timeout: float) -> None:
        for over in retired._waiting:
            retired._ledger.append(_entry(over), timeout=timeout)
        right(retired, timeout)

    with mock.patch.object(Retired, "settle", settle):
        assert _found_out(tmp_path, "one_life", 0.8, "the ledger says closed with")


def test_a_segment_that_is_deleted_before_the_ledger_says_pruned_is_found_out(tmp_path: Path) -> None:
    right = Pruner._tell

    def tell(pruner: Pruner, *entries: AuditRecord) -> None:
        for entry in entries:
            pruner._disk.unlink(pruner._directory / str(entry.attributes[STREAM_FILE]))
        right(pruner, *entries)

    with mock.patch.object(Pruner, "_tell", tell):
        assert _found_out(tmp_path, "pruning", 0.6, "is missing and not pruned")


def test_two_lines_of_the_ledger_in_one_write_are_found_out(tmp_path: Path) -> None:
    right = Recording.write
    held: list[bytes] = []

    def write(disk: Recording, descriptor: int, data: bytes) -> int:
        if b'"ledger.jsonl"' in data:
            held.append(data)
            return len(data)
        before = held.pop() if held else b""
        return right(disk, descriptor, before + data) - len(before)

    with mock.patch.object(Recording, "write", write):
        assert _found_out(tmp_path, "one_life", 0.2, "lines behind number 0 that do not follow it")


def test_an_adopter_that_does_not_wait_is_found_out(tmp_path: Path) -> None:
    with mock.patch.object(Adopter, "_durable", lambda adopter: None):
        assert _found_out(tmp_path, "adoption", 0.6, "abandoned")


def test_an_adopter_that_does_not_look_for_outcomes_is_found_out(tmp_path: Path) -> None:
    with mock.patch.object(Answering, "_recorded", lambda answering, segments, wanted: set()):
        assert _found_out(tmp_path, "calls_in_flight", 0.5, "2 records of the id")


def test_what_is_owed() -> None:
    def line(record_id: str, detail: str) -> bytes:
        attributes = f'{{"key":"audit.record.id","value":{{"stringValue":"{record_id}"}}}}'
        attributes += f',{{"key":"mcp_audit.outcome.detail","value":{{"stringValue":"{detail}"}}}}'
        found = f'{{"eventName":"mcp_audit.tool_call","attributes":[{attributes}]}}'
        return f'{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{found}]}}]}}]}}\n'.encode()

    one, two, three = line("one", "ok"), line("two", "error"), line("three", "ok")
    steps: list[tuple[Operation, dict[str, str], set[str], dict[str, str]]] = [
        (Create("journal/a.jsonl", 1), {}, set(), {}),
        (Mark("began", "one"), {}, {"one"}, {}),
        (Mark("ending", "one"), {}, {"one"}, {}),
        (Write(1, 0, one, True), {"one": "ok"}, set(), {}),
        (Mark("began", "two"), {"one": "ok"}, {"two"}, {}),
        (Sync(1), {"one": "ok"}, {"two"}, {"one": "ok"}),
        (Write(1, len(one), two, True), {"one": "ok", "two": "error"}, set(), {"one": "ok"}),
        (Sync(1, done=False), {"one": "ok", "two": "error"}, set(), {"one": "ok"}),
        (Sync(1), {"one": "ok", "two": "error"}, set(), {"one": "ok"}),
        (Truncate(1, len(one)), {"one": "ok"}, {"two"}, {"one": "ok"}),
        (Mark("lost", "two"), {"one": "ok"}, {"two"}, {"one": "ok"}),
        (Write(1, len(one), three[:-5], True), {"one": "ok"}, {"two"}, {"one": "ok"}),
        (Mark("durable", "three"), {"one": "ok"}, {"two"}, {"one": "ok", "three": "abandoned"}),
        (Unlink("journal/a.jsonl"), {}, {"two"}, {"three": "abandoned"}),
    ]
    truth = Truth()
    for operation, killed, abandoned, cut in steps:
        truth.apply(operation)
        assert truth.after_kill().once == killed, operation
        assert set(truth.after_kill().abandoned) == abandoned, operation
        assert truth.after_power_cut().once == cut, operation


def test_a_machine_gives_back_what_it_took() -> None:
    before = os.getpid()
    with Machine(1).running() as machine:
        machine.pid = 7
        assert os.getpid() == 7
    assert os.getpid() == before
