# SPDX-License-Identifier: Apache-2.0
"""Records out of ClickHouse again: to be shown, and to be verified against what they were when they were written.

Read with FINAL: what was sent twice is there once. A copy that was changed is no copy (its content is in the table's key), so
it is read too, and found.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from opentelemetry.instrumentation.mcp_audit.integrity.collected import CollectedCheck
from opentelemetry.instrumentation.mcp_audit.integrity.parse import Problem, StoredRecord
from opentelemetry.instrumentation.mcp_audit.integrity.report import Finding, Report
from opentelemetry.instrumentation.mcp_audit.integrity.values import NotARecord

from .address import Address
from .client import rows
from .rows import DERIVED, STORED, edited, record_of

_RECORDS: Final = (
    f"SELECT {', '.join(STORED)} FROM {{table:Identifier}} FINAL "
    "WHERE toUnixTimestamp64Nano(Timestamp) >= {since:Int64} AND toUnixTimestamp64Nano(Timestamp) < {until:Int64} "
    # The bounds as times too: for these ClickHouse has an index and partitions.
    "AND Timestamp >= fromUnixTimestamp64Nano({since:Int64}) AND Timestamp <= fromUnixTimestamp64Nano({until:Int64}) "
    "ORDER BY Timestamp, StreamId, SequenceNumber"
)
_CHECKED: Final = (
    f"SELECT {', '.join((*STORED, *DERIVED))} FROM {{table:Identifier}} FINAL ORDER BY StreamId, SequenceNumber"
)
_IDS: Final = "SELECT RecordId FROM {table:Identifier} WHERE RecordId != ''"
_HAS: Final = "SELECT 1 FROM {table:Identifier} WHERE RecordId = {id:String} LIMIT 1"
_INT64: Final = 2**63 - 1


class ClickHouseRecords:
    """What one table holds. Every method raises ClickHouseError."""

    def __init__(self, at: Address) -> None:
        self._at = at
        self.name = at.name

    def records(self, since: int | None = None, until: int | None = None) -> Iterator[StoredRecord | Problem]:
        """All records, oldest first; those received at or after ``since`` and before ``until``, nanoseconds since the epoch."""
        bounds = {"since": _bound(since, -_INT64), "until": _bound(until, _INT64)}
        for row in rows(self._at, _RECORDS, **bounds):
            yield self._record(row)

    def record_ids(self) -> Iterator[str]:
        """The id of every record, some more than once."""
        for row in rows(self._at, _IDS):
            if isinstance(row, list):
                yield row[0]

    def has_record(self, record_id: str) -> bool:
        """Whether a record is there."""
        return any(True for _ in rows(self._at, _HAS, id=record_id.lower()))

    def check(self, report: Report, boot_id: str | None) -> None:
        """Hash, content and chain of each record, and its derived columns, into ``report``."""
        check = CollectedCheck(self.name, boot_id)
        try:
            for row in rows(self._at, _CHECKED):
                item = self._record(row)
                check.feed(item)
                if isinstance(item, Problem):
                    sentence = f"the row is no record: {item.what}"
                    report.findings.append(Finding("violation", self.name, sentence))
                elif isinstance(row, list):
                    for column in edited(row, item):
                        sentence = f"column {column} does not say what the record says"
                        finding = Finding("violation", self.name, sentence, None, None, item.record_id, item.number)
                        report.findings.append(finding)
            checks, findings = check.finish()
        finally:
            check.close()
        # What is no record came as a note from there, and as a violation from here.
        report.findings += [finding for finding in findings if finding.kind != "note"]
        report.streams += [one.report for one in checks]

    def _record(self, row: list[object] | ValueError) -> StoredRecord | Problem:
        if isinstance(row, ValueError):
            return Problem(self.name, 0, 0, f"not UTF-8 ({str(row)[:100]})")
        try:
            record = record_of(row)
        except NotARecord as error:
            return Problem(self.name, 0, 0, str(error))
        record.file = self.name
        return record


def _bound(nanoseconds: int | None, without: int) -> int:
    return without if nanoseconds is None else max(-_INT64, min(nanoseconds, _INT64))
