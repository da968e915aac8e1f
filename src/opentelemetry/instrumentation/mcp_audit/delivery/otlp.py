# SPDX-License-Identifier: Apache-2.0
"""Journal lines as OTLP requests, by cutting: what stands around a record is the same bytes all through a segment.

A line is ``{"resourceLogs":[`` + one resource with one scope and one record + ``]}``. Records of one segment are joined
by taking out what stands between two of them; segments, by a comma between their resources. Nothing is parsed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

OPEN: Final = b'{"resourceLogs":['
_RECORDS: Final = b'"logRecords":['
_TAIL: Final = b"]}]}]}"
_CLOSE: Final = b"]}"


class Run(NamedTuple):
    """Whole lines of one segment file that stand one behind the other and have the same ``head``.

    ``start`` is the first byte's place in the file; ``data`` ends with a line end; ``records`` is the number of records.
    """

    file: str
    start: int
    data: bytes
    head: bytes
    records: int

    @property
    def end(self) -> int:
        """The place behind the last byte."""
        return self.start + len(self.data)


Batch = Sequence[Run]


def head_of(line: bytes) -> bytes | None:
    """What stands before the record in a line (without line end); None for a line that cannot be joined with others.

    The mark is no text that a string could hold: inside one its quotes would be escaped.
    """
    at = line.find(_RECORDS)
    if at < 0 or not line.startswith(OPEN) or not line.endswith(_TAIL):
        return None
    return line[: at + len(_RECORDS)]


def uniform(data: bytes, head: bytes) -> int:
    """How many lines ``data`` (which ends with a line end) holds, if each has this head; else 0."""
    at = count = 0
    while at < len(data):
        end = data.index(b"\n", at)
        if not (data.startswith(head, at) and data.endswith(_TAIL, at, end)):
            return 0
        at, count = end + 1, count + 1
    return count


def joined(run: Run) -> bytes:
    """The records of a run with commas between them."""
    # Four times as fast as replacing what stands between two records, which must be looked for.
    start, end = len(run.head), -len(_TAIL)
    lines = run.data.split(b"\n")
    lines.pop()
    return b",".join([line[start:end] for line in lines])


def body(batch: Batch) -> bytes:
    """The batch as one ``ExportLogsServiceRequest`` in OTLP JSON."""
    # The tail closes records, scope, scopes and resource, and then the request's own list and object.
    resources = (run.head[len(OPEN) :] + joined(run) + _TAIL[: -len(_CLOSE)] for run in batch)
    return OPEN + b",".join(resources) + _CLOSE


def size(batch: Batch) -> tuple[int, int]:
    """Records and bytes of a batch."""
    return sum(run.records for run in batch), sum(len(run.data) for run in batch)


def halves(batch: Batch) -> tuple[list[Run], list[Run]]:
    """The batch in two parts of as many records each, in order. It must hold at least two."""
    wanted = sum(run.records for run in batch) // 2
    left: list[Run] = []
    right: list[Run] = []
    for run in batch:
        if wanted >= run.records:
            left.append(run)
        elif wanted == 0:
            right.append(run)
        else:
            at = after_lines(run.data, wanted)
            left.append(run._replace(data=run.data[:at], records=wanted))
            right.append(run._replace(start=run.start + at, data=run.data[at:], records=run.records - wanted))
        wanted -= min(wanted, run.records)
    return left, right


def after_lines(data: bytes, count: int) -> int:
    """Where the first ``count`` lines end."""
    at = 0
    for _ in range(count):
        at = data.index(b"\n", at) + 1
    return at


def first_of(batch: Batch) -> list[Run]:
    """The batch's first record alone."""
    run = batch[0]
    at = after_lines(run.data, 1)
    return [run._replace(data=run.data[:at], records=1)]


def is_json(batch: Batch) -> bool:
    """Whether every line is JSON. For batches that were refused: then it is worth its time."""
    try:
        for line in _lines(batch):
            json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _lines(batch: Batch) -> Iterable[bytes]:
    for run in batch:
        yield from run.data.splitlines()
