# SPDX-License-Identifier: Apache-2.0
"""What an endpoint will not take, or what is no record: kept aside, byte for byte, with its place and the reason.

``quarantine/<file>.<offset>.refused`` holds the line as it stands in the journal (where it stays as well), so it can be
sent again as it is; ``quarantine/refused.log`` has one JSON object a record: ``{"file","offset","bytes","why","time"}``, and
one with ``"put_back":true`` when the endpoint turned out to be ill.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from opentelemetry.instrumentation.mcp_audit.journal.disk import Disk

DIRECTORY: Final = "quarantine"
LOG: Final = "refused.log"
SUFFIX: Final = ".refused"


class Item(NamedTuple):
    """A line that was not delivered. ``start`` and ``end``: its place in ``file``."""

    file: str
    start: int
    end: int
    data: bytes
    why: str


class Quarantine:
    """The quarantine of one directory, for the one who delivers it."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        self._directory = directory / DIRECTORY
        self._disk = disk

    def add(self, items: Iterable[Item]) -> None:
        """Keep them; on the disk on return. Done again, it makes the same files. Raises OSError."""
        self._disk.make_directory(self._directory)
        items = list(items)
        for item in items:
            self._write(self._path(item), item.data)
        self._log({"bytes": item.end - item.start, "why": item.why} | _place(item) for item in items)
        self._disk.sync_directory(self._directory)

    def put_back(self, items: Iterable[Item]) -> None:
        """They will be delivered after all. Raises OSError."""
        items = list(items)
        self._log({"put_back": True} | _place(item) for item in items)
        for item in items:
            self._path(item).unlink(missing_ok=True)

    def _path(self, item: Item) -> Path:
        return self._directory / f"{item.file}.{item.start}{SUFFIX}"

    def _write(self, path: Path, data: bytes) -> None:
        try:
            descriptor = self._disk.create(path, append=True)
        except FileExistsError:
            # Half of it, by somebody who was killed here.
            self._disk.unlink(path)
            descriptor = self._disk.create(path, append=True)
        self._fill(descriptor, data)

    def _log(self, entries: Iterable[dict[str, object]]) -> None:
        path = self._directory / LOG
        try:
            descriptor = self._disk.open(path, append=True)
        except FileNotFoundError:
            descriptor = self._disk.create(path, append=True)
        now = time.time()
        self._fill(descriptor, b"".join(json.dumps(entry | {"time": now}).encode() + b"\n" for entry in entries))

    def _fill(self, descriptor: int, data: bytes) -> None:
        try:
            while data:
                data = data[self._disk.write(descriptor, data) :]
            self._disk.sync(descriptor)
        finally:
            self._disk.close(descriptor)


def _place(item: Item) -> dict[str, object]:
    return {"file": item.file, "offset": item.start}


def quarantined(directory: Path) -> int:
    """How many undelivered lines lie in the quarantine of a journal directory. Raises OSError but for a missing one."""
    try:
        return sum(1 for name in os.listdir(directory / DIRECTORY) if name.endswith(SUFFIX))
    except FileNotFoundError:
        return 0


def reasons(directory: Path) -> Iterator[dict[str, object]]:
    """What ``refused.log`` says, oldest first; lines that cannot be read are passed over. Raises OSError but for a
    missing file."""
    try:
        file = open(directory / DIRECTORY / LOG, "rb")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # the end of a writer that was killed
            if isinstance(entry, dict):
                yield entry
