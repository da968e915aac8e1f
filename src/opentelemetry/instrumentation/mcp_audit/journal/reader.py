# SPDX-License-Identifier: Apache-2.0
"""Reading journals: which files, their records in order of time, the last few, and those that are still to come.

Memory is bounded by a window of records a file, whatever the files hold. Nothing here raises for bad content: what is
no record comes as a :class:`Problem` with its place, and reading goes on behind it. A file that cannot be read is a
problem too.
"""

from __future__ import annotations

import heapq
import os
import time
from calendar import timegm
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from typing import Final

from opentelemetry.instrumentation.mcp_audit.integrity.collected import batches, is_collected
from opentelemetry.instrumentation.mcp_audit.integrity.files import SEGMENT_NAME, journal_directories, segment_files
from opentelemetry.instrumentation.mcp_audit.integrity.lines import lines, parsed, records
from opentelemetry.instrumentation.mcp_audit.integrity.parse import MAX_LINE_BYTES, Problem, StoredRecord

Item = StoredRecord | Problem

# Records stand in the order in which calls ended, but are told by when they began: a long call stands behind shorter
# ones that began later. Within this many records of one file they are put right.
_WINDOW: Final = 256
_BLOCK: Final = 64 * 1024
_CHUNK: Final = 1024 * 1024
_AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True)
class Journal:
    """What is to be read: segment files, oldest first, and the paths at which none was found (with the reason)."""

    files: list[str]
    problems: list[Problem]


def find(paths: Iterable[str]) -> Journal:
    """The segments behind ``paths``: files, journal directories, or directories of these."""
    files: list[str] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            if not os.path.isdir(path):
                os.stat(path)
                files.append(path)
                continue
            journals = journal_directories(path)
        except (OSError, ValueError) as error:
            problems.append(_unreadable(path, error))
            continue
        for journal in journals:
            try:
                files += segment_files(journal)
            except OSError as error:
                problems.append(_unreadable(journal, error))
    return Journal(sorted(dict.fromkeys(files), key=lambda file: (start_of(file), file)), problems)


def start_of(file: str) -> int:
    """When the segment began, in nanoseconds since the epoch, from its name; 0 when the name does not tell."""
    match = SEGMENT_NAME.fullmatch(os.path.basename(file))
    if match is None:
        return 0
    try:
        return timegm(time.strptime(match[1], "%Y%m%dT%H%M%SZ")) * 1_000_000_000
    except (ValueError, OverflowError):
        return 0


def read_file(file: str) -> Iterator[Item]:
    """Everything in one file, in file order: a segment, or what a Collector wrote."""
    carried = is_collected(file)
    try:
        with open(file, "rb") as opened:
            yield from batches(opened, file, apart=True) if carried else records(opened, file)
    except (OSError, ValueError) as error:
        yield _unreadable(file, error)


def in_time_order(files: Sequence[str]) -> Iterator[Item]:
    """All files merged by record time. ``files`` as :func:`find` orders them.

    A file is opened when the merge reaches its start, so not all of a long history is open at once. A problem comes
    where it stands in its file.
    """
    waiting = sorted(files, key=start_of, reverse=True)
    heap: list[tuple[int, int, Item, Iterator[tuple[int, Item]]]] = []
    opened = 0

    def advance(order: int, source: Iterator[tuple[int, Item]]) -> None:
        for when, item in source:
            heapq.heappush(heap, (when, order, item, source))
            return

    while heap or waiting:
        while waiting and (not heap or start_of(waiting[-1]) <= heap[0][0]):
            opened += 1
            advance(opened, _nearly_sorted(read_file(waiting.pop())))
        if heap:
            _, order, item, source = heapq.heappop(heap)
            yield item
            advance(order, source)


def _nearly_sorted(items: Iterable[Item]) -> Iterator[tuple[int, Item]]:
    """Items with the time they sort by, put in order within a window; a problem takes the time of the item before it."""
    window: list[tuple[int, int, Item]] = []
    latest = 0
    for arrival, item in enumerate(items):
        if isinstance(item, StoredRecord):
            latest = item.time
        heapq.heappush(window, (latest, arrival, item))
        if len(window) > _WINDOW:
            when, _, first = heapq.heappop(window)
            yield when, first
    while window:
        when, _, first = heapq.heappop(window)
        yield when, first


def last(
    files: Sequence[str], count: int, wanted: Callable[[StoredRecord], bool] = lambda record: True
) -> list[StoredRecord]:
    """The ``count`` newest wanted records of all files, oldest first, read from the ends of the files."""
    found: list[tuple[int, int, StoredRecord]] = []
    serial = 0
    for written, file in sorted(((_modified(file), file) for file in files), reverse=True):
        if count <= 0 or (len(found) == count and written < found[0][0]):
            break
        taken = 0
        for record in _backwards(file):
            if not wanted(record):
                continue
            serial -= 1
            entry = (record.time, serial, record)
            if len(found) < count:
                heapq.heappush(found, entry)
            else:
                heapq.heappushpop(found, entry)
            taken += 1
            if taken >= count + _WINDOW:
                break
    return [record for _, _, record in sorted(found, key=lambda entry: entry[:2])]


