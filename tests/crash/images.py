# SPDX-License-Identifier: Apache-2.0
"""What a directory may look like after a crash, computed from the operations that were done in it. Pure.

A killed process leaves the page cache: every operation before the kill, and a last write that may have been cut short.
A power cut leaves less. Of each file that was written since its last sync every page may be of any moment since then,
and so may the size, each by itself: that is a suffix kept, missing, zeroed (the size came through, the pages did not) or
in disorder. Of each directory every change since its last sync may have come through or not, whatever the order.
"""

from __future__ import annotations

import copy
import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, TypeVar

from disk_log import (
    Allocate,
    Create,
    Log,
    MakeDirectory,
    Mark,
    Operation,
    Replace,
    Sync,
    SyncDirectory,
    Truncate,
    Unlink,
    Write,
)

T = TypeVar("T")

_HOLES: Final = 6
"""In how many sectors of a file a single hole is tried."""
SECTOR: Final = 512
"""What a disk writes whole. A page of the system is eight of them; both are tried."""

KINDS: Final = ("killed", "in a write", "kept", "names", "missing", "zeroed", "disorder")
"""A process killed between two operations, or inside a write. A power cut that took nothing; that took only changes of
names (creations, renames, unlinks); that took the end of a file; whose pages are zeros; whose pages are of several moments
(each of the last three may also have taken names)."""


@dataclass(frozen=True, slots=True)
class Image:
    """One possible directory: files by name below the base, and directories. ``prefix``: how many operations were done.

    ``kind`` is one of KINDS. ``what`` says in words which choice it is: with the operations this is all one needs to see
    it again.
    """

    files: dict[str, bytes]
    directories: frozenset[str]
    prefix: int
    kind: str
    what: str

    def same(self) -> tuple[frozenset[tuple[str, bytes]], frozenset[str]]:
        """What two images have in common that look the same."""
        return frozenset(self.files.items()), self.directories


