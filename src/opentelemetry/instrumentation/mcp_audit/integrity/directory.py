# SPDX-License-Identifier: Apache-2.0
"""The check of one journal directory: its segments, its ledger, and each held against the other.

No lock is taken, so the order of reading carries the proof. The ledger is read, then the directory, then the segments,
then what came to the ledger meanwhile. A segment is entered in the ledger before its second record, marked as closed or
adopted after its last, and marked as pruned before it is deleted. So a file that is gone was pruned by then, a file with
two records was entered by then, and only entries that were there before a segment was read tell how long it must be.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from .duplicates import IdIndex
from .files import ledger_file, marker_files, odd_files, segment_files
from .ledger import Standing, against, unknown
from .marker import open_calls
from .reading import LedgerReader, open_named, read_segment, reason
from .report import MAX_FINDINGS, Finding, Report, StreamReport
from .segment import Holes

_NO_LEDGER: Final = "there is no ledger (ledger.jsonl) in this directory, so nothing says that this file belongs here"
_NOT_THERE: Final = "the ledger does not have this file"


class Read(NamedTuple):
    """One segment as it was read: its report, what it may have lost by then, whether a torn first line is all of it."""

    report: StreamReport
    holes: Holes
    torn_first: bool


class DirectoryCheck:
    """Reads one directory into the report. ``seen`` are the files that were read already, by device and inode."""

    def __init__(
        self, report: Report, boot_id: str | None, ids: IdIndex, seen: set[tuple[int, int]], done: Callable[[str], None]
    ) -> None:
        self._report, self.boot_id, self._ids, self._seen, self.done = report, boot_id, ids, seen, done
        self.explained: set[str] = set()
        """Streams that others point back to and that are not here, of which the ledger has said all there is to say."""

    def whole(self, directory: str) -> None:
        """A journal directory with all that is in it. Raises OSError when it cannot be listed."""
        ledger = self._ledger(directory)
        try:
            if ledger is not None:
                ledger.read_on()
            before = 0 if ledger is None else ledger.lines
            found = self._read(segment_files(directory), ledger)
            if ledger is None:
                ledger = self._ledger(directory)  # the first writer here may be making it just now
            if ledger is not None:
                ledger.read_on()
                again = [self._settled(one, ledger, before) for one in found]
                found = [one for one in again if one is not None]
                ledger.read_on()
            present = {self._compare(one, ledger) for one in found}
            if ledger is not None:
                self._entries(ledger, before, present, {one.report.previous_id for one in found})
                self._report.streams.append(ledger.finish())
            self._report.streams += [one.report for one in found]
        finally:
            if ledger is not None:
                ledger.close()
        self._beside(directory)

    def single(self, directory: str, files: Sequence[str]) -> None:
        """Files that were named one by one: the ledger beside them, if there is one, is heard on these only."""
        path = ledger_file(directory)
        ledger = None if path is None or path in files else LedgerReader(path, IdIndex())
        try:
            if ledger is not None:
                ledger.read_on()
            for one in self._read(files, ledger, named=True):
                said = None if ledger is None else _said(ledger, one.report)
                if said is not None:
                    self._hold_against(said, one.report)
                self._report.streams.append(one.report)
        finally:
            if ledger is not None:
                ledger.close()

    def ledger_alone(self, path: str) -> None:
        """A ledger that was named by itself: its own chain."""
        ledger = LedgerReader(path, self._ids)
        ledger.read_on()
        self._report.streams.append(ledger.finish())
        ledger.close()

    # --- steps -----------------------------------------------------------------------------------------------------

    def _ledger(self, directory: str) -> LedgerReader | None:
        path = ledger_file(directory)
        return None if path is None else LedgerReader(path, self._ids)

    def _read(self, files: Iterable[str], ledger: LedgerReader | None, named: bool = False) -> list[Read]:
        found: list[Read] = []
        for file in files:
            said = None if ledger is None else ledger.entries.of_file(os.path.basename(file))
            holes: Holes = "unended" if said is None else said.holes
            try:
                status = os.stat(file)
                if (status.st_dev, status.st_ino) in self._seen:
                    continue
                self._seen.add((status.st_dev, status.st_ino))
                report, torn_first = (
                    read_segment(file, self.boot_id, holes, self._ids, open_named)
                    if named
                    else read_segment(file, self.boot_id, holes, self._ids)
                )
            except (OSError, ValueError) as error:
                # What was listed and is gone was deleted meanwhile: whether rightly, the ledger tells.
                if named or not isinstance(error, FileNotFoundError):
                    self._report.findings.append(Finding("unreadable", file, f"cannot be read: {reason(error)}"))
                continue
            self.done(file)
            found.append(Read(report, holes, torn_first))
        return found

    def _settled(self, one: Read, ledger: LedgerReader, before: int) -> Read | None:
        """Read a segment again of which the ledger says more by now than when it was read. None when it is gone."""
        said = _said(ledger, one.report)
        if said is None or (said.holes == one.holes and (said.settled is None or said.settled.line <= before)):
            return one
        try:
            report, torn_first = read_segment(one.report.file, self.boot_id, said.holes, self._ids)
        except FileNotFoundError:
            return None  # deleted meanwhile: whether rightly, the ledger tells
        return Read(report, said.holes, torn_first)

    def _compare(self, one: Read, ledger: LedgerReader | None) -> str | None:
        """Hold a segment against the ledger. Returns the stream that it is, or that it should be."""
        said = None if ledger is None else _said(ledger, one.report)
        if said is not None:
            self._hold_against(said, one.report)
            return said.stream_id
        if ledger is None or not ledger.failed:
            if one.torn_first:
                # Its first record had not reached the disk when the power went: nothing was ever written behind it.
                one.report.findings.clear()
                one.report.counted.clear()
                one.report.judge()
            if ledger is None and one.report.verdict == "unreadable":
                return None  # no record in it, and no ledger beside it: nothing says that this is a journal at all
            kind, sentence = unknown(one.report, _NO_LEDGER if ledger is None else _NOT_THERE)
            one.report.add(Finding(kind, one.report.file, sentence))
        return one.report.stream_id

    def _hold_against(self, said: Standing, report: StreamReport) -> None:
        for kind, sentence in against(said, report, still_there=os.path.lexists(report.file)):
            report.add(Finding(kind, report.file, sentence))

    def _entries(self, ledger: LedgerReader, before: int, present: set[str | None], wanted: set[str | None]) -> None:
        """What is wrong with the entries themselves, and which segments are gone that should be here."""
        if ledger.failed:
            return
        for said in ledger.entries.all():
            for kind, line, sentence in said.wrong:
                ledger.say(kind, line, f"stream {said.stream_id[:100]}: {sentence}")
            if said.stream_id in present:
                continue
            if said.stream_id in wanted:
                self.explained.add(said.stream_id)
            if said.pruned is not None:
                continue
            # What was entered after the directory was listed is nothing that the list could have shown.
            if said.opened is not None and said.opened.line <= before:
                sentence = (
                    f"segment {said.file[:200]} is missing: the ledger has it since line {said.opened.line}, with "
                    f"{_last_count(said)}, and never says that it was pruned"
                )
                ledger.say("violation", said.opened.line, sentence)
        for file, line in ledger.entries.files_of_several():
            ledger.say("violation", line, f"two streams were entered under one file name, {file[:200]}")

    def _beside(self, directory: str) -> None:
        """What else lies there: calls that are open, and what is not the journal's."""
        findings = self._report.findings
        for path in marker_files(directory):
            try:
                count = open_calls(path)
            except OSError as error:
                if not isinstance(error, FileNotFoundError):
                    findings.append(Finding("note", path, f"the calls in flight cannot be read: {reason(error)}"))
                continue
            if count:
                sentence = f"{count} calls open: in flight, or cut off with their process and not yet told as abandoned"
                findings.append(Finding("note", path, sentence))
        odd = odd_files(directory)
        findings += [Finding("note", path, f"{what}: passed over") for path, what in odd[:MAX_FINDINGS]]
        if len(odd) > MAX_FINDINGS:
            findings.append(Finding("note", directory, f"… and {len(odd) - MAX_FINDINGS} more that are not its own"))


def _said(ledger: LedgerReader, report: StreamReport) -> Standing | None:
    """What the ledger says of the stream that was found, or, where it could not be read, of the file's name."""
    if report.stream_id is not None:
        return ledger.entries.of_stream(report.stream_id)
    # No record was found in it. If it was entered, its first record was on the disk, and is gone.
    return ledger.entries.of_file(os.path.basename(report.file))


def _last_count(said: Standing) -> str:
    return "at least one record" if said.settled is None else f"{said.settled.number} records"
