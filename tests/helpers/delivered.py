# SPDX-License-Identifier: Apache-2.0
"""What was sent to a Collector and what its archive holds: lines of a journal, record ids, counts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from journals import journal, record

from collector import Collector, join_lines, post

_BEGIN = b'{"resourceLogs":['


def written(directory: Path, count: int, size: int = 0, **options: object) -> list[bytes]:
    """A journal of ``count`` calls, closed; its lines, the ledger's at the end."""
    trail = journal(directory, **options)
    for index in range(count):
        trail.append(record(f"t{index}", size))
    trail.close()
    return lines_of(directory)


def lines_of(directory: Path) -> list[bytes]:
    """The whole lines of a journal directory's segments, then those of its ledger."""
    return [line for path in sorted(directory.glob("*.jsonl")) for line in path.read_bytes().splitlines()]


def batches(lines: list[bytes], size: int) -> list[bytes]:
    """Requests of at most ``size`` lines each."""
    return [join_lines(lines[at : at + size]) for at in range(0, len(lines), size)]


def send(collector: Collector, lines: list[bytes], size: int = 100) -> None:
    """Post all lines; each request must be taken."""
    for body in batches(lines, size):
        assert post(collector.logs_url, body) == (200, b'{"partialSuccess":{}}')


def ids(lines: Iterable[bytes]) -> Counter[str]:
    """How often each record id stands in these OTLP/JSON lines."""
    return Counter(
        attribute["value"]["stringValue"]
        for line in lines
        for group in json.loads(line)["resourceLogs"]
        for scoped in group["scopeLogs"]
        for one in scoped["logRecords"]
        for attribute in one["attributes"]
        if attribute["key"] == "audit.record.id"
    )


def arrived(collector: Collector) -> Counter[str]:
    """How often each record id stands in the archive now."""
    return ids(whole(collector))


def whole(collector: Collector) -> list[bytes]:
    """What is whole in the archive now, also while it is written and where a kill tore a line or took its end from it."""
    pieces = (piece for line in archived(collector) for piece in line.split(_BEGIN)[1:])
    return [_BEGIN + piece for piece in pieces if piece.endswith(b"}]}]}")]


def archived(collector: Collector) -> list[bytes]:
    """The lines of the archive's files, oldest first, those that a rotation left empty aside."""
    folder = collector.archive.parent
    files = sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns) if folder.exists() else []
    return [line for path in files for line in path.read_bytes().splitlines() if line]
