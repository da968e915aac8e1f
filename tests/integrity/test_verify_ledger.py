# SPDX-License-Identifier: Apache-2.0
"""The table of the format's section 6, row by row: directories held against their ledger (all made by the oracle)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ledgers import Ledger, ended, ledger_of, rechain
from trail_oracle import BOOT, Trail, attribute, sample

from opentelemetry.instrumentation.mcp_audit.integrity import directory as directory_module
from opentelemetry.instrumentation.mcp_audit.integrity.report import Report
from opentelemetry.instrumentation.mcp_audit.integrity.verify import verify_paths

SECOND = "6f1d1c1e-0000-4000-8000-000000000002"
MISSING = "and never says that it was pruned"


def check(path: Path, boot: str = BOOT) -> Report:
    return verify_paths([path], boot_id=boot)


def said(report: Report) -> list[tuple[str, str]]:
    return [(found.kind, found.sentence) for found in report.all_findings()]


def one_says(report: Report, kind: str, words: str) -> bool:
    return any(found == kind and words in sentence for found, sentence in said(report))


def opened(calls: int = 3, **kwargs: Any) -> Trail:
    trail = Trail(**kwargs)
    for _ in range(calls):
        trail.call()
    return trail


def test_a_directory_that_was_closed_well(tmp_path: Path) -> None:
    first, second = sample(3), sample(2, stream=SECOND, seed=2)
    for trail in (first, second, ledger_of(first, second)):
        trail.write(tmp_path)
    report = check(tmp_path)
    assert said(report) == []
    assert report.exit_code(strict=True) == 0
    assert [(stream.ledger, stream.records) for stream in report.streams] == [(True, 5), (False, 5), (False, 4)]
    assert report.records == 14
    assert report.streams[0].first_hash is not None and report.streams[0].last_number == 5


# --- what is a note ----------------------------------------------------------------------------------------------------


def only_first_record(directory: Path) -> None:
    sample(1).write(directory)
    Trail(stream=SECOND, seed=2).write(directory)
    ledger_of(sample(1)).write(directory)


def torn_first_record(directory: Path) -> None:
    sample(1).write(directory)
    ledger_of(sample(1)).write(directory)
    prepared = Trail(stream=SECOND, seed=2)
    prepared.write(directory, [prepared.lines()[0][:300]])


def zeros_in_the_first_record(directory: Path) -> None:
    sample(1).write(directory)
    ledger_of(sample(1)).write(directory)
    prepared = Trail(stream=SECOND, seed=2)
    prepared.write(directory, [b"\0" * 300 + prepared.lines()[0][300:]])


def empty_file(directory: Path) -> None:
    sample(1).write(directory)
    ledger_of(sample(1)).write(directory)
    (directory / Trail(stream=SECOND, seed=2).name).touch()


def end_without_closed(directory: Path) -> None:
    trail = sample(2)
    trail.write(directory)
    Ledger().opened(trail).write(directory)


def pruned_and_still_there(directory: Path) -> None:
    trail = sample(2)
    trail.write(directory)
    ledger_of(trail).pruned(trail).write(directory)


def empty_ledger(directory: Path) -> None:
    Trail().write(directory)
    (directory / "ledger.jsonl").touch()


def torn_first_line_of_the_ledger(directory: Path) -> None:
    Trail().write(directory)
    ledger = Ledger()
    ledger.write(directory, [ledger.lines()[0][:200]])


def torn_last_line_of_the_ledger(directory: Path) -> None:
    trail = sample(1)
    trail.write(directory)
    lines = ledger_of(trail).lines()
    Ledger().write(directory, [*lines[:-1], lines[-1][:100]])


def zeros_in_the_last_line_of_the_ledger(directory: Path) -> None:
    trail = sample(1)
    trail.write(directory)
    lines = ledger_of(trail).lines()
    Ledger().write(directory, [*lines[:-1], lines[-1][:100] + b"\0" * 200 + b"\n"])


def torn_tail(directory: Path) -> None:
    trail = opened()
    trail.write(directory, [*trail.lines(), b'{"resourceLogs":['])
    Ledger().opened(trail).write(directory)


def open_tail(directory: Path) -> None:
    trail = opened()
    trail.write(directory)
    Ledger().opened(trail).write(directory)


def open_calls(directory: Path) -> None:
    trail = sample(1)
    trail.write(directory)
    ledger_of(trail).write(directory)
    slots = [b"MCA1header", b"MCA1call", b"\0" * 8, b"MCA1call"]
    (directory / f"{trail.stream}.calls").write_bytes(b"".join(slot.ljust(1024, b"\0") for slot in slots))


def the_same_entry_twice(directory: Path) -> None:
    trail = sample(1)
    trail.write(directory)
    Ledger().opened(trail).opened(trail).closed(trail).closed(trail).write(directory)


def closed_and_adopted_alike(directory: Path) -> None:
    trail = sample(1)
    trail.write(directory)
    Ledger().opened(trail).adopted(trail, "ended").closed(trail).write(directory)


def sealed_and_then_lost(directory: Path) -> None:
    trail = opened(5)
    trail.write(directory, trail.lines()[:4])
    Ledger().opened(trail).adopted(trail, "sealed").write(directory)


NOTES: dict[str, tuple[Callable[[Path], None], str]] = {
    "unknown, only a first record": (only_first_record, "the ledger does not have this file: its process got no"),
    "unknown, torn first record": (torn_first_record, "the ledger does not have this file: its process got no"),
    "unknown, zeros in the first record": (zeros_in_the_first_record, "the ledger does not have this file: its pro"),
    "unknown, empty": (empty_file, "the ledger does not have this file: its process got no"),
    "end without closed": (end_without_closed, "it has its end record, but the ledger does not say so yet"),
    "pruned, still there": (pruned_and_still_there, "has it as pruned, but the file is still there"),
    "empty ledger": (empty_ledger, "the file is empty"),
    "torn first line of the ledger": (torn_first_line_of_the_ledger, "torn tail: the last line is unfinished"),
    "torn last line of the ledger": (torn_last_line_of_the_ledger, "torn tail: the last line is unfinished"),
    "zeros in the last line of the ledger": (zeros_in_the_last_line_of_the_ledger, "torn tail: not JSON"),
    "torn tail": (torn_tail, "torn tail: the last line is unfinished"),
    "open tail": (open_tail, "no end record: its writer lives"),
    "open calls": (open_calls, "2 calls open: in flight, or cut off with their process"),
    "the same entry twice": (the_same_entry_twice, "the stream was opened in line 2 already: the same again"),
    "closed and adopted alike": (closed_and_adopted_alike, "the stream was adopted in line 3 already: the same again"),
    "sealed, its last records lost": (sealed_and_then_lost, "it holds 4 whole records: the ledger (line 3, adopted)"),
}


@pytest.mark.parametrize("row", NOTES)
def test_this_is_a_note(tmp_path: Path, row: str) -> None:
    make, words = NOTES[row]
    make(tmp_path)
    report = check(tmp_path)
    assert {found.kind for found in report.all_findings()} == {"note"}
    assert report.exit_code() == 0
    assert one_says(report, "note", words), said(report)


def test_holes_of_a_power_cut(tmp_path: Path) -> None:
    trail = opened(6)
    lines = trail.lines()
    trail.write(tmp_path, [*lines[:4], b"\0" * 500 + b"\n", *lines[5:]])
    ledger = Ledger().opened(trail)
    ledger.write(tmp_path)
    assert check(tmp_path).exit_code() == 1
    assert check(tmp_path, boot="another").exit_code() == 0
    # The adopter counted what stands before the hole; from then on it is known where the stream ends.
    ledger.adopted(trail, "power", count=4).write(tmp_path)
    assert check(tmp_path).exit_code() == check(tmp_path, boot="another").exit_code() == 0
    Ledger().opened(trail).adopted(trail, "power", count=3).write(tmp_path)
    assert one_says(check(tmp_path), "violation", "it holds 4 records")
    # An adopter of the same boot, or a writer that closed, has seen it whole.
    Ledger().opened(trail).adopted(trail, "killed", count=4).write(tmp_path)
    assert check(tmp_path, boot="another").exit_code() == 1
    Ledger().opened(trail).closed(trail).write(tmp_path)
    assert check(tmp_path, boot="another").exit_code() == 1


def test_a_record_behind_a_hole_is_no_second_one_of_its_call(tmp_path: Path) -> None:
    """Its call was told as abandoned by the adopter, who did not count it either."""
    trail = opened(6)
    lines = trail.lines()
    trail.write(tmp_path, [*lines[:3], b"\0" * 500 + b"\n", *lines[4:]])
    adopter = Trail(stream=SECOND, seed=2)
    adopter.call()
    behind = attribute(trail.records[5], "audit.record.id")["stringValue"]
    attribute(adopter.records[1], "audit.record.id")["stringValue"] = behind
    rechain(adopter)
    adopter.write(tmp_path)
    Ledger().opened(trail).adopted(trail, "sealed").opened(adopter).write(tmp_path)
    report = check(tmp_path)
    assert report.exit_code() == 0, said(report)
    # Without a hole it is one call with two outcomes.
    trail.write(tmp_path)
    assert one_says(check(tmp_path), "violation", "with other content under number 2")


def test_an_end_behind_a_hole_was_not_on_the_disk_for_sure(tmp_path: Path) -> None:
    trail = sample(6)
    lines = trail.lines()
    path = trail.write(tmp_path, [*lines[:4], b"\0" * 500 + b"\n", *lines[5:]])
    Ledger().opened(trail).write(tmp_path)
    report = check(tmp_path, boot="another")
    assert (report.exit_code(), report.streams[1].ended, report.streams[1].records) == (0, False, 4)
    assert check(tmp_path).exit_code() == 1
    ledger_of(trail).write(tmp_path)
    assert check(tmp_path, boot="another").exit_code() == 1
    (tmp_path / "ledger.jsonl").unlink()
    assert check(path, boot="another").exit_code() == 1  # without a ledger nothing explains an end record


def test_what_is_pruned_is_not_missed(tmp_path: Path) -> None:
    first = sample(2)
    second = sample(2, stream=SECOND, seed=2, previous=first)
    second.write(tmp_path)
    ledger_of(first, second).pruned(first).write(tmp_path)
    assert said(check(tmp_path)) == []
    ledger_of(first, second).write(tmp_path)
    assert one_says(check(tmp_path), "violation", MISSING)


def test_a_directory_of_which_all_was_pruned(tmp_path: Path) -> None:
    trail = sample(2)
    ledger_of(trail).pruned(trail).write(tmp_path)
    report = check(tmp_path)
    assert (said(report), report.verdict, report.records) == ([], "valid", 4)


# --- what is a violation -----------------------------------------------------------------------------------------------


def test_no_ledger_at_all(tmp_path: Path) -> None:
    sample(2).write(tmp_path)
    report = check(tmp_path)
    assert report.exit_code() == 1
    assert one_says(report, "violation", "there is no ledger (ledger.jsonl) in this directory")
    for path in tmp_path.iterdir():
        path.unlink()
    Trail().write(tmp_path)
    assert one_says(check(tmp_path), "note", "there is no ledger (ledger.jsonl) in this directory")
    assert check(tmp_path).exit_code() == 0


def test_no_ledger_yet_and_zeros_in_the_first_record(tmp_path: Path) -> None:
    """The first process's first segment after a power cut: the same note as beside a ledger."""
    first = Trail()
    path = first.write(tmp_path, [b"\0" * 300 + first.lines()[0][300:]])
    report = check(tmp_path)
    assert [(found.kind, found.file) for found in report.all_findings()] == [("note", str(path))]
    assert one_says(report, "note", "there is no ledger (ledger.jsonl) in this directory")
    assert (report.exit_code(), report.streams[0].verdict) == (0, "valid")


