# SPDX-License-Identifier: Apache-2.0
"""A file as lines with their places, in bounded memory: whatever the file holds, no more than one line is held.

A line longer than the format allows is skipped piece by piece and reported with its length; a last line without its
end is reported as torn, which is what a crash, or a writer that is writing just now, leaves behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

from opentelemetry.instrumentation.mcp_audit.record.attributes import AttributeValue

from .parse import MAX_LINE_BYTES, Problem, StoredRecord, load_json, parse_line, record_of
from .quick import QuickReader
from .values import NotARecord

_CHUNK: Final = 1 << 20
# As this package writes it, without white space; in any other spelling lines are parsed whole.
_BEFORE: Final = b'"logRecords":['
_TAIL: Final = b"]}]}]}"


class Line(NamedTuple):
    """One line: its bytes without the line end (None when too long to be held), its place and its length in bytes."""

    data: bytes | None
    number: int
    offset: int
    length: int
    ended: bool


def lines(file: BinaryIO, number: int = 1, offset: int = 0) -> Iterator[Line]:
    """The lines of ``file`` from its current position, which is ``offset``, where line ``number`` begins.

    Raises OSError when the file cannot be read on.
    """
    rest = b""
    skipped = 0
    while True:
        chunk = file.read(_CHUNK)
        if not chunk:
            break
        *whole, last = chunk.split(b"\n")
        for piece in whole:
            data = rest + piece if rest else piece
            length = skipped + len(data)
            yield Line(data if length <= MAX_LINE_BYTES else None, number, offset, length, True)
            offset += length + 1
            number += 1
            rest, skipped = b"", 0
        rest += last
        if skipped + len(rest) > MAX_LINE_BYTES:
            skipped, rest = skipped + len(rest), b""
    length = skipped + len(rest)
    if length:
        yield Line(rest if length <= MAX_LINE_BYTES else None, number, offset, length, False)


def records(file: BinaryIO, name: str, number: int = 1, offset: int = 0) -> Iterator[StoredRecord | Problem]:
    """What :func:`lines` finds, parsed: records with their places, and a :class:`Problem` for every line that is none.

    An unfinished last line is a problem that says ``torn``, whatever it holds.
    """
    parser = LineParser()
    for line in lines(file, number, offset):
        if not line.ended:
            what = f"the last line is unfinished ({line.length} bytes without a line end)"
            yield Problem(name, line.number, line.offset, what, torn=True)
        elif line.data is None:
            what = f"a line of {line.length} bytes; the format allows {MAX_LINE_BYTES}"
            yield Problem(name, line.number, line.offset, what)
        else:
            yield from parsed(line.data, name, line.number, line.offset, parser)


def parsed(
    data: bytes, name: str, number: int, offset: int, parser: LineParser | None = None
) -> Iterator[StoredRecord | Problem]:
    """The records of one finished line, placed; or the problem that it is."""
    try:
        found = parse_line(data) if parser is None else parser.parse(data)
    except NotARecord as error:
        yield Problem(name, number, offset, str(error), zeros=b"\0" in data)
        return
    for record in found:
        record.file, record.line, record.offset = name, number, offset
        if len(found) > 1:
            record.faults += (f"the line holds {len(found)} records; a journal's line holds one",)
        yield record


class LineParser:
    """Parses lines of one file, most of them faster: what stands around the record is mostly that of the line before.

    When a line without faults is HEAD RECORD TAIL, then in any other line of the same HEAD and TAIL what stands between,
    if it is one JSON value, is the record and everything else is as it was. Every other line is parsed whole.
    """

    def __init__(self) -> None:
        self._quick = QuickReader()
        self._head = b""
        self._resource: dict[str, AttributeValue] = {}
        self._scope = ("", "")

    def parse(self, raw: bytes) -> list[StoredRecord]:
        """As :func:`parse_line`."""
        if self._head and raw.startswith(self._head) and raw.endswith(_TAIL):
            between = raw[len(self._head) : -len(_TAIL)]
            try:
                record = self._quick.read(between.decode(), raw, self._resource, self._scope)
                if record is not None:
                    return [record]
            except UnicodeDecodeError:
                pass  # the slow way says where
            try:
                tree, faults = load_json(between)
                return [record_of(tree, raw, faults, self._resource, self._scope)]
            except NotARecord:
                return parse_line(raw)  # it says what is wrong with the line as a whole
        found = parse_line(raw)
        if len(found) == 1 and not found[0].faults:
            self._learn(raw, found[0])
        return found

    def _learn(self, raw: bytes, record: StoredRecord) -> None:
        at = raw.find(_BEFORE) + len(_BEFORE)
        if at < len(_BEFORE) or not raw.endswith(_TAIL):
            return
        try:
            load_json(raw[at : -len(_TAIL)])
        except NotARecord:
            return  # more than one value between them: this is not the plain form
        self._head, self._resource, self._scope = raw[:at], record.resource, record.scope
