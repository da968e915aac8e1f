# SPDX-License-Identifier: Apache-2.0
"""The ledger's entries by stream, in bounded memory: a temporary index on disk, however long the ledger is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import groupby
from typing import Final

from .ledger import Entry, Standing, standing

_BATCH: Final = 5_000
_COLUMNS: Final = "line, kind, stream, file, number, head, reason"


class EntryIndex:
    """Every entry of one ledger. The index is a private temporary database that goes away with its connection."""

    def __init__(self) -> None:
        # An empty name makes SQLite keep a few pages in memory and spill the rest to an unnamed temporary file.
        self._database = sqlite3.connect("")
        self._database.execute(f"CREATE TABLE entry ({_COLUMNS})")
        self._waiting: list[Entry] = []
        self._indexed = False

    def add(self, entry: Entry) -> None:
        self._waiting.append(entry)
        if len(self._waiting) >= _BATCH:
            self._write()

    def of_stream(self, stream_id: str) -> Standing | None:
        """What the ledger says of a stream."""
        return standing(self._select("WHERE stream = ? ORDER BY line", stream_id))

    def of_file(self, name: str) -> Standing | None:
        """What the ledger says of the stream that it entered first under this file name."""
        first = next(self._select("WHERE file = ? ORDER BY line LIMIT 1", name), None)
        return None if first is None else self.of_stream(first.stream_id)

    def all(self) -> Iterator[Standing]:
        """Every stream that the ledger has. Nothing may be added meanwhile."""
        for _, entries in groupby(self._select("ORDER BY stream, line"), key=lambda entry: entry.stream_id):
            made = standing(entries)
            if made is not None:
                yield made

    def files_of_several(self) -> Iterator[tuple[str, int]]:
        """File names under which more than one stream was entered, and the line of the ledger that did so last."""
        self._write()
        yield from self._database.execute(
            "SELECT file, max(line) FROM entry GROUP BY file HAVING count(DISTINCT stream) > 1 ORDER BY 2"
        )

    def close(self) -> None:
        self._database.close()

    def _select(self, rest: str, *values: str) -> Iterator[Entry]:
        self._write()
        if not self._indexed:
            self._database.execute("CREATE INDEX by_stream ON entry (stream, line)")
            self._database.execute("CREATE INDEX by_file ON entry (file, line)")
            self._indexed = True
        return map(Entry._make, self._database.execute(f"SELECT {_COLUMNS} FROM entry {rest}", values))

    def _write(self) -> None:
        if self._waiting:
            self._database.executemany("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)", self._waiting)
            self._waiting.clear()
