# SPDX-License-Identifier: Apache-2.0
"""CSV: what a spreadsheet would run is text; what CSV can hold comes back."""

from __future__ import annotations

import csv
import io
import json

import pytest
from trail_oracle import Trail

from opentelemetry.instrumentation.mcp_audit.integrity.parse import parse_line
from opentelemetry.instrumentation.mcp_audit.render.csv import COLUMNS, csv_header, csv_row


def cells(trail: Trail) -> dict[str, str]:
    text = f"{csv_header()}\n{csv_row(parse_line(trail.lines()[-1][:-1])[0])}\n"
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    return dict(row)


def test_a_call() -> None:
    trail = Trail()
    trail.call("search", {"q": 'a "quoted", text'}, user="ada")
    row = cells(trail)
    assert tuple(row) == COLUMNS
    assert (row["time"], row["tool"], row["user_id"], row["duration_us"]) == (
        "2025-11-24T16:00:02.000Z",
        "search",
        "ada",
        "1234",
    )
    assert json.loads(row["arguments"]) == {"q": 'a "quoted", text'}


@pytest.mark.parametrize("formula", ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1"])
def test_formulas_are_text(formula: str) -> None:
    trail = Trail()
    trail.call(formula, user=formula)
    assert cells(trail)["tool"] == "'" + formula
    assert cells(trail)["user_id"] == "'" + formula


def test_escape_sequences_are_shown_and_line_ends_kept() -> None:
    trail = Trail()
    trail.call("a\x1b[31m\nb")
    assert cells(trail)["tool"] == "a\\x1b[31m\nb"
