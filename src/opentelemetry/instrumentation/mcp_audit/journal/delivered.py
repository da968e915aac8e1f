# SPDX-License-Identifier: Apache-2.0
"""``delivered.log``: how far each file of a directory was acknowledged by the endpoint that it is delivered to.

One JSON object a line: ``{"version":1}``, then ``{"file","offset","check"}``; of a file the last line holds. ``offset``
ends a line of that file; ``check`` is the CRC-32 of the (up to 256) bytes before it, in hex: a file that is no longer the
one that was read is sent again from its beginning. Lines that cannot be read are passed over: what they said is then
delivered once more, and the receiver knows it by its record ids. Written by whoever holds ``delivered.lock``.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from .disk import Disk
from .reserve import Reserve, acknowledging

DELIVERED: Final = "delivered.log"
DELIVERED_LOCK: Final = "delivered.lock"
_NEXT: Final = "delivered.log.next"
_VERSION: Final = 1
# Lines that say nothing any more, before the file is written anew.
_STALE_LINES: Final = 4096


class Place(NamedTuple):
    """How far a file was acknowledged, and the checksum of what stands before that."""

    offset: int
    check: int


class NewerState(OSError):
    """The state was written by a newer release, which may mean something else with it."""


def read_delivered(directory: Path) -> dict[str, Place]:
    """What was acknowledged, by file name; nothing when there is no such file. Raises OSError, also :class:`NewerState`."""
    return _read(directory)[0]


def is_delivered(places: Mapping[str, Place], name: str, size: int) -> bool:
    """Whether all of a segment that is over was acknowledged. One of which nothing is known was not."""
    place = places.get(name)
    return place is not None and place.offset >= size


class Delivered:
    """The state of one directory, held by the one who delivers it."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        """Read it. Raises OSError."""
        self._directory = directory
        self._disk = disk
        self._reserve = Reserve(directory, disk)
        self.places, self._lines = _read(directory)
        self._descriptor: int | None = None

    def advance(self, places: Mapping[str, Place]) -> None:
        """These files were acknowledged so far; on the disk on return. Raises OSError."""
        self.places.update(places)
        acknowledging(self._reserve, lambda: self._write_down(places))

    def forget(self, names: Iterable[str]) -> None:
        """Files that are gone; on the disk with the next line that is."""
        for name in names:
            self.places.pop(name, None)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._disk.close(descriptor)

    def _write_down(self, places: Mapping[str, Place]) -> None:
        if self._descriptor is None or self._lines > len(self.places) + _STALE_LINES:
            self._write_anew()
            return
        self._append(self._descriptor, places)
        self._lines += len(places)

    def _append(self, descriptor: int, places: Mapping[str, Place]) -> None:
        data = b"".join(
            _line({"file": name, "offset": p.offset, "check": f"{p.check:08x}"}) for name, p in places.items()
        )
        try:
            self._write(descriptor, data)
            self._disk.sync(descriptor)
        except OSError:
            # Perhaps half a line: what follows begins in a file of its own.
            self.close()
            raise

    def _write(self, descriptor: int, data: bytes) -> None:
        if (written := self._disk.write(descriptor, data)) != len(data):
            raise OSError(errno.ENOSPC, f"only {written} of {len(data)} bytes could be written (is the disk full?)")

    def _write_anew(self) -> None:
        """The first time, and when it has become long: another file takes its place."""
        self.close()
        following = self._directory / _NEXT
        try:
            self._disk.unlink(following)
        except FileNotFoundError:
            pass  # nobody died here
        descriptor = self._disk.create(following, append=True)
        try:
            self._write(descriptor, _line({"version": _VERSION}))
            self._append(descriptor, self.places)
            self._disk.replace(following, self._directory / DELIVERED)
            self._disk.sync_directory(self._directory)
        except BaseException:
            self._disk.close(descriptor)
            raise
        self._descriptor, self._lines = descriptor, len(self.places)


def _line(tree: Mapping[str, object]) -> bytes:
    return json.dumps(tree, separators=(",", ":")).encode() + b"\n"


def _read(directory: Path) -> tuple[dict[str, Place], int]:
    places: dict[str, Place] = {}
    count = 0
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(directory / DELIVERED, flags)
    except FileNotFoundError:
        return places, count
    with os.fdopen(descriptor, "rb") as file:
        for line in file:
            count += 1
            try:
                tree = json.loads(line)
                if "version" in tree and tree["version"] != _VERSION:
                    raise NewerState(f"{DELIVERED} is of version {tree['version']}; this release knows {_VERSION}")
                if "file" in tree:
                    places[str(tree["file"])] = Place(int(tree["offset"]), int(tree["check"], 16))
            except (ValueError, TypeError, KeyError, RecursionError):
                continue  # sent again, as the docstring says
    return places, count