def contradicting(change: Callable[[Ledger, Trail], Any]) -> tuple[Ledger, Trail]:
    trail = sample(2)
    ledger = Ledger()
    change(ledger, trail)
    return ledger, trail


VIOLATIONS: dict[str, tuple[Callable[[Ledger, Trail], Any], str]] = {
    "closed twice otherwise": (
        lambda ledger, trail: ledger.opened(trail).closed(trail).closed(trail, 3),
        "it contradicts line 3 (closed): another count, hash or file",
    ),
    "closed, then adopted as shorter": (
        lambda ledger, trail: ledger.opened(trail).closed(trail).adopted(trail, count=2),
        "it contradicts line 3 (closed): another count, hash or file",
    ),
    "opened twice otherwise": (
        lambda ledger, trail: ledger.opened(trail).entry("opened", trail, 1, "0" * 64).closed(trail),
        "it contradicts line 2 (opened): another count, hash or file",
    ),
    "never opened": (lambda ledger, trail: ledger.closed(trail), "a stream is closed that was never opened"),
    "opened after the end": (
        lambda ledger, trail: ledger.closed(trail).opened(trail),
        "a stream is opened that was over before",
    ),
    "another first record": (
        lambda ledger, trail: ledger.entry("opened", trail, 1, "0" * 64).closed(trail),
        "its first record is not the one that the ledger has (line 2)",
    ),
    "another last record": (
        lambda ledger, trail: ledger.opened(trail).entry("closed", trail, 4, "0" * 64),
        "its last record, number 4, is not the one that the ledger has (line 3)",
    ),
    "shorter than closed": (
        lambda ledger, trail: ledger.opened(trail).entry("closed", trail, 5, "0" * 64),
        "it holds 4 whole records: the ledger (line 3, closed) has 5 records. The tail is missing or was replaced",
    ),
    "longer than adopted": (
        lambda ledger, trail: ledger.opened(trail).adopted(trail, count=2),
        "it holds 4 records: the ledger (line 3, adopted) has 2 records",
    ),
    "longer than sealed": (
        lambda ledger, trail: ledger.opened(trail).adopted(trail, "sealed", count=2),
        "it holds 4 records: the ledger (line 3, adopted) has 2 records",
    ),
    "without a hash": (
        lambda ledger, trail: ledger.opened(trail).system(
            "closed", {"mcp_audit.lifecycle.kind": "closed", "mcp_audit.stream.id": trail.stream}
        ),
        "the entry (closed) does not say which segment, how many records or which hash",
    ),
}


