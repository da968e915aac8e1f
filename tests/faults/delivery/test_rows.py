# SPDX-License-Identifier: Apache-2.0
"""The quick share of the fault table, and that the table itself is sound; `make faults` plays all of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import report
from campaign import SCENES, play, quickly
from receiver import MARK, Kept, json_items
from rows import SECTIONS, Row
from sides import Outcome

ROWS = [row for rows in SECTIONS.values() for row in rows]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("row", [row for row in ROWS if row.quick], ids=lambda row: row.name)
def test_ours_keeps_what_the_row_promises(row: Row, tmp_path: Path) -> None:
    quick = quickly(row)
    result = report.Result("", quick, play(quick, tmp_path))
    assert report.broken(result) == "", report.line(result)
    stock = result.outcomes["stock"]
    if not stock.not_run and row.name.startswith("burst"):
        # Both sides are counted right: a few hundred at a healthy endpoint are no trouble for anybody.
        assert (stock.emitted, stock.arrived, stock.duplicated) == (quick.count, quick.count, 0)


def test_each_row_has_its_scene_and_a_name_of_its_own() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert {row.scene for row in ROWS} == set(SCENES)
    assert [row.name for row in ROWS if row.promise == "nothing" and not row.note] == []


@pytest.mark.parametrize(
    ("promise", "ours", "verdict"),
    [
        ("all", Outcome(emitted=3, arrived=3, exit="0"), ""),
        ("all", Outcome(emitted=3, arrived=2, exit="0", missing=["m"]), "1 of 3 are missing, the first m"),
        ("all", Outcome(exit="0"), "nothing was emitted"),
        ("all", Outcome(emitted=3, arrived=3, exit="0; ship: 1"), "ship did not end well (0; ship: 1)"),
        (
            "all",
            Outcome(emitted=3, arrived=3, ids=1, exit="0"),
            "1 record ids more than records: what arrives twice cannot be told",
        ),
        ("accounted", Outcome(emitted=3, arrived=2, gap=1, exit="0"), ""),
        ("accounted", Outcome(emitted=3, arrived=1, gap=1, exit="0"), "2 missing, gap records name 1, quarantined 0"),
        ("nothing", Outcome(emitted=3, exit="0"), ""),
        ("no start", Outcome(exit="78"), ""),
        ("no start", Outcome(emitted=3, exit="0"), "it started: 3 emitted, exit 0"),
        ("all", Outcome(not_run="no Collector"), ""),
    ],
)
def test_what_breaks_a_promise(promise: str, ours: Outcome, verdict: str) -> None:
    row = Row("a row", promise=promise)  # type: ignore[arg-type]
    assert report.broken(report.Result("", row, {"stock": Outcome(), "ours": ours})) == verdict


def test_a_record_is_counted_once_by_its_mark_and_a_gap_by_its_count() -> None:
    def record(record_id: str, *more: Mapping[str, object], body: str = "") -> dict[str, object]:
        facts: list[Mapping[str, object]] = [{"key": "audit.record.id", "value": {"stringValue": record_id}}, *more]
        return {"attributes": facts, "body": {"stringValue": body}}

    gap = {"key": "mcp_audit.gap.count", "value": {"intValue": "7"}}
    records = [record("1", body='{"mark":"mark-a-1-end"}'), record("2", body="mark-a-2-end"), record("3", gap)]
    tree = {"resourceLogs": [{"scopeLogs": [{"logRecords": [*records, record("4")]}]}]}
    kept = Kept()
    kept.add(json_items(tree))
    kept.add(json_items(tree))
    assert kept.marks == {"mark-a-1-end": 2, "mark-a-2-end": 2}
    assert (kept.ids, kept.gap_total) == ({"1", "2"}, 7)
    # What follows a mark in protobuf may be a digit.
    assert MARK.findall("\x10mark-a-1-end2") == ["mark-a-1-end"]
