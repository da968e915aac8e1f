# SPDX-License-Identifier: Apache-2.0
"""Which files of a directory have something to send: the segments, of whichever process, and the ledger.

The directory is listed seldom (ten thousand segments of dead processes may lie there) and the files that were written
lately are asked often.
"""

from __future__ import annotations

import heapq
import os
import time
from pathlib import Path
from typing import Final, NamedTuple

from opentelemetry.instrumentation.mcp_audit.integrity.files import LEDGER, is_segment_name

# How many files, those written last, are asked often: one for each process that writes here, and room to spare.
_WARM: Final = 64
_LIST_SECONDS: Final = 1.0
# Of the time at most this part goes into listing.
_LIST_SHARE: Final = 50


class Source(NamedTuple):
    """A file and its size."""

    file: str
    size: int


class Sources:
    """The files of one directory."""

    def __init__(self, directory: Path) -> None:
        self.listed_at = 0
        self.all_seen = False
        self.names: set[str] = set()
        self._directory = directory
        self._warm: list[str] = []
        self._next_listing = 0.0

    def look(self, force: bool = False) -> list[Source]:
        """Files with their sizes, oldest first: all of them when it is time to list, else those written lately.

        ``all_seen`` tells which it was; ``names`` and ``listed_at`` (nanoseconds since the epoch) are of the last listing.
        Raises OSError.
        """
        now = time.monotonic()
        self.all_seen = force or now >= self._next_listing
        if self.all_seen:
            found = self._list()
            took = time.monotonic() - now
            self._next_listing = time.monotonic() + max(_LIST_SECONDS, took * _LIST_SHARE)
            return found
        return [source for name in self._warm if (source := self._size(name)) is not None]

    def _list(self) -> list[Source]:
        listed_at = time.time_ns()
        found: list[Source] = []
        written: list[tuple[int, str]] = []
        with os.scandir(self._directory) as entries:
            for entry in entries:
                if (entry.name == LEDGER or is_segment_name(entry.name)) and entry.is_file(follow_symlinks=False):
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue  # pruned just now
                    found.append(Source(entry.name, status.st_size))
                    written.append((status.st_mtime_ns, entry.name))
        found.sort()
        self.names, self.listed_at = {source.file for source in found}, listed_at
        self._warm = sorted(name for _, name in heapq.nlargest(_WARM, written))
        return found

    def _size(self, name: str) -> Source | None:
        try:
            return Source(name, os.stat(self._directory / name, follow_symlinks=False).st_size)
        except FileNotFoundError:
            return None