@pytest.mark.parametrize("row", VIOLATIONS)
def test_this_is_a_violation(tmp_path: Path, row: str) -> None:
    change, words = VIOLATIONS[row]
    ledger, trail = contradicting(change)
    ledger.write(tmp_path)
    trail.write(tmp_path)
    report = check(tmp_path)
    assert report.exit_code() == 1
    assert one_says(report, "violation", words), said(report)


def test_a_renamed_segment(tmp_path: Path) -> None:
    trail = sample(2)
    path = trail.write(tmp_path)
    ledger_of(trail).write(tmp_path)
    path = path.rename(tmp_path / "20251124T160000Z-1-x.jsonl")
    report = check(tmp_path)
    assert one_says(report, "violation", f"the file was renamed: the ledger (line 2) has it as {trail.name}")
    assert not one_says(report, "violation", MISSING)
    assert check(path).exit_code() == 1  # also when it is named by itself, beside its ledger


def test_a_segment_of_another_directory(tmp_path: Path) -> None:
    here, other = sample(2), sample(4, stream=SECOND, seed=2)
    here.write(tmp_path)
    other.write(tmp_path)
    ledger_of(here).write(tmp_path)
    report = check(tmp_path)
    assert one_says(report, "violation", "the ledger does not have this file: a writer enters a segment before its sec")
    # Under the name of one that belongs here it is no better, and that one is missed.
    (tmp_path / here.name).unlink()
    (tmp_path / other.name).rename(tmp_path / here.name)
    report = check(tmp_path)
    assert one_says(report, "violation", "the ledger does not have this file")
    assert one_says(report, "violation", MISSING)


