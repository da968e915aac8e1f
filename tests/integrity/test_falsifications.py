# SPDX-License-Identifier: Apache-2.0
"""Every falsification of the table has the verdict that it promises, and the page says what the table says."""

from __future__ import annotations

from pathlib import Path

import pytest
from falsifications import FALSIFICATIONS, PAGE, Row, Scene, page
from trail_oracle import BOOT

from opentelemetry.instrumentation.mcp_audit.integrity.report import Report
from opentelemetry.instrumentation.mcp_audit.integrity.verify import verify_paths

LIVE = ["no end record: its writer lives, or ended without closing the stream"]


def verify(directory: Path) -> Report:
    return verify_paths([directory], boot_id=BOOT)


def test_the_journal_itself_is_valid(tmp_path: Path) -> None:
    Scene().write(tmp_path)
    report = verify(tmp_path)
    assert [found.sentence for found in report.all_findings()] == LIVE
    assert (report.exit_code(), report.records) == (0, 21)


@pytest.mark.parametrize("row", FALSIFICATIONS, ids=lambda row: row.name)
def test_a_falsification(tmp_path: Path, row: Row) -> None:
    scene = Scene()
    row.do(scene)
    scene.write(tmp_path)
    report = verify(tmp_path)
    found = [one for one in report.all_findings() if one.sentence not in LIVE]
    verdict = {0: "valid", 1: "violated", 2: "unreadable"}[report.exit_code()]
    if verdict == "valid" and found:
        verdict = "valid, with a note"
    assert verdict == row.verdict, found
    kind = "violation" if row.verdict == "violated" else "note"
    assert not row.words or any(one.kind == kind and row.words in one.sentence for one in found), found
    if row.verdict == "violated":
        first = report.first_violation()
        assert first is not None and first.file.startswith(str(tmp_path))
    else:
        # Said of every verdict: what the tier cannot see.
        assert "does not prove anything against someone who can rewrite the whole journal" in report.tier_text


@pytest.mark.parametrize("end", range(7))
def test_the_ledger_cut_at_every_line(tmp_path: Path, end: int) -> None:
    scene = Scene()
    assert len(scene.ledger.records) == 6
    del scene.ledger.records[end:]
    scene.write(tmp_path)
    assert verify(tmp_path).exit_code() == (0 if end == 6 else 1)


def test_the_page_is_what_the_table_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python tests/helpers/falsifications.py"
