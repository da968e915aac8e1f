# SPDX-License-Identifier: Apache-2.0
"""How a segment begins (``docs/format.md`` 5): every step is on the disk before the next one relies on it.

directory, its name synced -> marker -> file, made new and locked -> first record -> sync, directory synced -> marker names it -> ledger ``opened`` -> records

So whoever finds a dead process's marker finds all its segments from there, and a segment that the ledger does not know
holds nothing but its first record.
"""

from __future__ import annotations

import threading
import uuid
from pathlib import Path
from typing import Protocol

from opentelemetry.instrumentation.mcp_audit.record.encode import encode
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord

from . import events, platform, segment
from .disk import Disk
from .ledger import Ledger
from .origin import Origin
from .stream import Writing
from .waiting import Commits


class Names(Protocol):
    """The marker, as far as segments concern it. Both raise OSError."""

    def open(self, stream_id: str) -> None:
        """Make the marker of this process, named by its first stream; nothing if there is one already."""

    def moved_to(self, stream_id: str) -> None:
        """The newest stream of this process is this one."""


class Preparer:
    """Makes the segments of one process, one at a time. A segment that the ledger did not take yet is kept for the next try."""

    def __init__(
        self, directory: Path, origin: Origin, disk: Disk, ledger: Ledger, marker: Names, commits: Commits
    ) -> None:
        self._directory = directory
        self._origin = origin
        self._disk = disk
        self._ledger = ledger
        self._marker = marker
        self._commits = commits
        self._lock = threading.Lock()
        self._has_directory = False
        self._waiting: tuple[Writing, AuditRecord] | None = None
        self._last: Writing | None = None

    def prepare(self, timeout: float) -> Writing:
        """A segment that is ready for records. Raises OSError when there is none; ``timeout`` bounds the waits for locks."""
        if not self._lock.acquire(timeout=timeout):
            raise OSError(f"another thread has been opening a segment for {timeout:g} s")
        try:
            if self._waiting is None:
                self._waiting = self._begin()
            made, entry = self._waiting
            self._ledger.append(entry, timeout=timeout)
            self._waiting = None
            # Known from here on, before anybody has a ticket for a record of it.
            self._commits.advanced(made.segment.stream_id, made.segment.synced)
            return made
        finally:
            self._lock.release()

    def close(self) -> None:
        """Let go of a segment that the ledger never took: nothing but its first record is in it."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting[0].segment.close()

    def _begin(self) -> tuple[Writing, AuditRecord]:
        if not self._has_directory:
            make_durable(self._directory, self._disk)
            self._has_directory = True
        else:
            self._disk.make_directory(self._directory)
        stream_id = str(uuid.uuid4())
        self._marker.open(stream_id)
        made = segment.create(self._directory, stream_id, self._disk)
        envelope, opened = self._origin.begin(stream_id, made.path.name, self._previous())
        writing = Writing(made, envelope)
        try:
            writing.write(encode(opened))
            made.sync()
            self._disk.sync_directory(self._directory)
            self._marker.moved_to(stream_id)
        except BaseException:
            # Nothing but a first record is in it, and perhaps not even that: it would only be noise in the directory.
            made.close()
            self._disk.unlink(made.path)
            raise
        assert made.head is not None
        self._last = writing
        return writing, events.ledger_opened(stream_id, made.path.name, made.head, platform.boot_id())

    def _previous(self) -> tuple[str, str | None] | None:
        """The stream that this process made before this one, and its last hash if nothing can follow that.

        One made ahead, while that stream is still written, has no hash: the ledger tells how far it got.
        """
        last = self._last
        return None if last is None else (last.segment.stream_id, last.segment.head if last.over else None)


def make_durable(directory: Path, disk: Disk) -> None:
    """Make the directory and what is missing above it; each name is on the disk before the next one. Raises OSError.

    So only the last that is there already may not be: a process that made it was killed before it could sync.
    """
    levels = [directory]
    while not levels[-1].is_dir() and levels[-1] != levels[-1].parent:
        levels.append(levels[-1].parent)
    for level in reversed(levels):
        there = level.is_dir()
        disk.make_directory(level)
        try:
            disk.sync_directory(level.parent)
        except PermissionError:
            # Who may not even open what is above it did not make it.
            if not there:
                raise
