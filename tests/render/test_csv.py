# SPDX-License-Identifier: Apache-2.0
"""CSV: what a spreadsheet would run is text; a record is one line; what does not print is shown."""

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


def test_a_refusal_and_a_count_of_them() -> None:
    trail = Trail()
    denied = {
        "mcp_audit.decision.by": "auth",
        "mcp_audit.decision.reason": "missing_token",
        "audit.source.id": "10.0.0.1",
    }
    trail.system(
        "x", {**denied, "http.response.status_code": 401, "mcp_audit.summary.count": 9}, event="mcp_audit.summary"
    )
    row = cells(trail)
    names = ("event", "decision_by", "decision_reason", "http_status", "count", "client_address")
    assert [row[name] for name in names] == ["mcp_audit.summary", "auth", "missing_token", "401", "9", "10.0.0.1"]


@pytest.mark.parametrize(
    ("formula", "shown"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1+1", "'+1+1"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\\t=1"),
        ("\r=1", "'\\r=1"),
        ("=1\n=2", "'=1\\n=2"),
        ("\n=1", "\\n=1"),
    ],
)
def test_formulas_are_text(formula: str, shown: str) -> None:
    trail = Trail()
    trail.call(formula, user=formula)
    assert cells(trail)["tool"] == shown
    assert cells(trail)["user_id"] == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb", "a\\nb"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("a\x0b\x0c\x1c\x85\u2028\u2029b", "a\\x0b\\x0c\\x1c\\x85\\u2028\\u2029b"),
        ("\u202eabc", "\\u202eabc"),
    ],
)
def test_a_record_is_one_line_and_what_does_not_print_is_shown(text: str, shown: str) -> None:
    trail = Trail()
    trail.call(text, user=text)
    assert len(csv_row(parse_line(trail.lines()[-1][:-1])[0]).splitlines()) == 1
    assert (cells(trail)["tool"], cells(trail)["user_id"]) == (shown, shown)


def test_the_arguments_stay_json() -> None:
    arguments = {"q": "a\nb\x7f\u2028\u202e\U000e0041 ä"}
    trail = Trail()
    trail.call("search", arguments)
    text = cells(trail)["arguments"]
    assert json.loads(text) == arguments
    assert text == '{"q":"a\\nb\\u007f\\u2028\\u202e\\udb40\\udc41 ä"}'
