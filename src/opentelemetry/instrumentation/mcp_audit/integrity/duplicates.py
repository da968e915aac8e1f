# SPDX-License-Identifier: Apache-2.0
"""Which record ids may occur more than once, without holding all ids in memory: they spill to a temporary index on disk.

What is kept of an id is a hash of 64 bits (keyed by the process, so that nobody can choose ids that collide), so the
index is small and sorting it cheap. Whether two places really hold one id is for the caller to look at.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import groupby
from typing import Final

_BATCH: Final = 10_000

Place = tuple[str, int, int]
"""File, line, byte offset."""


class IdIndex:
    """Every record id with its place. The index is a private temporary database that goes away with its connection."""

    def __init__(self) -> None:
        # An empty name makes SQLite keep a few pages in memory and spill the rest to an unnamed temporary file.
        self._database = sqlite3.connect("")
        self._database.execute("CREATE TABLE place (hash INTEGER, file INTEGER, line INTEGER, offset INTEGER)")
        self._files: list[str] = []
        self._waiting: list[tuple[int, int, int, int]] = []

    def add(self, record_id: str, file: str, line: int, offset: int) -> None:
        if not self._files or self._files[-1] != file:
            self._files.append(file)
        self._waiting.append((hash(record_id), len(self._files) - 1, line, offset))
        if len(self._waiting) >= _BATCH:
            self._write()

    def forget(self, file: str, line: int) -> None:
        """What stands in ``file`` from ``line`` on counts for nothing."""
        self._write()
        known = [(number, line) for number, name in enumerate(self._files) if name == file]
        self._database.executemany("DELETE FROM place WHERE file = ? AND line >= ?", known)

    def repeated(self) -> Iterator[list[Place]]:
        """Places that may hold one id, in the order in which they were added; a place that was read twice is one."""
        self._write()
        rows = self._database.execute(
            "SELECT hash, file, line, offset FROM place WHERE hash IN "
            "(SELECT hash FROM place GROUP BY hash HAVING count(*) > 1) ORDER BY hash, rowid"
        )
        for _, same in groupby(rows, key=lambda row: int(row[0])):
            places = list(dict.fromkeys((self._files[file], line, offset) for _, file, line, offset in same))
            if len(places) > 1:
                yield places

    def close(self) -> None:
        self._database.close()

    def _write(self) -> None:
        self._database.executemany("INSERT INTO place VALUES (?, ?, ?, ?)", self._waiting)
        self._waiting.clear()
