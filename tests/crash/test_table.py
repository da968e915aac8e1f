# SPDX-License-Identifier: Apache-2.0
"""The verdict that is computed from a history: each row of the table once, in directories made by an independent hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from disk_log import Write
from ledgers import Ledger, ledger_of
from table import Genuine, expected, lines_of, rows_said, strangers, unsettled
from trail_oracle import BOOT, Trail, sample

from opentelemetry.instrumentation.mcp_audit.integrity.verify import verify_paths

SECOND = "6f1d1c1e-0000-4000-8000-000000000002"
ZEROS = b"\0" * 500 + b"\n"


def opened(calls: int) -> Trail:
    trail = Trail()
    for _ in range(calls):
        trail.call()
    return trail


def written(*trails: Trail) -> Genuine:
    """What the writers of these streams wrote."""
    names = {number: trail.name for number, trail in enumerate(trails)}
    operations = [Write(number, 0, b"".join(trail.lines()), True) for number, trail in enumerate(trails)]
    return lines_of(operations, names)


OPEN, CLOSED, OTHER = opened(4), sample(2), Trail(stream=SECOND, seed=2)
LINES = OPEN.lines()
HOLE = b"".join([*LINES[:3], ZEROS, *LINES[4:]])
BEGUN = Ledger().opened(OPEN)
ADOPTED = Ledger().opened(OPEN).adopted(OPEN, "power", count=3)
SEALED = Ledger().opened(OPEN).adopted(OPEN, "sealed")
BOTH = ledger_of(CLOSED)
PRUNED = ledger_of(CLOSED).pruned(CLOSED)
ENDED = Ledger().opened(CLOSED)


def whole(trail: Trail) -> bytes:
    return b"".join(trail.lines())


CASES: dict[str, tuple[dict[str, bytes], Ledger, str, str, dict[tuple[str, str], int]]] = {
    "closed": ({CLOSED.name: whole(CLOSED)}, BOTH, BOOT, "valid", {}),
    "no end": ({OPEN.name: whole(OPEN)}, BEGUN, BOOT, "valid", {(OPEN.name, "no end"): 1}),
    "torn tail": (
        {OPEN.name: b"".join(LINES[:3]) + LINES[3][:99]},
        *(BEGUN, BOOT, "valid", {(OPEN.name, "no end"): 1, (OPEN.name, "torn tail"): 1}),
    ),
    "end without closed": (
        {CLOSED.name: whole(CLOSED)},
        ENDED,
        BOOT,
        "valid",
        {(CLOSED.name, "end without closed"): 1},
    ),
    "pruned": ({}, PRUNED, BOOT, "valid", {}),
    "pruned but there": ({CLOSED.name: whole(CLOSED)}, PRUNED, BOOT, "valid", {(CLOSED.name, "pruned but there"): 1}),
    "unknown": (
        {CLOSED.name: whole(CLOSED), OTHER.name: whole(OTHER)},
        *(BOTH, BOOT, "valid", {(OTHER.name, "unknown segment"): 1, (OTHER.name, "no end"): 1}),
    ),
    "hole, another boot": ({OPEN.name: HOLE}, BEGUN, "another", "valid", {(OPEN.name, "ends at a hole"): 1}),
    "hole, adopted": ({OPEN.name: HOLE}, ADOPTED, BOOT, "valid", {(OPEN.name, "ends at a hole"): 1}),
    "hole, sealed": (
        {OPEN.name: HOLE},
        *(SEALED, BOOT, "valid", {(OPEN.name, "ends at a hole"): 1, (OPEN.name, "shorter than adopted"): 1}),
    ),
    "hole, this boot": ({OPEN.name: HOLE}, BEGUN, BOOT, "violated", {}),
    "missing": ({}, BOTH, BOOT, "violated", {}),
    "short": ({CLOSED.name: b"".join(CLOSED.lines()[:-1])}, BOTH, BOOT, "violated", {}),
    "unknown with two": (
        {CLOSED.name: whole(CLOSED), OPEN.name.replace("T", "U"): b"x\ny\n"},
        BOTH,
        BOOT,
        "violated",
        {},
    ),
    "head gone": ({CLOSED.name: b"".join(CLOSED.lines()[1:])}, BOTH, BOOT, "violated", {}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_verdict_and_its_rows(tmp_path: Path, case: str) -> None:
    files, ledger, boot, word, rows = CASES[case]
    genuine = written(OPEN, CLOSED, OTHER, ledger)
    files = {**files, ledger.name: whole(ledger)}
    table = expected(files, genuine, boot)
    assert table.word == word, table.wrong
    if word == "valid":
        assert table.rows == Counter(rows)
    assert bool(table.wrong) == (word == "violated")
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    report = verify_paths([tmp_path], boot_id=boot)
    assert report.verdict == word
    if word == "valid":
        findings = ((found.kind, Path(found.file).name, found.sentence) for found in report.all_findings())
        assert rows_said(findings) == (Counter(rows), [])


def test_nothing_to_read() -> None:
    assert expected({}, {}, BOOT) == ("unreadable", Counter(), ())


def test_a_ledger_whose_first_line_is_torn_or_not_there() -> None:
    line = BEGUN.lines()[0]
    genuine = written(BEGUN)
    assert expected({"ledger.jsonl": b""}, genuine, BOOT).rows == {("ledger.jsonl", "empty"): 1}
    for torn in (line[:9], b"\0" * 9 + b"\n"):
        assert expected({"ledger.jsonl": torn}, genuine, BOOT).rows == {("ledger.jsonl", "torn tail"): 1}
    behind = expected({"ledger.jsonl": ZEROS + BEGUN.lines()[1]}, genuine, BOOT)
    assert behind.wrong == ("the ledger has 2 lines behind number 0 that do not follow it",)


def test_what_nobody_wrote_and_what_nobody_settled() -> None:
    files = {OPEN.name: whole(OPEN), BEGUN.name: whole(BEGUN)}
    assert strangers(files, written(OPEN, BEGUN)) == []
    assert len(strangers(files, written(BEGUN))) == len(LINES)
    assert unsettled(files, written(OPEN, BEGUN)) == [OPEN.name]
    assert unsettled({ADOPTED.name: whole(ADOPTED)}, written(ADOPTED)) == []
