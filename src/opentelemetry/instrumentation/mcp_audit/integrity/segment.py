# SPDX-License-Identifier: Apache-2.0
"""The check of one segment: fed with its records in file order, it says what is wrong where (``docs/format.md`` 6).

Pure: it knows no file. One small state machine (what is expected next), and one list of questions a record must answer.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from opentelemetry.instrumentation.mcp_audit.record.attributes import (
    AUDIT_SCHEMA_VERSION,
    AUDIT_SEQUENCE_END,
    AUDIT_SEQUENCE_PREVIOUS_HASH,
    BOOT_ID,
    EVENT_LIFECYCLE,
    LIFECYCLE_KIND,
    RECORD_HASH,
    RESOURCE_HASH,
    STREAM_FILE,
    STREAM_PREVIOUS_HASH,
    STREAM_PREVIOUS_ID,
    AttributeValue,
)

from .alone import MAJOR, wrong_alone
from .canonical import resource_form, sha256_hex
from .parse import Problem, StoredRecord
from .report import Finding, Kind, StreamReport

Holes = Literal["unended", "boot", "always", "never"]
"""When what is no record, or a missing number, just ends the stream, as a power cut leaves it: when it is of another boot
and has no end record anywhere; when it is of another boot (the ledger has it neither closed nor adopted, so an end record
behind the hole was never on the disk for sure); always; never."""


@dataclass(slots=True)
class _Hole:
    """Where the stream first stopped being whole, and what had been found until then."""

    place: StoredRecord | Problem
    sentence: str
    findings: list[Finding]
    counted: dict[Kind, int]
    covered: StreamReport


@dataclass(slots=True)
class SegmentCheck:
    """Feed every item of the segment, then :meth:`finish`.

    ``boot_id`` is that of the machine that verifies: a stream of another boot that never got its end may have holes
    where the power cut left them; there the first hole ends it. ``holes``: what the ledger says of that. A ledger is
    checked as any stream is, but has no end record (``ledger``). ``collected``: the records come out of what a Collector
    or a store holds, in order, without the names of files and perhaps without bodies; what every record got on the way
    is told once.
    """

    file: str
    boot_id: str | None = None
    holes: Holes = "unended"
    ledger: bool = False
    collected: bool = False
    report: StreamReport = field(init=False)
    stopped_at: int | None = field(init=False, default=None)
    """When finished: the line from which on nothing is vouched for, as a power cut may have left it there."""
    _opened: StoredRecord | None = None
    _previous_hash: str | None = None
    _previous_number: int = 0
    _lines: int = 0
    _end: StoredRecord | None = None
    _hole: _Hole | None = None
    _unreadable: bool = False
    _noted: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.report = StreamReport(self.file, ledger=self.ledger)

    def feed(self, item: StoredRecord | Problem) -> bool:
        """Check the next item. False when the rest need not be read (another major version of the format)."""
        if self._unreadable:
            return False
        self._lines += 1
        if isinstance(item, Problem):
            self._problem(item)
        elif self._readable(item):
            self._record(item)
        return not self._unreadable

    def finish(self) -> StreamReport:
        """The report, when all was fed. A second call changes nothing."""
        report = self.report
        report.lines = self._lines
        if self._lines == 0:
            report.add(Finding("note", self.file, "the file is empty: its writer got no further, or has just begun"))
        if self._hole is not None and self._may_have_holes():
            self._stop_at_hole(self._hole)
        elif self._end is None and self._opened is not None and not self.ledger:
            report.add(
                Finding("note", self.file, "no end record: its writer lives, or ended without closing the stream")
            )
        for sentence, count in self._noted.items():
            report.add(Finding("note", self.file, f"{sentence} ({count} of {self._lines} records)"))
        self._noted.clear()
        return self.report

    # --- steps -----------------------------------------------------------------------------------------------------
    def _problem(self, problem: Problem) -> None:
        if problem.torn:
            extra = ", all there is" if self._lines == 1 else ""
            self._add("note", problem, f"torn tail: {problem.what}{extra}")
            return
        self._mark_hole(problem, f"no record: {problem.what}")
        # As long as nothing of a trail was seen, this is no violated journal but a file that is none.
        kind: Kind = "unreadable" if self._opened is None else "violation"
        self._add(kind, problem, f"no record: {problem.what}")

    def _readable(self, record: StoredRecord) -> bool:
        version = record.attributes.get(AUDIT_SCHEMA_VERSION)
        if self._opened is not None or not isinstance(version, str) or version.split(".")[0] == MAJOR:
            return True
        sentence = f"written by format {version[:20]}; this release reads {MAJOR}.x"
        self._add("unreadable", record, sentence)
        self._unreadable = True
        return False

    def _record(self, record: StoredRecord) -> None:
        before = self.report.counted.get("violation", 0)
        if self._end is not None:
            self._add("violation", record, f"a record after the end record of line {self._end.line}")
        self._place_in_stream(record)
        for kind, sentence in wrong_alone(record, self.collected):
            if self.collected and kind == "note":
                self._noted[sentence] = self._noted.get(sentence, 0) + 1
            else:
                self._add(kind, record, sentence)
        if self._opened is None:
            self._open(record)
        else:
            self._same_resource(record, self._opened)
        if record.attributes.get(AUDIT_SEQUENCE_END) is True:
            self._end = record
            self.report.ended = True
        if self.report.counted.get("violation", 0) == before:
            self._cover(record)

    def _place_in_stream(self, record: StoredRecord) -> None:
        number = record.number
        if number is None:
            return  # said by wrong_alone: a mandatory attribute is missing
        expected = self._previous_number + 1
        previous = record.attributes.get(AUDIT_SEQUENCE_PREVIOUS_HASH)
        if number != expected:
            sentence = _misplaced(number, expected)
            if number > expected:
                self._mark_hole(record, sentence)
            self._add("violation", record, sentence)
        elif number == 1:
            if previous is not None:
                self._add("violation", record, "the first record points back to another record")
        elif self._previous_hash is not None and previous != self._previous_hash:
            self._add("violation", record, "it does not point back to the record before it (previous_hash differs)")
        self._previous_number = number
        stated = record.attributes.get(RECORD_HASH)
        self._previous_hash = stated if isinstance(stated, str) else None

    def _open(self, record: StoredRecord) -> None:
        """The first record of the file, which every other is held against."""
        self._opened = record
        if self._lines > 1:
            self._add("violation", record, "before the first record stands what is no record")
        report, attributes = self.report, record.attributes
        report.stream_id = record.stream_id
        report.first_time = record.time
        report.first_hash = self._previous_hash
        report.boot_id = _text(attributes.get(BOOT_ID))
        report.previous_id = _text(attributes.get(STREAM_PREVIOUS_ID))
        report.previous_hash = _text(attributes.get(STREAM_PREVIOUS_HASH))
        if record.event_name != EVENT_LIFECYCLE or attributes.get(LIFECYCLE_KIND) != "opened":
            self._add("violation", record, "the first record is not the one that opens a stream: the head is missing")
            return
        stated = attributes.get(RESOURCE_HASH)
        if stated is None:
            self._add("violation", record, f"the opening record has no {RESOURCE_HASH}")
        elif stated != sha256_hex(_resource(record)):
            self._add("violation", record, f"resource or scope are not those of {RESOURCE_HASH}")
        name = attributes.get(STREAM_FILE)
        if self.collected:
            return
        if isinstance(name, str) and os.path.basename(name) != os.path.basename(self.file):
            # A segment may be copied away and renamed; what stands where the ledger should be must be the ledger.
            kind: Kind = "violation" if self.ledger else "note"
            self._add(kind, record, f"the file was written under the name {name[:200]}")

    def _same_resource(self, record: StoredRecord, opened: StoredRecord) -> None:
        # Mostly it is the same object (see lines.LineParser); as values True and 1 would be equal, as forms they are not.
        if (record.resource is opened.resource and record.scope == opened.scope) or _resource(record) == _resource(
            opened
        ):
            return
        self._add("violation", record, f"resource or scope are other than in line {opened.line}")

    def _cover(self, record: StoredRecord) -> None:
        report = self.report
        report.records += 1
        # A call is dated when it came in, which may be before the record that its coming opened the stream with.
        report.first_time = min(report.first_time or record.time, record.time)
        report.last_time = max(report.last_time, record.time)
        report.last_number = record.number
        report.last_record_id = record.record_id
        report.last_hash = self._previous_hash
        report.last_line = record.line

    # --- holes that a power cut leaves ------------------------------------------------------------------------------
    def _mark_hole(self, place: StoredRecord | Problem, sentence: str) -> None:
        # The opening record is on disk before any other is written: no power cut leaves a hole before it.
        if self._hole is None and self._opened is not None and self._end is None:
            report = self.report
            covered = StreamReport(**{name: getattr(report, name) for name in _COVERED})
            self._hole = _Hole(place, sentence, list(report.findings), dict(report.counted), covered)

    def _may_have_holes(self) -> bool:
        if self.holes in ("always", "never"):
            return self.holes == "always"
        if self.holes == "unended" and self._end is not None:
            return False
        return self.boot_id is not None and self.report.boot_id is not None and self.report.boot_id != self.boot_id

    def _why(self) -> str:
        return "is of another boot" if self.holes != "always" else "was adopted as one that the disk did not keep"

    def _stop_at_hole(self, hole: _Hole) -> None:
        """The stream ends where it stopped being whole; what stood there was never vouched for."""
        self.stopped_at = hole.place.line
        for name in _COVERED:
            setattr(self.report, name, getattr(hole.covered, name))
        self.report.ended = False
        self.report.findings, self.report.counted = hole.findings, hole.counted
        self._add(
            "note",
            hole.place,
            f"the stream ends here: {hole.sentence}. It has no end record before that and {self._why()}, so this is what a "
            "power cut leaves; nothing from here on is vouched for",
        )
        self.report.judge()

    def _add(self, kind: Kind, at: StoredRecord | Problem, sentence: str) -> None:
        record_id, number = (at.record_id, at.number) if isinstance(at, StoredRecord) else (None, None)
        file = at.file if self.collected and at.file else self.file
        self.report.add(Finding(kind, file, sentence, at.line, at.offset, record_id, number))


_COVERED: Final = (
    "file",
    "stream_id",
    "records",
    "first_time",
    "last_time",
    "last_number",
    "last_record_id",
    "last_hash",
    "last_line",
    "previous_id",
    "previous_hash",
    "boot_id",
    "ledger",
    "first_hash",
)


def check_segment(items: Iterable[StoredRecord | Problem], file: str, boot_id: str | None = None) -> StreamReport:
    """The report on one segment whose items come in file order."""
    check = SegmentCheck(file, boot_id)
    for item in items:
        if not check.feed(item):
            break
    return check.finish()


def _misplaced(number: int, expected: int) -> str:
    if expected == 1:
        return f"the first record has number {number}: the head of the stream is missing"
    if number == expected + 1:
        return f"record {expected} is missing: this is number {number}"
    if number > expected:
        return f"records {expected} to {number - 1} are missing: this is number {number}"
    return f"number {number} stands where number {expected} was expected: repeated or out of order"


def _resource(record: StoredRecord) -> bytes:
    return resource_form(record.resource.items(), *record.scope)


def _text(value: AttributeValue | None) -> str | None:
    return value if isinstance(value, str) else None
