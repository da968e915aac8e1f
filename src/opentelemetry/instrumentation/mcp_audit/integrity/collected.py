# SPDX-License-Identifier: Apache-2.0
"""The check of what a Collector or a store holds: many streams in one heap, in any order, some records more than once.

Order and repetition prove nothing there, numbers and hashes do (``docs/format.md``, section 6). So records are put in order
by stream and number, and each stream is then checked as a segment is. Records that come in order, as nearly all do, are
checked as they come; only those that come too early wait, in a temporary file, so that memory has a bound.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, Final

from opentelemetry.instrumentation.mcp_audit.record.attributes import RECORD_HASH

from .alone import wrong_alone
from .files import is_segment_name
from .parse import Problem, StoredRecord, parse_line
from .reading import open_named, reason
from .report import Finding, Report
from .segment import SegmentCheck
from .values import NotARecord

MAX_BATCH_BYTES: Final = 64 * 1024 * 1024
"""The longest line that is read: a Collector writes one line a batch."""

_BEGIN: Final = b'{"resourceLogs":'
_FIRST_MEMBER: Final = re.compile(rb'"logRecords":\[\{"(\w+)"')
_CHUNK: Final = 1 << 20
_PEEKED: Final = 1 << 18


@dataclass(slots=True)
class _Stream:
    check: SegmentCheck
    serial: int
    expected: int = 1
    again: int = 0
    early: int = 0


class CollectedCheck:
    """Feed every record, in any order, then :meth:`finish`. ``name`` says where they come from."""

    def __init__(self, name: str, boot_id: str | None = None) -> None:
        self._name = name
        self._boot_id = boot_id
        self._streams: dict[str, _Stream] = {}
        self._findings: list[Finding] = []
        # An empty name: a few pages in memory, the rest in an unnamed temporary file.
        self._database = sqlite3.connect("")
        self._database.executescript(
            "CREATE TABLE seen (stream INTEGER, number INTEGER, hash TEXT, PRIMARY KEY (stream, number)) WITHOUT ROWID;"
            "CREATE TABLE early (stream INTEGER, number INTEGER, record BLOB, PRIMARY KEY (stream, number)) WITHOUT ROWID;"
        )

    def feed(self, item: StoredRecord | Problem) -> None:
        """Take the next record, or a place where none could be read (which is a note: the record may be elsewhere too)."""
        if isinstance(item, Problem):
            self._note(item.file, f"no record: {item.what}", item)
            return
        stream_id, number = item.stream_id, item.number
        if stream_id is None or number is None:
            sentence = "the record belongs to no stream, or has no number in it"
            self._findings.append(
                Finding("violation", item.file, sentence, item.line, item.offset, item.record_id, number)
            )
            return
        stream = self._streams.get(stream_id)
        if stream is None:
            check = SegmentCheck(f"{self._name}#{stream_id}", self._boot_id, collected=True)
            stream = self._streams[stream_id] = _Stream(check, len(self._streams))
        if number == stream.expected:
            self._check(stream, item)
            self._those_that_waited(stream)
        elif not self._repeated(stream, item, number):
            self._wait(stream, item, number)

    def finish(self) -> tuple[list[SegmentCheck], list[Finding]]:
        """The checks, one a stream, all finished; and what concerns no stream."""
        for stream in self._streams.values():
            rows = (
                self._database.execute(
                    "SELECT record FROM early WHERE stream = ? ORDER BY number", (stream.serial,)
                ).fetchall()
                if stream.early
                else []
            )
            for (record,) in rows:
                stream.check.feed(_thawed(record))
            stream.check.finish()
            if stream.again:
                sentence = f"{stream.again} of its records came more than once, the same each time"
                stream.check.report.add(Finding("note", stream.check.file, sentence))
        return [stream.check for stream in self._streams.values()], self._findings

    def close(self) -> None:
        self._database.close()

    # ---------------------------------------------------------------------------------------------------------------

    def _check(self, stream: _Stream, record: StoredRecord) -> None:
        stream.check.feed(record)
        self._database.execute(
            "INSERT OR IGNORE INTO seen VALUES (?, ?, ?)",
            (stream.serial, stream.expected, record.attributes.get(RECORD_HASH)),
        )
        stream.expected += 1

    def _those_that_waited(self, stream: _Stream) -> None:
        while stream.early:
            key = (stream.serial, stream.expected)
            row = self._database.execute("SELECT record FROM early WHERE stream = ? AND number = ?", key).fetchone()
            if row is None:
                return
            self._database.execute("DELETE FROM early WHERE stream = ? AND number = ?", key)
            stream.early -= 1
            self._check(stream, _thawed(row[0]))

    def _repeated(self, stream: _Stream, record: StoredRecord, number: int) -> bool:
        """Whether the number was there before; then this must be the same record."""
        key = (stream.serial, number)
        row = self._database.execute("SELECT hash FROM seen WHERE stream = ? AND number = ?", key).fetchone()
        if row is None:
            waiting = self._database.execute("SELECT record FROM early WHERE stream = ? AND number = ?", key).fetchone()
            if waiting is None:
                return False
            row = (_thawed(waiting[0]).attributes.get(RECORD_HASH),)
        wrong = [sentence for kind, sentence in wrong_alone(record, view=True) if kind == "violation"]
        if row[0] != record.attributes.get(RECORD_HASH):
            wrong.append("it has another hash")
        if wrong:
            sentence = f"another record stands under this number too: {wrong[0]}"
            stream.check.report.add(
                Finding("violation", record.file, sentence, record.line, record.offset, record.record_id, number)
            )
        else:
            stream.again += 1
        return True

    def _wait(self, stream: _Stream, record: StoredRecord, number: int) -> None:
        if number < 1:
            stream.check.feed(record)  # which says what is wrong with it
            return
        self._database.execute(
            "INSERT INTO early VALUES (?, ?, ?)",
            (stream.serial, number, pickle.dumps(replace(record, raw=b""), pickle.HIGHEST_PROTOCOL)),
        )
        stream.early += 1

    def _note(self, file: str, sentence: str, at: Problem) -> None:
        self._findings.append(Finding("note", file, sentence, at.line, at.offset))


def check_files(
    files: Iterable[str], name: str, report: Report, boot_id: str | None, done: Callable[[str], None]
) -> None:
    """Check what a Collector wrote into ``files``, together, into ``report``."""
    check = CollectedCheck(name, boot_id)
    read = False
    try:
        for file in files:
            try:
                with open_named(file) as opened:
                    for item in batches(opened, file):
                        check.feed(item)
                        read = read or isinstance(item, StoredRecord)
            except (OSError, ValueError) as error:
                report.findings.append(Finding("unreadable", file, f"cannot be read: {reason(error)}"))
            done(file)
        checks, findings = check.finish()
    finally:
        check.close()
    report.findings += (
        findings
        if read
        else [
            Finding("unreadable", finding.file, finding.sentence, finding.line, finding.offset) for finding in findings
        ]
    )
    report.streams += [one.report for one in checks]


def is_collected(file: str) -> bool:
    """Whether a file that has no segment's name was written by a carrier: several records or streams, or other spelling.

    A journal's line holds one record that begins with its attributes. Looks at the beginning only; what cannot be looked
    at without taking it away (a pipe), or not at all, is none.
    """
    if is_segment_name(file) or not os.path.isfile(file):
        return False
    try:
        with open_named(file) as opened:
            begun = opened.read(_PEEKED)
    except OSError:
        return False  # whoever reads it then says why not
    lines = begun.split(b"\n")
    streams: set[str | None] = set()
    for line in lines:
        first = _FIRST_MEMBER.search(line)
        if first is not None and first[1] != b"attributes":
            return True  # also a batch of which only the beginning is here
        if line.count(_BEGIN) > 1 or line.count(b'"eventName":') > 1:
            return True
        try:
            found = parse_line(line)
        except NotARecord:
            continue
        streams.update(record.stream_id for record in found)
        if len(found) > 1 or len(streams) > 1:
            return True
    return False


def batches(opened: BinaryIO, name: str, apart: bool = False) -> Iterator[StoredRecord | Problem]:
    """The records of a Collector's file, and what is none. A disk that was full leaves half a batch, and the next one is
    glued to it: reading goes on at the next beginning of a batch. Blank lines are nothing.

    ``apart``: each record gets a line of its own as ``raw``, as if it had come alone; else ``raw`` is the whole batch.
    """
    for number, offset, line, ended in _long_lines(opened):
        if line is None:
            yield Problem(name, number, offset, f"a line of more than {MAX_BATCH_BYTES} bytes")
        elif line.strip():
            yield from _batch(line, name, number, offset, ended, apart)


def _batch(
    line: bytes, name: str, number: int, offset: int, ended: bool, apart: bool
) -> Iterator[StoredRecord | Problem]:
    while True:
        try:
            found = parse_line(line)
            break
        except NotARecord as error:
            glued = line.find(_BEGIN, 1)
            if glued < 0:
                whole = _without_stub(line)
                if whole != line:
                    line = whole
                    continue
                what = f"a batch that was not written to its end ({error})" if line.startswith(_BEGIN) else str(error)
                yield Problem(name, number, offset, what, torn=not ended)
                return
        # Not by recursion: a line may be glued of any number of pieces.
        yield from _batch(line[:glued], name, number, offset, True, apart)
        line, offset = line[glued:], offset + glued
    alone = _alone(line) if apart and len(found) > 1 else None
    for place, record in enumerate(found):
        record.file, record.line, record.offset = name, number, offset
        if alone is not None:
            record.raw = alone[place]
        yield record


def _without_stub(line: bytes) -> bytes:
    """A batch without the first few bytes of a next one that was torn before it could be known as one."""
    at = line.rfind(b"}{", max(0, len(line) - len(_BEGIN) - 1))
    return line[: at + 1] if at >= 0 and _BEGIN.startswith(line[at + 1 :]) else line


def _alone(line: bytes) -> list[bytes]:
    """A line for each record of a batch that was parsed already, with its resource and scope around it."""
    made: list[bytes] = []
    for group in json.loads(line)["resourceLogs"]:
        for scoped in group["scopeLogs"]:
            for record in scoped["logRecords"]:
                around = {**group, "scopeLogs": [{**scoped, "logRecords": [record]}]}
                made.append(json.dumps({"resourceLogs": [around]}, ensure_ascii=False, separators=(",", ":")).encode())
    return made


def _long_lines(file: BinaryIO) -> Iterator[tuple[int, int, bytes | None, bool]]:
    """Number, offset, bytes (None when too many) of each line, and whether it has its end."""
    number, offset = 1, 0
    parts: list[bytes] = []
    length = 0
    while chunk := file.read(_CHUNK):
        *whole, last = chunk.split(b"\n")
        for piece in whole:
            length += len(piece)
            parts.append(piece)
            yield number, offset, b"".join(parts) if length <= MAX_BATCH_BYTES else None, True
            number, offset = number + 1, offset + length + 1
            parts, length = [], 0
        length += len(last)
        parts = [*parts, last] if length <= MAX_BATCH_BYTES else []
    if length:
        yield number, offset, b"".join(parts) if length <= MAX_BATCH_BYTES else None, False


def _thawed(frozen: bytes) -> StoredRecord:
    # Written by this very process a moment ago, into a file that has no name.
    record: StoredRecord = pickle.loads(frozen)
    return record