def _backwards(file: str) -> Iterator[StoredRecord]:
    """The records of a file from its end, without line numbers (0); what is no record is passed over."""
    try:
        with open(file, "rb") as opened:
            position = opened.seek(0, os.SEEK_END)
            rest, whole = b"", False
            while position > 0:
                start = max(0, position - _BLOCK)
                opened.seek(start)
                pieces = (opened.read(position - start) + rest).split(b"\n")
                position, rest = start, pieces[0]
                for index in range(len(pieces) - 1, 0, -1):
                    if whole and len(pieces[index]) <= MAX_LINE_BYTES:
                        yield from _only_records(pieces[index], file)
                    whole = True  # what stands behind the last line end is unfinished
                if len(rest) > MAX_LINE_BYTES:
                    # Too long for a record: only its length matters, and that it is too long is known.
                    rest = rest[: MAX_LINE_BYTES + 1]
            if whole and len(rest) <= MAX_LINE_BYTES:
                yield from _only_records(rest, file)
    except (OSError, ValueError):
        return


def _only_records(data: bytes, file: str) -> Iterator[StoredRecord]:
    for item in parsed(data, file, 0, 0):
        if isinstance(item, StoredRecord):
            yield item


class Follower:
    """New records of journals that grow: new lines of known files, and new files.

    Files that are there when it is made are read from their end on (``from_start``: from their beginning). Only whole
    lines are taken; a line that is being written is taken when its end has come.
    """

    def __init__(self, paths: Sequence[str], from_start: bool = False) -> None:
        self._paths = list(paths)
        # By name and inode: an inode number comes again as soon as a file is pruned, a segment's name never.
        self._known: dict[tuple[str, int], tuple[int, int]] = {}
        self._said: set[str] = set()
        if not from_start:
            for file in reversed(find(self._paths).files):  # newest first, as in _sizes
                self._skip(file)

    def poll(self) -> Iterator[Item]:
        """What has come since the last poll."""
        journal = find(self._paths)
        for problem in journal.problems:
            if problem.file not in self._said:
                self._said.add(problem.file)
                yield problem
        grown = list(self._sizes(journal.files))
        # In order of time also where several grew (a rotation, several processes); a few at once, each is an open file.
        for start in range(0, len(grown), _AT_ONCE):
            sources = (_nearly_sorted(self._grown(file, end)) for file, end in grown[start : start + _AT_ONCE])
            for _, item in merge(*sources, key=_when):
                yield item

    def follow(self, seconds: float = 0.2, sleep: Callable[[float], None] = time.sleep) -> Iterator[Item]:
        """Poll for ever, every ``seconds``; ends only with an exception out of ``sleep``."""
        while True:
            yield from self.poll()
            sleep(seconds)

    def _skip(self, file: str) -> None:
        """Begin behind the last whole line. Its number is counted, so that later problems can be told with theirs."""
        offset, number = 0, 1
        try:
            with open(file, "rb") as opened:
                status = os.fstat(opened.fileno())
                position = 0
                while chunk := opened.read(_CHUNK):
                    ends = chunk.count(b"\n")
                    if ends:
                        number, offset = number + ends, position + chunk.rfind(b"\n") + 1
                    position += len(chunk)
                self._known[file, status.st_ino] = (offset, number)
        except (OSError, ValueError):
            return  # it is met again, and told, by the first poll

    def _sizes(self, files: Sequence[str]) -> Iterator[tuple[str, int]]:
        """The files that are not as they were, oldest first, each with how far it is to be read now.

        They are asked newest first: what a process wrote into a segment before the newer one began is then seen no later
        than what it wrote into that.
        """
        found: list[tuple[str, int]] = []
        for file in reversed(files):
            try:
                status = os.stat(file)  # most files are at rest: this tells
            except FileNotFoundError:
                continue  # pruned since it was listed; that a path which was named is not there is told by the listing
            except OSError:
                found.append((file, 0))  # opening it tells why
                continue
            if self._known.get((file, status.st_ino), (0, 1))[0] != status.st_size:
                found.append((file, status.st_size))
        return reversed(found)

    def _grown(self, file: str, end: int) -> Iterator[Item]:
        try:
            with open(file, "rb") as opened:
                status = os.fstat(opened.fileno())
                key = (file, status.st_ino)
                offset, number = self._known.get(key, (0, 1))
                if status.st_size < offset:
                    yield Problem(file, 0, status.st_size, "the file became shorter while it was followed")
                    self._known[key] = (status.st_size, number)
                    return
                opened.seek(offset)
                for line in lines(opened, number, offset):
                    if not line.ended or line.offset + line.length >= end:
                        break
                    self._known[key] = (line.offset + line.length + 1, line.number + 1)
                    if line.data is None:
                        yield Problem(file, line.number, line.offset, f"a line of {line.length} bytes")
                    else:
                        yield from parsed(line.data, file, line.number, line.offset)
        except FileNotFoundError:
            return  # pruned since it was listed; that a path which was named is not there is told by the listing
        except (OSError, ValueError) as error:
            if file not in self._said:
                self._said.add(file)
                yield _unreadable(file, error)


def _when(entry: tuple[int, Item]) -> int:
    return entry[0]


def _modified(file: str) -> int:
    try:
        return os.stat(file).st_mtime_ns
    except (OSError, ValueError):
        return 0


def _unreadable(path: str, error: Exception) -> Problem:
    reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return Problem(path, 0, 0, f"cannot be read: {reason}")
