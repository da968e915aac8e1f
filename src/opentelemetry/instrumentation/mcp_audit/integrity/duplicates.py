# SPDX-License-Identifier: Apache-2.0
"""Which record ids occur more than once, without holding all ids in memory: they spill to a temporary index on disk."""

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
        self._database.execute("CREATE TABLE place (id TEXT, file INTEGER, line INTEGER, offset INTEGER)")
        self._files: list[str] = []
        self._waiting: list[tuple[str, int, int, int]] = []

    def add(self, record_id: str, file: str, line: int, offset: int) -> None:
        if not self._files or self._files[-1] != file:
            self._files.append(file)
        self._waiting.append((record_id, len(self._files) - 1, line, offset))
        if len(self._waiting) >= _BATCH:
            self._write()

    def repeated(self) -> Iterator[tuple[str, list[Place]]]:
        """Ids that occur more than once, each with its places in the order they were added."""
        self._write()
        rows = self._database.execute(
            "SELECT id, file, line, offset FROM place WHERE id IN "
            "(SELECT id FROM place GROUP BY id HAVING count(*) > 1) ORDER BY id, rowid"
        )
        for record_id, same in groupby(rows, key=lambda row: str(row[0])):
            yield record_id, [(self._files[file], line, offset) for _, file, line, offset in same]

    def close(self) -> None:
        self._database.close()

    def _write(self) -> None:
        self._database.executemany("INSERT INTO place VALUES (?, ?, ?, ?)", self._waiting)
        self._waiting.clear()
