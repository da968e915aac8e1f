# SPDX-License-Identifier: Apache-2.0
"""Verification of a journal: which files, each one's chain, what they say of each other, one report.

The steps are functions from the report so far to more findings in it, called one after another by :func:`verify_paths`:
each directory against its ledger, ids that come twice, links between streams. Read-only, takes no lock; memory grows
with the number of segments that are there, not with what is in them or with what the ledger has seen.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from typing import Final

from opentelemetry.instrumentation.mcp_audit.record.attributes import SEQUENCE_PREFIX

from .canonical import canonical_form
from .collected import check_files, is_collected
from .directory import DirectoryCheck
from .duplicates import IdIndex, Place
from .files import LEDGER, is_segment_name, journal_directories, ledger_file, segment_files
from .parse import MAX_LINE_BYTES, StoredRecord, parse_line
from .reading import reason
from .report import Finding, Kind, Report, StreamReport
from .values import NotARecord

_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"


def verify_paths(
    paths: Iterable[str | os.PathLike[str]],
    *,
    boot_id: str | None = None,
    collected: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Verify files, journal directories, and directories of journal directories.

    A directory is held against its ledger: what is missing, what was brought in, what was cut. Of a file that is named
    by itself the ledger beside it tells how it must begin and end.

    ``boot_id``: the boot of this machine, asked from the kernel when None; "" when it must not count (a journal that
    was brought here). ``collected``: all of it was written by a Collector, also what looks as if a journal had; else
    that is told by how the files begin. ``progress`` is called with the number of bytes read so far. Raises nothing for what it finds.
    """
    report = Report()
    given = [os.fspath(path) for path in paths]
    here = machine_boot_id() if boot_id is None else boot_id or None
    ids = IdIndex()
    try:
        check = DirectoryCheck(report, here, ids, set(), _counted(progress))
        _read(given, check, report, collected)
        _repeated_records(report, ids)
    finally:
        ids.close()
    _links(report, here, check.explained, whole_directory=any(os.path.isdir(path) for path in given))
    return report


def machine_boot_id() -> str | None:
    """The id of this machine's boot, None where there is none to ask for."""
    try:
        return Path(_BOOT_ID).read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None


def _read(paths: Iterable[str], check: DirectoryCheck, report: Report, collected: bool) -> None:
    """Check what lies behind the paths, each file once; what cannot be found or read becomes a finding."""
    for directory, named in groupby(paths, key=_directory_of_file):
        if directory is not None:
            every = list(named)
            carried = [file for file in every if collected or is_collected(file)]
            files = [file for file in every if file not in carried]
            if carried:
                check_files(carried, carried[0], report, check.boot_id, check.done)
            for file in files:
                if os.path.basename(file) == LEDGER:
                    check.ledger_alone(file)
            check.single(directory, [file for file in files if os.path.basename(file) != LEDGER])
            continue
        for path in named:
            try:
                journals = journal_directories(path)
            except (OSError, ValueError) as error:
                report.findings.append(Finding("unreadable", path, f"cannot be read: {reason(error)}"))
                continue
            if not journals:
                report.findings.append(Finding("unreadable", path, "no journal here: no segment file (*.jsonl)"))
            for journal in journals:
                try:
                    carried = _carried(journal, collected)
                    if carried:
                        check_files(carried, journal, report, check.boot_id, check.done)
                    else:
                        check.whole(journal)
                except OSError as error:
                    report.findings.append(Finding("unreadable", journal, f"cannot be read: {reason(error)}"))


def _carried(directory: str, collected: bool) -> list[str]:
    """The files of a directory that is no journal but what a Collector writes into; empty for a journal."""
    files = segment_files(directory)
    if ledger_file(directory) is not None or any(map(is_segment_name, files)):
        return []
    return files if collected or any(map(is_collected, files)) else []


def _directory_of_file(path: str) -> str | None:
    """The directory that a path's file lies in; None when the path is a directory itself."""
    return None if os.path.isdir(path) else os.path.dirname(path) or os.curdir


def _counted(progress: Callable[[int], None] | None) -> Callable[[str], None]:
    done = 0

    def count(file: str) -> None:
        nonlocal done
        if progress is not None:
            done += _size(file)
            progress(done)

    return count


def _repeated_records(report: Report, ids: IdIndex) -> None:
    """The same id twice: the same record under another number is a note, other content is a violation."""
    by_file = {stream.file: stream for stream in report.streams}
    for places in ids.repeated():
        firsts: dict[str, tuple[Place, StoredRecord]] = {}
        for place in places:
            again = _read_at(place)
            if again is None or again.record_id is None:
                continue
            first_place, first = firsts.setdefault(again.record_id, (place, again))
            stream = by_file.get(place[0])
            if first is not again and stream is not None:
                _repeated(stream, first_place, first, place, again)


def _repeated(stream: StreamReport, first_place: Place, first: StoredRecord, place: Place, again: StoredRecord) -> None:
    kind: Kind
    if _content_form(first) != _content_form(again):
        kind, what = "violation", "with other content"
    elif (first.stream_id, first.number) == (again.stream_id, again.number):
        return  # the same line twice: said by the sequence, or by the note that the stream is there twice
    else:
        kind, what = "note", "the same record"
    file, line, offset = place
    where = f"line {first_place[1]}" + ("" if first_place[0] == file else f" of {first_place[0]}")
    sentence = f"the record id is that of {where}, {what} under number {again.number}"
    stream.add(Finding(kind, file, sentence, line, offset, again.record_id, again.number))


def _read_at(place: Place) -> StoredRecord | None:
    file, _, offset = place
    try:
        with open(file, "rb") as opened:
            opened.seek(offset)
            return parse_line(opened.readline(MAX_LINE_BYTES + 1).rstrip(b"\n"))[0]
    except (OSError, NotARecord):
        return None  # it was there a moment ago; a journal that is pruned while it is read is no violation


def _content_form(record: StoredRecord) -> bytes:
    kept = ((key, value) for key, value in record.attributes.items() if not key.startswith(SEQUENCE_PREFIX))
    return canonical_form(kept, record.event_name, record.time, record.trace_id, record.span_id)


def _links(report: Report, boot_id: str | None, explained: set[str], whole_directory: bool) -> None:
    """A stream names the one that its process wrote before, and, if that was over by then, its last hash."""
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
            if whole_directory and stream.previous_id not in explained:
                sentence = f"the stream before it, {stream.previous_id}, is not here: pruned, moved or removed"
                stream.add(Finding("note", stream.file, sentence))
        elif stream.previous_hash is None:
            continue  # it was prepared while the one before was still being written
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