def test_what_should_be_entered_and_cannot_be_read(tmp_path: Path) -> None:
    trail = sample(2)
    ledger_of(trail).write(tmp_path)
    for content in (b"", b"\0" * 900 + b"\n", b"hello\n"):
        (tmp_path / trail.name).write_bytes(content)
        report = check(tmp_path)
        assert one_says(report, "violation", "its first record is not the one that the ledger has (line 2)")
        assert not one_says(report, "violation", MISSING)


@pytest.mark.parametrize("index", range(7))
def test_a_removed_line_of_the_ledger(tmp_path: Path, index: int) -> None:
    first, second, third = sample(2), sample(2, stream=SECOND, seed=2), sample(1, stream=SECOND[:-1] + "3", seed=3)
    first.write(tmp_path)
    second.write(tmp_path)
    ledger = ledger_of(first, second, third).pruned(third)
    lines = ledger.lines()
    assert len(lines) == 8
    ledger.write(tmp_path)
    assert said(check(tmp_path)) == []
    ledger.write(tmp_path, lines[:index] + lines[index + 1 :])
    assert check(tmp_path).exit_code() == 1


def test_the_ledger_cut_at_every_line(tmp_path: Path) -> None:
    """What a cut keyless ledger cannot hide: segments that it had entered. An unsaid end is a note, not a proof."""
    first, second = sample(2), opened(2, stream=SECOND, seed=2)
    gone = sample(1, stream=SECOND[:-1] + "3", seed=3)
    first.write(tmp_path)
    second.write(tmp_path)
    ledger = Ledger().opened(gone).closed(gone).opened(first).pruned(gone).opened(second).closed(first)
    codes = []
    for end in range(len(ledger.lines()) + 1):
        ledger.write(tmp_path, ledger.lines()[:end])
        codes.append(check(tmp_path).exit_code())
    # 0-3: both segments unknown, or `gone` missed; 4: `gone` missed; 5: `second` unknown; 6: only `closed` is unsaid.
    assert codes == [1, 1, 1, 1, 1, 1, 0, 0]


