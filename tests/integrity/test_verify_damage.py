# SPDX-License-Identifier: Apache-2.0
"""Whatever a file holds, verification says where, goes on with the rest, and never raises."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest
from ledgers import keep_ledger
from trail_oracle import BOOT, Trail, sample

from opentelemetry.instrumentation.mcp_audit.integrity.verify import verify_paths

GARBAGE: dict[str, bytes] = {
    "words": b"hello world\n",
    "binary": bytes(range(256)) * 40 + b"\n",
    "utf-16": '{"resourceLogs":[]}'.encode("utf-16") + b"\n",
    "not json": b'{"resourceLogs":[\n',
    "json of another kind": b'{"a":1}\n[1,2]\n3\nnull\n"x"\n',
    "empty export": b'{"resourceLogs":[]}\n',
    "wrong shapes": b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[7]}]}]}\n{"resourceLogs":{"a":1}}\n',
    "attributes of no shape": b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"attributes":{}}]}]}]}\n',
    "nan": b'{"resourceLogs":NaN}\n',
    "huge integer": b'{"resourceLogs":' + b"9" * 10_000 + b"}\n",
    "deep": b"[" * 200_000 + b"\n",
    "half a surrogate pair": rb'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"attributes":[],"eventName":"\ud800"}]}]}]}'
    + b"\n",
    "zeros": b"\0" * 4096 + b"\n",
}


@pytest.mark.parametrize("name", GARBAGE)
def test_a_file_of_garbage_is_unreadable(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(GARBAGE[name])
    report = verify_paths([path])
    assert (report.verdict, report.exit_code()) == ("unreadable", 2)
    assert report.streams[0].findings[0].line == 1


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_between_records_is_a_violation_with_its_place(tmp_path: Path, name: str) -> None:
    trail = sample(3)
    lines = trail.lines()
    report = verify_paths([trail.write(tmp_path, [*lines[:2], GARBAGE[name], *lines[2:]])], boot_id=BOOT)
    assert report.exit_code() == 1
    first = report.first_violation()
    assert first is not None and first.line == 3
    assert report.streams[0].records == 5  # the rest is whole and was read


def test_an_empty_file_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").touch()
    report = verify_paths([tmp_path])
    assert report.exit_code() == 0
    assert [found.kind for found in report.all_findings()] == ["note", "note"]


def test_every_cut_of_the_last_line_is_a_torn_tail(tmp_path: Path) -> None:
    trail = Trail()
    trail.call()
    whole = b"".join(trail.lines())
    start = len(trail.lines()[0])
    for end in (1, start // 2, start - 1, start + 1, start + 700, len(whole) - 1):
        path = tmp_path / trail.name
        path.write_bytes(whole[:end])
        report = verify_paths([path], boot_id=BOOT)
        assert report.exit_code() == 0, end
        assert any("torn tail" in found.sentence for found in report.all_findings())
        assert report.records == (1 if end > start else 0)


def test_a_line_of_100_mb_is_passed_over_without_being_held(tmp_path: Path) -> None:
    trail = sample(3)
    lines = trail.lines()
    path = tmp_path / trail.name
    with open(path, "wb") as file:
        file.writelines(lines[:2])
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b"\n")
        file.writelines(lines[2:])
    tracemalloc.start()
    try:
        report = verify_paths([path], boot_id=BOOT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000
    first = report.first_violation()
    assert first is not None
    assert (first.line, first.sentence) == (3, "no record: a line of 100000000 bytes; the format allows 524288")
    assert report.records == 5


def test_a_million_findings_are_counted_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"?\n" * 5000)
    report = verify_paths([path])
    assert len(report.streams[0].findings) == 100
    assert report.count("unreadable") == 5000


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    assert verify_paths([tmp_path / "nope"]).exit_code() == 2
    assert verify_paths([tmp_path]).exit_code() == 2
    assert verify_paths(["a\0b"]).exit_code() == 2
    assert verify_paths([]).exit_code() == 2


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    path = sample(1).write(tmp_path)
    path.chmod(0)
    assert verify_paths([path]).exit_code() == 2


def test_one_bad_path_does_not_hide_the_others(tmp_path: Path) -> None:
    sample(1).write(tmp_path)
    keep_ledger(tmp_path)
    report = verify_paths([tmp_path / "nope", tmp_path], boot_id=BOOT)
    assert (report.exit_code(), report.records) == (2, 6)


def test_directories_of_journals_are_read_and_files_only_once(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "one" / "quarantine").mkdir()
    first = sample(1).write(tmp_path / "one")
    sample(2, stream="6f1d1c1e-0000-4000-8000-000000000002", seed=2).write(tmp_path / "two")
    keep_ledger(tmp_path / "one")
    keep_ledger(tmp_path / "two")
    report = verify_paths([tmp_path, first], boot_id=BOOT)
    assert [stream.records for stream in report.streams] == [3, 3, 3, 4]  # each with its ledger
    assert [stream.ledger for stream in report.streams] == [True, False, True, False]
    assert report.exit_code(strict=True) == 0


def test_hostile_lines_take_bounded_time_and_memory(tmp_path: Path) -> None:
    members = b",".join(b'"a%d":1' % number for number in range(40_000))
    empty = b",".join([b'{"attributes":[]}'] * 5_000)
    path = tmp_path / "x.jsonl"
    lines = [
        b"{" + members + b',"a1":1,"a1":2}',
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":['
        + empty
        + b"]}],"
        + members[:300_000].rpartition(b",")[0]
        + b"}]}",
    ]
    assert all(len(line) < 524_288 for line in lines)
    path.write_bytes(b"\n".join(lines) + b"\n")
    tracemalloc.start()
    try:
        report = verify_paths([path])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000_000
    assert report.exit_code() in (1, 2)
    assert len(report.streams[0].findings) <= 200


def test_a_directory_of_garbage_is_no_journal(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b"garbage\n\0\n")
    assert verify_paths([tmp_path]).exit_code() == 2
    # Beside a ledger it is something that was brought in.
    sample(1).write(tmp_path)
    keep_ledger(tmp_path)
    assert verify_paths([tmp_path], boot_id=BOOT).exit_code() == 1
