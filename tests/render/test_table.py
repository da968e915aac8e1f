# SPDX-License-Identifier: Apache-2.0
"""One line a record; nothing in the data reaches the terminal as a command."""

from __future__ import annotations

from trail_oracle import Trail

from opentelemetry.instrumentation.mcp_audit.integrity.parse import parse_line
from opentelemetry.instrumentation.mcp_audit.render.table import duration, header, row


def made(trail: Trail, colour: bool = False) -> str:
    return row(parse_line(trail.lines()[-1].rstrip(b"\n"))[0], colour)


def test_a_call() -> None:
    trail = Trail()
    trail.call("search", user="ada", **{"mcp_audit.tenant.id": "acme"})
    assert made(trail).split() == ["2025-11-24T16:00:02.000Z", "✓", "ada@acme", "search", "ok", "1.2", "ms", "svc"]
    assert header().split() == ["TIME", "USER", "WHAT", "DETAIL", "TOOK", "SERVICE"]


def test_outcomes_have_marks_and_colours_only_when_asked() -> None:
    for outcome, mark, code in (("success", "✓", "32"), ("failure", "✗", "31"), ("unknown", "?", "33")):
        trail = Trail()
        trail.call(outcome=outcome)
        assert made(trail)[26] == mark
        assert "\x1b" not in made(trail)
        assert f"\x1b[{code}m{mark}\x1b[0m" in made(trail, colour=True)


def test_escape_sequences_and_line_ends_in_the_data_are_shown() -> None:
    trail = Trail()
    trail.call("\x1b]0;owned\x07", user="a\nb", detail="\u202e")
    line = made(trail)
    assert line.isprintable()
    assert "\\x1b]0;owned\\x07" in line and "a\\nb" in line and "\\u202e" in line


def test_events_of_ours() -> None:
    trail = Trail()
    assert "lifecycle opened" in made(trail)
    trail.system("gap", {"mcp_audit.gap.count": 17}, event="mcp_audit.gap")
    assert "gap: 17 records lost" in made(trail)


def test_refusals() -> None:
    trail = Trail()
    denied = {"mcp_audit.decision.reason": "missing_token"}
    trail.system(
        "x",
        {**denied, "http.request.method": "POST", "http.response.status_code": 401},
        event="mcp_audit.access_denied",
    )
    assert "  401 missing_token POST " in made(trail)
    counted = {**denied, "mcp_audit.summary.count": 90, "mcp_audit.summary.others": False}
    trail.system("x", {**counted, "audit.source.id": "10.0.0.1"}, event="mcp_audit.summary")
    assert "  90 more missing_token 10.0.0.1 " in made(trail)
    trail.system("x", {**counted, "mcp_audit.summary.others": True}, event="mcp_audit.summary")
    assert "  90 more missing_token others " in made(trail)


def test_a_faulty_record_says_so() -> None:
    trail = Trail()
    trail.call()
    trail.records[-1]["attributes"].append({"key": "user.id", "value": {"stringValue": "mallory"}})
    assert '(!) attribute "user.id" is repeated' in made(trail)


def test_durations() -> None:
    assert [duration(value) for value in (0, 999, 1234, 9_999_999, 12_345_678, None)] == [
        "0 µs",
        "999 µs",
        "1.2 ms",
        "10000.0 ms",
        "12.3 s",
        "",
    ]
