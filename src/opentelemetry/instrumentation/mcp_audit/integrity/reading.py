# SPDX-License-Identifier: Apache-2.0
"""Reading the files of a journal that others may be writing, cutting or deleting at the same time. Takes no lock.

What a writer does under our eyes (it cuts back a failed write and writes the next record in the same place) can look
like damage to who reads on meanwhile. So nothing is called wrong that was read while the file changed: it is read again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO, Final

from .duplicates import IdIndex
from .entries import EntryIndex
from .ledger import entry_of
from .lines import records
from .parse import Problem, StoredRecord
from .report import Finding, Kind, StreamReport
from .segment import Holes, SegmentCheck

_TRIES: Final = 4


def open_inside(path: str) -> BinaryIO:
    """A file of a journal directory, for reading: no link is followed, no pipe waited for. Raises OSError."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    return open(os.open(path, flags | getattr(os, "O_CLOEXEC", 0)), "rb", buffering=0)


def open_named(path: str) -> BinaryIO:
    """A file that the user named, which may be a link or a pipe. Raises OSError."""
    return open(path, "rb", buffering=0)


def read_segment(
    file: str, boot_id: str | None, holes: Holes, ids: IdIndex, opener: Callable[[str], BinaryIO] = open_inside
) -> tuple[StreamReport, bool]:
    """The report on one segment, and whether all it holds is a first line that a power cut may have left.

    Raises FileNotFoundError; any other error is in the report.
    """
    for _ in range(_TRIES):
        check = SegmentCheck(file, boot_id, holes)
        only_zeros = False
        try:
            with opener(file) as opened:
                before = _state(opened)
                again = stat.S_ISREG(os.fstat(opened.fileno()).st_mode)  # nothing can be looked up in a pipe
                for item in records(opened, file):
                    if not check.feed(item):
                        break
                    if isinstance(item, Problem):
                        only_zeros = item.zeros and item.line == 1
                    elif again and item.record_id is not None:
                        ids.add(item.record_id, file, item.line, item.offset)
                changed = _state(opened) != before
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:
            check.report.add(Finding("unreadable", file, f"cannot be read: {reason(error)}"))
            return check.report, False
        report = check.finish()
        if check.stopped_at is not None:
            # A call whose record stands there may have been told as abandoned: that is no second record of it.
            ids.forget(file, check.stopped_at)
        if report.verdict == "valid" or not changed:
            break
    return report, only_zeros and report.lines == 1


class LedgerReader:
    """The ledger of one directory: read once, then read on as often as wanted, and judged at the end."""

    def __init__(self, path: str, ids: IdIndex) -> None:
        self.path = path
        self.failed = False
        """The ledger could not be read: nothing may be concluded from what it does not say."""
        self._ids = ids
        self._state: tuple[int, ...] = ()
        self.entries = EntryIndex()
        self._begin()

    def _begin(self) -> None:
        self.entries.close()
        self.entries = EntryIndex()
        self._check = SegmentCheck(self.path, None, "never", ledger=True)
        self._line, self._offset = 1, 0
        self._before = b""
        # The last line may be one that is just written, or that its next writer will set aside: judged at the end.
        self._last: Problem | None = None

    @property
    def lines(self) -> int:
        """How many whole lines were read."""
        return self._line - 1

    def read_on(self) -> None:
        """Read what came since the last time."""
        if self.failed:
            return
        try:
            for _ in range(_TRIES):
                with open_inside(self.path) as file:
                    before = _state(file)
                    wrong = self._check.report.verdict != "valid"
                    if (wrong and before != self._state) or not self._goes_on(file):
                        self._begin()
                    self._state = before
                    file.seek(self._offset)
                    self._read(file)
                    if self._check.report.verdict == "valid" or _state(file) == before:
                        return
        except (OSError, ValueError) as error:
            self.failed = True
            self._check.report.add(Finding("unreadable", self.path, f"cannot be read: {reason(error)}"))

    def _goes_on(self, file: BinaryIO) -> bool:
        """Whether the last line that was read still stands. An entry whose sync failed is cut back by its writer."""
        file.seek(self._offset - len(self._before))
        return file.read(len(self._before)) == self._before

    def _read(self, file: BinaryIO) -> None:
        self._last = None
        for item in records(file, self.path, self._line, self._offset):
            if self._last is not None:
                self._check.feed(self._last)
                self._last = None
            if isinstance(item, Problem):
                self._last = item
            else:
                if not self._check.feed(item):
                    self.failed = True  # another major version: its entries mean nothing to this release
                    return
                self._take(item)
                self._before = item.raw + b"\n"
                self._line, self._offset = item.line + 1, item.offset + len(self._before)

    def _take(self, record: StoredRecord) -> None:
        if record.record_id is not None:
            self._ids.add(record.record_id, self.path, record.line, record.offset)
        entry = entry_of(record)
        if isinstance(entry, str):
            self.say("violation", record.line, entry)
        elif entry is not None:
            self.entries.add(entry)

    def say(self, kind: Kind, line: int | None, sentence: str) -> None:
        """Add a finding to the ledger's report."""
        self._check.report.add(Finding(kind, self.path, sentence, line))

    def finish(self) -> StreamReport:
        """The report on the ledger itself."""
        if self.failed:
            return self._check.report
        if self._last is not None:
            # Zeros in the last line are what a power cut leaves; whoever appends next sets them aside.
            self._check.feed(replace(self._last, torn=True) if self._last.zeros else self._last)
            self._last = None
        return self._check.finish()

    def close(self) -> None:
        self.entries.close()


def reason(error: Exception) -> str:
    """What the system says went wrong."""
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _state(file: BinaryIO) -> tuple[int, ...]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns, status.st_ino
