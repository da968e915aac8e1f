# SPDX-License-Identifier: Apache-2.0
"""Verification of a journal: which files, each one's chain, what they say of each other, one report.

The steps are functions from the report so far to more findings in it, called one after another by :func:`verify_paths`:
a ledger check is one more step of that kind. Read-only, takes no lock, memory does not grow with the journal.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from opentelemetry.instrumentation.mcp_audit.record.attributes import SEQUENCE_PREFIX

from .canonical import canonical_form
from .duplicates import IdIndex, Place
from .lines import records
from .parse import StoredRecord, parse_line
from .report import Finding, Kind, Report, StreamReport
from .segment import SegmentCheck
from .values import NotARecord

LEDGER: Final = "ledger.jsonl"
_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"


def verify_paths(
    paths: Iterable[str | os.PathLike[str]],
    *,
    boot_id: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Verify files, journal directories, and directories of journal directories.

    ``boot_id``: the boot of this machine, asked from the kernel when None; "" when it must not count (a journal that
    was brought here). ``progress`` is called with the number of bytes read so far. Raises nothing for what it finds.
    """
    report = Report()
    given = [os.fspath(path) for path in paths]
    here = machine_boot_id() if boot_id is None else boot_id or None
    files = _files(given, report)
    index = IdIndex()
    try:
        done = 0
        for file in files:
            report.streams.append(_check_file(file, here, index))
            done += _size(file)
            if progress is not None:
                progress(done)
        _repeated_records(report, index)
    finally:
        index.close()
    _links(report, here, whole_directory=any(os.path.isdir(path) for path in given))
    return report


def machine_boot_id() -> str | None:
    """The id of this machine's boot, None where there is none to ask for."""
    try:
        return Path(_BOOT_ID).read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None


def segment_files(directory: str) -> list[str]:
    """The segments of one journal directory, oldest first (their names begin with the time). Raises OSError."""
    names = [name for name in os.listdir(directory) if name.endswith(".jsonl") and name != LEDGER]
    return sorted(path for path in (os.path.join(directory, name) for name in names) if os.path.isfile(path))


def journal_directories(directory: str) -> list[str]:
    """``directory`` if it holds segments, and those right below it that do. Raises OSError."""
    with os.scandir(directory) as entries:
        below = sorted(entry.path for entry in entries if entry.is_dir() and entry.name != "quarantine")
    return [path for path in (directory, *below) if segment_files(path)]


def _files(paths: Iterable[str], report: Report) -> list[str]:
    """The segment files behind the paths, each once; what cannot be found or read becomes a finding."""
    found: dict[tuple[int, int], str] = {}
    for path in paths:
        try:
            inner = [path]
            if os.path.isdir(path):
                inner = [file for journal in journal_directories(path) for file in segment_files(journal)]
                if not inner:
                    report.findings.append(Finding("unreadable", path, "no journal here: no segment file (*.jsonl)"))
            for file in inner:
                status = os.stat(file)
                found.setdefault((status.st_dev, status.st_ino), file)
        except (OSError, ValueError) as error:
            report.findings.append(Finding("unreadable", path, f"cannot be read: {_reason(error)}"))
    return list(found.values())


def _check_file(file: str, boot_id: str | None, index: IdIndex) -> StreamReport:
    check = SegmentCheck(file, boot_id)
    try:
        with open(file, "rb") as opened:
            for item in records(opened, file):
                if not check.feed(item):
                    break
                if isinstance(item, StoredRecord) and item.record_id is not None:
                    index.add(item.record_id, file, item.line, item.offset)
    except (OSError, ValueError) as error:
        check.report.add(Finding("unreadable", file, f"cannot be read: {_reason(error)}"))
        return check.report
    return check.finish()


def _repeated_records(report: Report, index: IdIndex) -> None:
    """The same id twice: the same record under another number is a note, other content is a violation."""
    by_file = {stream.file: stream for stream in report.streams}
    for record_id, places in index.repeated():
        first = _read_at(places[0])
        for place in places[1:]:
            again = _read_at(place)
            if first is None or again is None:
                continue
            kind: Kind
            if _content_form(first) != _content_form(again):
                kind, what = "violation", "with other content"
            elif (first.stream_id, first.number) == (again.stream_id, again.number):
                continue  # the same line twice: said by the sequence, or by the note that the stream is there twice
            else:
                kind, what = "note", "the same record"
            file, line, offset = place
            where = f"line {places[0][1]}" + ("" if places[0][0] == file else f" of {places[0][0]}")
            sentence = f"the record id is that of {where}, {what} under number {again.number}"
            by_file[file].add(Finding(kind, file, sentence, line, offset, record_id, again.number))


def _read_at(place: Place) -> StoredRecord | None:
    file, _, offset = place
    try:
        with open(file, "rb") as opened:
            opened.seek(offset)
            return parse_line(opened.readline().rstrip(b"\n"))[0]
    except (OSError, NotARecord):
        return None  # it was there a moment ago; a journal that is pruned while it is read is no violation


def _content_form(record: StoredRecord) -> bytes:
    kept = ((key, value) for key, value in record.attributes.items() if not key.startswith(SEQUENCE_PREFIX))
    return canonical_form(kept, record.event_name, record.time, record.trace_id, record.span_id)


def _links(report: Report, boot_id: str | None, whole_directory: bool) -> None:
    """A stream names the one that its process wrote before, and that one's last hash."""
    by_stream: dict[str, StreamReport] = {}
    for stream in report.streams:
        if stream.stream_id is None:
            continue
        other = by_stream.setdefault(stream.stream_id, stream)
        if other is not stream:
            stream.add(Finding("note", stream.file, f"stream {stream.stream_id} is also in {other.file}"))
    for stream in report.streams:
        if stream.previous_id is None:
            continue
        before = by_stream.get(stream.previous_id)
        if before is None:
            if whole_directory:
                sentence = f"the stream before it, {stream.previous_id}, is not here: pruned, moved or removed"
                stream.add(Finding("note", stream.file, sentence))
        elif before.verdict == "valid" and before.last_hash != stream.previous_hash:
            lost = not before.ended and boot_id is not None and before.boot_id != boot_id
            sentence = (
                f"its last record (number {before.last_number}) is not the one that the next stream, "
                f"{stream.stream_id}, points back to: the tail is missing or was replaced"
            )
            before.add(Finding("note" if lost else "violation", before.file, sentence))


def _size(file: str) -> int:
    try:
        return os.path.getsize(file)
    except OSError:
        return 0


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
