# SPDX-License-Identifier: Apache-2.0
"""What a verification says: findings with their places, one report a stream, one verdict over all.

The JSON form (``otel-mcp-audit verify --json``) is :func:`as_json`; members are added in later releases, never renamed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

Kind = Literal["note", "violation", "unreadable"]
Verdict = Literal["valid", "violated", "unreadable"]

MAX_FINDINGS: Final = 100
"""How many findings of one kind are kept for one file; the rest is counted."""

KEYLESS: Final = (
    "keyless: every record is chained to the one before it, without any secret. This finds accidents, partial edits, "
    "dropped, inserted, swapped and repeated records. It does not prove anything against someone who can rewrite the "
    "whole journal, and it does not see a tail that was cut off a stream without an end record."
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found. ``line`` counts from 1, ``offset`` is in bytes; both None when it concerns the whole file."""

    kind: Kind
    file: str
    sentence: str
    line: int | None = None
    offset: int | None = None
    record_id: str | None = None
    number: int | None = None


@dataclass(slots=True)
class StreamReport:
    """What was found in one segment file, or in a ledger (``ledger`` is true).

    ``records`` counts those that are covered: whole, in order, with a right hash. ``last_*`` tell the last of these:
    what comes after it is not vouched for. Times are nanoseconds since the epoch. ``lines`` counts whatever stands in
    the file, ``first_hash`` is that of the record in its first line.
    """

    file: str
    stream_id: str | None = None
    verdict: Verdict = "valid"
    records: int = 0
    ended: bool = False
    first_time: int = 0
    last_time: int = 0
    last_number: int | None = None
    last_record_id: str | None = None
    last_hash: str | None = None
    last_line: int | None = None
    previous_id: str | None = None
    previous_hash: str | None = None
    boot_id: str | None = None
    ledger: bool = False
    lines: int = 0
    first_hash: str | None = None
    findings: list[Finding] = field(default_factory=list)
    counted: dict[Kind, int] = field(default_factory=dict)

    def add(self, finding: Finding) -> None:
        """Keep the finding, or only count it when there are too many of its kind already."""
        seen = self.counted.get(finding.kind, 0)
        self.counted[finding.kind] = seen + 1
        if seen < MAX_FINDINGS:
            self.findings.append(finding)
        self.judge()

    def judge(self) -> None:
        """Take the verdict from what was counted. A violation weighs more than what could not be read."""
        if self.counted.get("violation"):
            self.verdict = "violated"
        elif self.counted.get("unreadable"):
            self.verdict = "unreadable"
        else:
            self.verdict = "valid"


@dataclass(slots=True)
class Report:
    """The whole verification. ``findings`` are those that belong to no stream (a path that is not there, …)."""

    streams: list[StreamReport] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    tier: Literal["keyless"] = "keyless"
    tier_text: str = KEYLESS

    def all_findings(self) -> Iterator[Finding]:
        yield from self.findings
        for stream in self.streams:
            yield from stream.findings

    def count(self, kind: Kind) -> int:
        """How many findings of this kind there are, those that were only counted included."""
        own = sum(1 for finding in self.findings if finding.kind == kind)
        return own + sum(stream.counted.get(kind, 0) for stream in self.streams)

    @property
    def records(self) -> int:
        """Records that are covered, in segments and ledgers."""
        return sum(stream.records for stream in self.streams)

    @property
    def verdict(self) -> Verdict:
        if self.count("violation"):
            return "violated"
        if self.count("unreadable") or not self.streams:
            return "unreadable"
        return "valid"

    def first_violation(self) -> Finding | None:
        return next((finding for finding in self.all_findings() if finding.kind == "violation"), None)

    def exit_code(self, strict: bool = False) -> int:
        """0 valid (also with notes), 1 violated, 2 unreadable; ``strict`` makes 1 of a note."""
        code = {"valid": 0, "violated": 1, "unreadable": 2}[self.verdict]
        return 1 if strict and code == 0 and self.count("note") else code


def as_json(report: Report, strict: bool = False) -> dict[str, Any]:
    """The report as plain values.

    ``{"verdict", "exit_code", "tier": {"name", "text"}, "counts": {"streams", "records", "violations", "notes",
    "unreadable"}, "first_violation": FINDING|null, "findings": [FINDING…], "streams": [STREAM…]}``; FINDING has the
    members of :class:`Finding`, STREAM those of :class:`StreamReport` with its findings in it.
    """
    first = report.first_violation()
    return {
        "verdict": report.verdict,
        "exit_code": report.exit_code(strict),
        "tier": {"name": report.tier, "text": report.tier_text},
        "counts": {
            "streams": len(report.streams),
            "records": report.records,
            "violations": report.count("violation"),
            "notes": report.count("note"),
            "unreadable": report.count("unreadable"),
        },
        "first_violation": None if first is None else asdict(first),
        "findings": [asdict(finding) for finding in report.findings],
        "streams": [asdict(stream) for stream in report.streams],
    }
