# SPDX-License-Identifier: Apache-2.0
"""What a dead process left: which segments are its, by their first records and by what the ledger says. Reads only."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from opentelemetry.instrumentation.mcp_audit.integrity.parse import MAX_LINE_BYTES, parse_line
from opentelemetry.instrumentation.mcp_audit.integrity.values import NotARecord
from opentelemetry.instrumentation.mcp_audit.record.attributes import (
    BOOT_ID,
    PROCESS_PID,
    PROCESS_START_TIME,
    STREAM_PREVIOUS_ID,
)

from .ledger import Entry, Ledger
from .slots import Header
from .tail import read_at

_NAME: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z-([0-9]{1,10})-([0-9A-Za-z-]{1,64})\.jsonl")
_BLOCK: Final = 64 * 1024


class Process(NamedTuple):
    """One life of one process: pids come again, and containers share boots."""

    boot: str
    pid: int
    start: str


class Found(NamedTuple):
    """A segment file and what its first record says: who wrote it, after which stream."""

    path: Path
    stream: str
    process: Process
    previous: str | None


class Files:
    """The segment files of a directory at one moment."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._by_stream: dict[str, str] = {}
        self._known: dict[str, Found | None] = {}
        with os.scandir(directory) as entries:
            for entry in entries:
                match = _NAME.fullmatch(entry.name)
                if match:
                    self._by_stream[match[2]] = entry.name

    def stream(self, stream_id: str) -> Found | None:
        """The segment of this stream; None when there is none whose first record can be read."""
        name = self._by_stream.get(stream_id)
        return None if name is None else self._read(name)

    def after(self, streams: set[str]) -> Found | None:
        """A segment that names one of these as the one before it."""
        for name in self._by_stream.values():
            found = self._read(name)
            if found is not None and found.previous in streams:
                return found
        return None

    def of(self, process: Process) -> dict[str, Found]:
        """All segments of the process, by stream."""
        middle = f"-{process.pid}-"
        found = (self._read(name) for name in self._by_stream.values() if middle in name)
        return {item.stream: item for item in found if item is not None and item.process == process}

    def _read(self, name: str) -> Found | None:
        if name not in self._known:
            self._known[name] = first_record(self._directory / name)
        return self._known[name]


def first_record(path: Path) -> Found | None:
    """Who wrote the segment; None when it is none of ours or has no whole first record."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    try:
        descriptor = open_to_read(path)
    except OSError:
        return None
    try:
        line = _first_line(descriptor)
    finally:
        os.close(descriptor)
    try:
        records = parse_line(line[:-1]) if line.endswith(b"\n") else []
    except NotARecord:
        return None
    if len(records) != 1 or records[0].number != 1:
        return None
    attributes = records[0].attributes
    boot, pid, start, previous = (
        attributes.get(name) for name in (BOOT_ID, PROCESS_PID, PROCESS_START_TIME, STREAM_PREVIOUS_ID)
    )
    if type(pid) is not int or not isinstance(start, str):
        return None
    process = Process(boot if isinstance(boot, str) else "", pid, start)
    return Found(path, match[2], process, previous if isinstance(previous, str) else None)


def open_to_read(path: Path) -> int:
    """Open a regular file; OSError for anything else, a symbolic link among it."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a regular file")
    return descriptor


def process_of(header: Header | None, streams: list[str], files: Files) -> Process | None:
    """Which process a marker belongs to: its header says so, else the first record of a segment that it names."""
    if header is not None and header.pid > 0:
        return Process(header.boot, header.pid, header.process_start)
    for stream_id in streams:
        found = files.stream(stream_id)
        if found is not None:
            return found.process
    following = files.after(set(streams))
    return None if following is None else following.process


def chained(segments: list[Found], streams: set[str]) -> set[str]:
    """The streams that come before or after one of ``streams``, as far as the segments name each other."""
    linked = set(streams)
    grown = True
    while grown:
        grown = False
        for found in segments:
            if found.stream in linked and found.previous is not None and found.previous not in linked:
                linked.add(found.previous)
                grown = True
            elif found.previous in linked and found.stream not in linked:
                linked.add(found.stream)
                grown = True
    return linked


def from_stream_on(segments: dict[str, Found], stream_ids: set[str]) -> list[Found]:
    """The segments of a process without those that surely came before all of ``stream_ids``, and before the one before.

    (The newest stream is made ahead, while the one before it is still written.) By the streams that they name, never by
    clocks.
    """
    surely_before: set[str] | None = None
    for stream_id in stream_ids:
        found = segments.get(stream_id)
        before = segments.get(found.previous or "") if found is not None else None
        older: set[str] = set()
        while before is not None and before.previous is not None and before.previous not in older:
            older.add(before.previous)
            before = segments.get(before.previous)
        surely_before = older if surely_before is None else surely_before & older
    return [found for found in segments.values() if found.stream not in (surely_before or ())]


class Past:
    """Which segments the ledger has as opened and not over, read backwards no further than asked."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._older: Iterator[Entry] = iter(())
        self._newest: Entry | None = None
        self._read: set[str] = set()
        self._over: set[str] = set()
        self._open: dict[str, Entry] = {}

    def open_since(self, stream_id: str) -> list[Entry]:
        """The openings, oldest first, of what is not over, back to that of ``stream_id`` at least, as the ledger is now."""
        self.refresh()
        while stream_id not in self._read:
            entry = next(self._older, None)
            if entry is None:
                break
            self._note_older(entry)
        return list(reversed(self._open.values()))

    def is_open(self, stream_id: str) -> bool:
        return stream_id in self._open

    def refresh(self) -> None:
        """Take in what was added since; entries of others among it."""
        entries = self._ledger.backwards()
        if self._newest is None:
            self._older = entries
            first = next(entries, None)
            if first is not None:
                self._newest = first
                self._note_older(first)
            return
        added: list[Entry] = []
        for entry in entries:
            if entry == self._newest:
                break
            added.append(entry)
        for entry in reversed(added):
            self._newest = entry
            if entry.kind == "opened":
                self._read.add(entry.stream_id)
                self._open = {entry.stream_id: entry, **self._open}
            elif self._open.pop(entry.stream_id, None) is None:
                self._over.add(entry.stream_id)

    def _note_older(self, entry: Entry) -> None:
        if entry.kind != "opened":
            self._over.add(entry.stream_id)
            return
        self._read.add(entry.stream_id)
        if entry.stream_id in self._over:
            self._over.discard(entry.stream_id)
        else:
            self._open[entry.stream_id] = entry


def _first_line(descriptor: int) -> bytes:
    data = b""
    while b"\n" not in data and len(data) <= MAX_LINE_BYTES:
        block = read_at(descriptor, _BLOCK, len(data))
        if not block:
            break
        data += block
    return data[: data.find(b"\n") + 1]