def test_another_ledger_in_its_place(tmp_path: Path) -> None:
    trail = sample(2)
    trail.write(tmp_path)
    trail.write(tmp_path).rename(tmp_path / "ledger.jsonl")
    trail.write(tmp_path)
    assert one_says(check(tmp_path), "violation", f"the file was written under the name {trail.name}")


@pytest.mark.parametrize("content", [b"hello\n", b"\xff\xfe\n" * 3, b"{}\n", b"\0" * 100 + b"\n" + b"x\n"])
def test_a_ledger_of_garbage(tmp_path: Path, content: bytes) -> None:
    sample(2).write(tmp_path)
    (tmp_path / "ledger.jsonl").write_bytes(content)
    report = check(tmp_path)
    assert report.exit_code() == 1
    assert report.streams[0].verdict in ("unreadable", "valid")
    assert one_says(report, "violation", "the ledger does not have this file")


def test_a_ledger_of_another_major_version(tmp_path: Path) -> None:
    trail = sample(2)
    trail.write(tmp_path)
    ledger = ledger_of(trail)
    for record in ledger.records:
        for item in record["attributes"]:
            if item["key"] == "audit.schema.version":
                item["value"]["stringValue"] = "2.0"
    ledger.write(tmp_path)
    report = check(tmp_path)
    assert (report.verdict, report.exit_code()) == ("unreadable", 2)