@dataclass(slots=True)
class File:
    """A file's contents since its last sync: of each sector and of the size, what they were from which moment on.

    The first of each list is what is on the disk. ``dirty`` are the sectors that the next sync will write: those that a
    failed sync gave up are no longer among them, and are on the disk or not for good.
    """

    sizes: list[tuple[int, int]]
    sectors: dict[int, list[tuple[int, bytes]]] = field(default_factory=dict)
    dirty: set[int] = field(default_factory=set)
    size_dirty: bool = False
    _latest: bytes | None = None

    @staticmethod
    def holding(data: bytes, moment: int = 0) -> File:
        file = File([(moment, len(data))])
        for start in range(0, len(data), SECTOR):
            file.sectors[start // SECTOR] = [(moment, _whole(data[start : start + SECTOR]))]
        return file

    @property
    def size(self) -> int:
        return self.sizes[-1][1]

    def write(self, moment: int, offset: int, data: bytes) -> None:
        self._latest = None
        position = 0
        while position < len(data):
            sector, start = divmod(offset + position, SECTOR)
            part = data[position : position + SECTOR - start]
            now = self._now(sector)
            self._set(moment, sector, now[:start] + part + now[start + len(part) :])
            position += len(part)
        if offset + len(data) > self.size:
            self.resize(moment, offset + len(data))

    def resize(self, moment: int, size: int) -> None:
        if size == self.size:
            return
        self._latest = None
        for sector in [each for each in self.sectors if (each + 1) * SECTOR > size]:
            kept = max(0, size - sector * SECTOR)
            now = self._now(sector)
            if any(now[kept:]):
                self._set(moment, sector, _whole(now[:kept]))
        self.sizes.append((moment, size))
        self.size_dirty = True

    def sync(self, done: bool) -> None:
        """``fdatasync``: what is dirty comes on the disk, or is given up."""
        if done:
            for sector in self.dirty:
                self.sectors[sector] = self.sectors[sector][-1:]
            if self.size_dirty:
                self.sizes = self.sizes[-1:]
        self.dirty = set()
        self.size_dirty = False

    def latest(self) -> bytes:
        """The content as the running system sees it."""
        if self._latest is None:
            self._latest = self.at(math.inf, {})
        return self._latest

    def moments(self) -> list[int]:
        """The moments since which something is not surely on the disk; empty when all is."""
        found = {moment for history in self.sectors.values() for moment, _ in history[1:]}
        found |= {moment for moment, _ in self.sizes[1:]}
        return sorted(found)

    def unsure(self) -> list[int]:
        """The sectors of which more than one content is possible."""
        return sorted(sector for sector, history in self.sectors.items() if len(history) > 1)

    def at(self, size_moment: float, moments: dict[int, float], rest: float = math.inf) -> bytes:
        """The content with the size of one moment and each sector as of its own (``rest`` for those not named)."""
        size = _as_of(self.sizes, size_moment)
        data = bytearray(size)
        for sector, history in self.sectors.items():
            start = sector * SECTOR
            if start < size:
                part = _as_of(history, moments.get(sector, rest))[: size - start]
                data[start : start + len(part)] = part
        return bytes(data)

    def _now(self, sector: int) -> bytes:
        history = self.sectors.get(sector)
        return history[-1][1] if history else bytes(SECTOR)

    def _set(self, moment: int, sector: int, content: bytes) -> None:
        self.sectors.setdefault(sector, [(-1, bytes(SECTOR))]).append((moment, content))
        self.dirty.add(sector)


@dataclass(slots=True)
class Model:
    """The disk after some operations: names as they are on it, changes of names since, and the files."""

    names: dict[str, int]
    directories: frozenset[str]
    files: dict[int, File]
    changes: list[tuple[str, Operation]] = field(default_factory=list)
    done: int = 0

    @staticmethod
    def of(log: Log) -> Model:
        """Before the first operation of the log."""
        names = log.names_before
        files = {number: File.holding(log.initial[name]) for name, number in names.items()}
        return Model(dict(names), log.directories_before, files)

    @staticmethod
    def settled(image: Image) -> Model:
        """A machine that starts with this image: all of it is on the disk."""
        names = Model.names_in(image)
        files = {names[name]: File.holding(data, image.prefix) for name, data in image.files.items()}
        return Model(names, image.directories, files, done=image.prefix)

    @staticmethod
    def names_in(image: Image) -> dict[str, int]:
        """The numbers that the files of an image have from then on."""
        return {name: number for number, name in enumerate(image.files, 1)}

    def apply(self, operation: Operation) -> None:
        self.done += 1
        match operation:
            case Create(name, file):
                self.files[file] = File([(self.done, 0)])
                self.changes.append((_parent(name), operation))
            case Write(file, offset, data):
                self.files[file].write(self.done, offset, data)
            case Allocate(file, size):
                self.files[file].resize(self.done, max(size, self.files[file].size))
            case Truncate(file, size):
                self.files[file].resize(self.done, size)
            case Sync(file, done):
                self.files[file].sync(done)
            case SyncDirectory(name):
                of_it = [change for parent, change in self.changes if parent == name]
                self.names, self.directories = _renamed(self.names, self.directories, of_it)
                self.changes = [change for change in self.changes if change[0] != name]
            case MakeDirectory(name) | Unlink(name):
                self.changes.append((_parent(name), operation))
            case Replace(_, target):
                self.changes.append((_parent(target), operation))
            case Mark():
                pass

    def names_now(self) -> dict[str, int]:
        """The files by name, as the running system sees them."""
        return _renamed(self.names, self.directories, [change for _, change in self.changes])[0]

    def killed(self) -> Image:
        """What a killed process leaves."""
        return self._image([True] * len(self.changes), {}, "killed", "killed")

    def power_cuts(self, chance: random.Random, cap: int) -> Iterator[Image]:
        """What a power cut may leave: the plain cases first, then combinations, ``cap`` at most, each look once."""
        contents = {file: list(_contents(of, chance)) for file, of in self.files.items() if of.moments()}
        seen = set()
        for changes, picked in itertools.islice(self._choices(contents, chance), 4 * cap):
            chosen = {file: contents[file][index] for file, index in sorted(picked.items())}
            kinds = {content.kind for content in chosen.values()} | ({"names"} if not all(changes) else {"kept"})
            flags = "".join("y" if each else "n" for each in changes)
            what = f"power names={flags} " + " ".join(f"{file}:{content.what}" for file, content in chosen.items())
            data = {file: content.data for file, content in chosen.items()}
            image = self._image(changes, data, max(kinds, key=KINDS.index), what)
            if image.same() not in seen:
                seen.add(image.same())
                yield image
            if len(seen) >= cap:
                return

    def _choices(
        self, contents: dict[int, list[Content]], chance: random.Random
    ) -> Iterator[tuple[list[bool], dict[int, int]]]:
        """Which changes of names came through, and which content each unsure file has. Endless: the reader stops.

        All or nothing first, then each change of a name and each content of a file by itself, then what goes together.
        """
        none, every = [False] * len(self.changes), [True] * len(self.changes)
        kept = dict.fromkeys(contents, 0)
        for index in range(max((len(found) for found in contents.values()), default=1)):
            picked = {file: min(index, len(found) - 1) for file, found in contents.items()}
            yield every, picked
            if index < 2:
                yield none, picked
        for one in range(len(self.changes)):
            yield [index != one for index in range(len(self.changes))], kept
            yield [index == one for index in range(len(self.changes))], kept
        for file, found in contents.items():
            for index in range(len(found)):
                yield every, {**kept, file: index}
        total = math.prod((2 ** len(self.changes), *(len(found) for found in contents.values())))
        if total <= 64:
            ranges = [range(len(found)) for found in contents.values()]
            for flags in itertools.product([True, False], repeat=len(self.changes)):
                for combination in itertools.product(*ranges):
                    yield list(flags), dict(zip(contents, combination, strict=True))
            return
        while True:
            flags = tuple(chance.random() < 0.5 for _ in self.changes)
            yield list(flags), {file: chance.randrange(len(found)) for file, found in contents.items()}

    def _image(self, changes: Sequence[bool], data: dict[int, bytes], kind: str, what: str) -> Image:
        kept = [change for (_, change), came in zip(self.changes, changes, strict=True) if came]
        names, directories = _renamed(self.names, self.directories, kept)
        there = frozenset(name for name in directories if all(above in directories for above in _above(name)))
        files = {
            name: data[file] if file in data else self.files[file].latest()
            for name, file in names.items()
            if all(above in there for above in _above(name))
        }
        return Image(files, there, self.done, kind, what)


def kills(log: Log) -> Iterator[Image]:
    """Every state that a killed process may leave, in order; a state that looks like the one before is left out."""
    model = Model.of(log)
    last = model.killed()
    yield last
    for operation in log.operations:
        yield from (image for _, image in cut_short(model, operation))
        model.apply(operation)
        image = model.killed()
        if image.same() != last.same() or isinstance(operation, Mark):
            yield image
            last = image


def power_cuts(log: Log, chance: random.Random, cap: int) -> Iterator[Image]:
    """What a power cut after each operation may leave, ``cap`` states a prefix at most."""
    model = Model.of(log)
    yield from model.power_cuts(chance, cap)
    for operation in log.operations:
        model.apply(operation)
        yield from model.power_cuts(chance, cap)


def cut_short(model: Model, operation: Operation) -> Iterator[tuple[Model, Image]]:
    """What is left when the process is killed inside this operation, the next one after those of ``model``.

    A deadly signal ends a long write between two pages: the file has a part of it.
    """
    if not isinstance(operation, Write) or not operation.append:
        return
    for length in sorted({1, len(operation.data) // 2, len(operation.data) - 1} - {0, len(operation.data)}):
        begun = copy.deepcopy(model)
        begun.apply(replace(operation, data=operation.data[:length]))
        yield begun, begun._image([True] * len(begun.changes), {}, "in a write", f"killed {length} bytes into a write")


class Content(NamedTuple):
    """One content that an unsure file may have. ``kind`` is one of KINDS."""

    kind: str
    what: str
    data: bytes


def _contents(file: File, chance: random.Random) -> Iterator[Content]:
    """The contents that an unsure file may have: plain cases first."""
    moments, unsure = file.moments(), file.unsure()
    before = moments[0] - 1
    yield Content("kept", "kept", file.latest())
    yield Content("missing", "missing", file.at(before, dict.fromkeys(unsure, before)))
    if unsure:
        yield Content("zeroed", "zeroed", file.at(math.inf, dict.fromkeys(unsure, before)))
    if len(unsure) > 1:
        yield Content("disorder", "only last sector", file.at(math.inf, dict.fromkeys(unsure[:-1], before)))
        yield Content("disorder", "all but last sector", file.at(math.inf, {unsure[-1]: before}))
        holes = unsure[:-1] if len(unsure) <= _HOLES else sorted(chance.sample(unsure[:-1], _HOLES))
        for hole in holes:
            yield Content("disorder", f"without sector {hole}", file.at(math.inf, {hole: before}))
    for unit in (1, 8):
        pages = sorted({sector // unit for sector in unsure})
        as_of = {page: chance.choice([before, *moments]) for page in pages}
        size = chance.choice([before, *moments])
        mixed = file.at(size, {sector: as_of[sector // unit] for sector in unsure})
        yield Content("disorder", f"mixed by {unit}", mixed)
    if len(moments) > 1:
        moment = chance.choice(moments[:-1])
        yield Content("missing", "up to a moment", file.at(moment, dict.fromkeys(unsure, moment)))


def _renamed(
    names: dict[str, int], directories: frozenset[str], changes: Sequence[Operation]
) -> tuple[dict[str, int], frozenset[str]]:
    """Names after some changes; one that needs another which did not come through does nothing."""
    names, made = dict(names), set(directories)
    for change in changes:
        match change:
            case Create(name, file):
                names[name] = file
            case Unlink(name):
                names.pop(name, None)
            case Replace(source, target):
                if source in names:
                    names[target] = names.pop(source)
            case MakeDirectory(name):
                made.add(name)
    return names, frozenset(made)


def _as_of(history: list[tuple[int, T]], moment: float) -> T:
    """The last entry at or before the moment; what is on the disk when all are later."""
    found = history[0][1]
    for since, content in history[1:]:
        if since <= moment:
            found = content
    return found


def _whole(data: bytes) -> bytes:
    return data + bytes(SECTOR - len(data))


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def _above(name: str) -> Iterator[str]:
    while name := _parent(name):
        yield name