def test_a_ledger_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trail = sample(2)
    trail.write(tmp_path)
    ledger_of(trail).write(tmp_path)
    real = os.open

    def refuse(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if str(path).endswith("ledger.jsonl"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", refuse)
    report = check(tmp_path)
    assert [found.sentence for found in report.all_findings()] == ["cannot be read: Permission denied"]
    assert report.exit_code() == 2


def test_a_ledger_rewritten_without_a_key_is_a_blank(tmp_path: Path) -> None:
    first, second = sample(2), sample(2, stream=SECOND, seed=2)
    first.write(tmp_path)
    ledger = ledger_of(first, second)
    ledger.write(tmp_path)
    assert check(tmp_path).exit_code() == 1
    del ledger.records[3:]
    rechain(ledger)
    ledger.write(tmp_path)
    assert said(check(tmp_path)) == []


# --- single files ------------------------------------------------------------------------------------------------------


def test_a_file_by_itself_is_held_against_the_ledger_beside_it(tmp_path: Path) -> None:
    first, second = sample(3), sample(2, stream=SECOND, seed=2)
    path = first.write(tmp_path)
    ledger_of(first, second).write(tmp_path)
    report = check(path)
    assert (said(report), [stream.ledger for stream in report.streams]) == ([], [False])
    first.write(tmp_path, first.lines()[:-2])
    assert one_says(check(path), "violation", "it holds 3 whole records: the ledger (line 3, closed) has 5 records")
    first.write(tmp_path, first.lines())
    ledger_of(second).write(tmp_path)
    assert said(check(path)) == []  # unknown to that ledger: only a directory is asked for what belongs there
    (report,) = [check(tmp_path / "ledger.jsonl")]
    assert ([stream.ledger for stream in report.streams], said(report)) == ([True], [])


def test_all_files_by_name_are_read_once(tmp_path: Path) -> None:
    first, second = sample(3), sample(2, stream=SECOND, seed=2)
    paths = [first.write(tmp_path), second.write(tmp_path), ledger_of(first, second).write(tmp_path)]
    report = verify_paths(paths, boot_id=BOOT)
    assert [stream.ledger for stream in report.streams] == [True, False, False]
    assert said(report) == []


# --- while others write ------------------------------------------------------------------------------------------------


class Living:
    """A directory in which something happens at a step of the verification."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    def after(self, name: str, happens: Callable[[], None], times: int = 1) -> None:
        real = getattr(directory_module, name)
        left = [times]

        def step(*arguments: Any, **named: Any) -> Any:
            made = real(*arguments, **named)
            if left[0]:
                left[0] -= 1
                happens()
            return made

        self.monkeypatch.setattr(directory_module, name, step)


@pytest.fixture
def living(monkeypatch: pytest.MonkeyPatch) -> Living:
    return Living(monkeypatch)


@pytest.mark.parametrize("when", ["ledger_file", "segment_files", "read_segment"])
def test_pruned_while_it_is_read(tmp_path: Path, living: Living, when: str) -> None:
    first, second = sample(2), sample(2, stream=SECOND, seed=2)
    path = first.write(tmp_path)
    second.write(tmp_path)
    ledger_of(first, second).write(tmp_path)

    def prune() -> None:
        ledger_of(first, second).pruned(first).write(tmp_path)
        path.unlink()

    living.after(when, prune)
    report = check(tmp_path)
    assert said(report) == []


@pytest.mark.parametrize("when", ["ledger_file", "segment_files", "read_segment"])
def test_removed_by_a_thief_while_it_is_read(tmp_path: Path, living: Living, when: str) -> None:
    first, second = sample(2), sample(2, stream=SECOND, seed=2)
    first.write(tmp_path)
    path = second.write(tmp_path)
    ledger_of(first, second).write(tmp_path)
    living.after(when, path.unlink)
    assert one_says(check(tmp_path), "violation", MISSING)


@pytest.mark.parametrize("when", ["ledger_file", "segment_files", "read_segment"])
def test_rotated_while_it_is_read(tmp_path: Path, living: Living, when: str) -> None:
    trail = opened(3)
    trail.write(tmp_path)
    ledger = Ledger().opened(trail)
    ledger.write(tmp_path)
    following = Trail(stream=SECOND, seed=2)

    def rotate() -> None:
        following.write(tmp_path)
        ledger.opened(following).write(tmp_path)
        trail.call()
        trail.close()
        trail.write(tmp_path)
        following.call()
        following.write(tmp_path)
        ledger.closed(trail).write(tmp_path)

    living.after(when, rotate)
    report = check(tmp_path)
    assert not ended(following)
    assert {found.kind for found in report.all_findings()} <= {"note"}, said(report)


def test_closed_and_pruned_between_two_looks_at_the_ledger(tmp_path: Path, living: Living) -> None:
    trail = opened(3)
    path = trail.write(tmp_path)
    ledger = Ledger().opened(trail)
    ledger.write(tmp_path)

    def close() -> None:
        trail.close()
        trail.write(tmp_path)
        ledger.closed(trail).write(tmp_path)

    def prune() -> None:
        ledger.pruned(trail).write(tmp_path)
        path.unlink()

    living.after("read_segment", close)
    living.after("_said", prune)
    report = check(tmp_path)
    assert said(report) == []
    assert not path.exists()


def test_the_first_writer_comes_while_it_is_read(tmp_path: Path, living: Living) -> None:
    trail = Trail()
    trail.write(tmp_path)

    def enter() -> None:
        Ledger().opened(trail).write(tmp_path)
        trail.call()
        trail.write(tmp_path)

    living.after("segment_files", enter)
    assert {found.kind for found in check(tmp_path).all_findings()} == {"note"}


def test_an_entry_that_is_taken_back_while_it_is_read(tmp_path: Path, living: Living) -> None:
    first, second = sample(2), sample(1, stream=SECOND, seed=2)
    first.write(tmp_path)
    ledger_of(first).opened(second).write(tmp_path)  # its sync fails …

    def take_back() -> None:
        ledger_of(first).pruned(first).write(tmp_path)  # … it is cut back, and another comes in its place
        (tmp_path / first.name).unlink()

    living.after("read_segment", take_back)
    assert said(check(tmp_path)) == []


# --- bounds ------------------------------------------------------------------------------------------------------------


def test_names_in_the_ledger_are_never_opened(tmp_path: Path) -> None:
    inside = tmp_path / "journal"
    inside.mkdir()
    trail = sample(1)
    trail.write(tmp_path)
    trail.name = f"../{trail.name}"
    ledger_of(trail).write(inside)
    report = check(inside)
    assert one_says(report, "violation", f"segment {trail.name} is missing")
    assert report.records == 3  # its own
