# SPDX-License-Identifier: Apache-2.0
"""A disk that does everything for real in a directory and writes down what it did, operation by operation.

From the list, ``images.py`` computes what a crash at any point would have left. One :class:`Log` belongs to a directory;
each process of a history (here: each journal) has a :class:`Recording` of its own, so that it can be made to die.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from opentelemetry.instrumentation.mcp_audit.journal.disk import REAL_DISK, Disk


@dataclass(frozen=True, slots=True)
class Create:
    """A new name in a directory, for a new and empty file."""

    name: str
    file: int


@dataclass(frozen=True, slots=True)
class MakeDirectory:
    name: str


@dataclass(frozen=True, slots=True)
class Write:
    """``append``: its offset was the end of the file."""

    file: int
    offset: int
    data: bytes
    append: bool


@dataclass(frozen=True, slots=True)
class Allocate:
    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Truncate:
    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """``done`` is False when it failed: what was dirty may then never reach the disk, although later syncs succeed."""

    file: int
    done: bool = True


@dataclass(frozen=True, slots=True)
class SyncDirectory:
    name: str


@dataclass(frozen=True, slots=True)
class Unlink:
    name: str


@dataclass(frozen=True, slots=True)
class Replace:
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Mark:
    """What the history's writer knows at this point: ``began`` (the call's slot is set), ``ending``, then ``told`` (append
    returned) or ``lost`` (it failed). ``boot``: the machine has started anew, in good order; what it says is which boot."""

    what: str
    record_id: str


Operation = Create | MakeDirectory | Write | Allocate | Truncate | Sync | SyncDirectory | Unlink | Replace | Mark


@dataclass
class Log:
    """What happened below ``base``. ``initial`` are the files that were there before, on the disk; by name.

    ``room``: bytes that still fit on this disk, None for plenty. ``refuse`` may return the error with which an operation
    (``create``, ``write``, ``sync``, …) on a name shall fail.
    """

    base: Path
    operations: list[Operation] = field(default_factory=list)
    initial: dict[str, bytes] = field(default_factory=dict)
    directories: set[str] = field(default_factory=set)
    directories_before: frozenset[str] = frozenset()
    names: dict[str, int] = field(default_factory=dict)
    names_before: dict[str, int] = field(default_factory=dict)
    room: int | None = None
    refuse: Callable[[str, str], OSError | None] = lambda operation, name: None
    lock: threading.RLock = field(default_factory=threading.RLock)
    files: int = 0

    @staticmethod
    def of(base: Path, known: Mapping[str, int] | None = None) -> Log:
        """A log of a directory that may already hold files; ``known`` are their numbers, if they have any."""
        known = known or {}
        log = Log(base, files=max(known.values(), default=0))
        for path in sorted(base.rglob("*")):
            name = path.relative_to(base).as_posix()
            if path.is_dir():
                log.directories.add(name)
            else:
                log.initial[name] = path.read_bytes()
                if name in known:
                    log.names[name] = known[name]
                else:
                    log.new_file(name)
        log.directories_before = frozenset(log.directories)
        log.names_before = dict(log.names)
        return log

    def new_file(self, name: str) -> int:
        self.files += 1
        self.names[name] = self.files
        return self.files

    def name(self, path: Path) -> str:
        """The path below ``base``, "" for itself. The journal has no business elsewhere: ValueError."""
        name = path.relative_to(self.base).as_posix()
        return "" if name == "." else name

    def mark(self, what: str, record_id: str) -> None:
        with self.lock:
            self.operations.append(Mark(what, record_id))


class Recording:
    """A :class:`Disk` of one process. Marks and operations of one log are in the order in which they happened."""

    def __init__(self, log: Log, real: Disk = REAL_DISK) -> None:
        self._log = log
        self._real = real
        self._open: dict[int, tuple[int, str]] = {}

    def die(self) -> None:
        """What ``kill -9`` does to a process's files: descriptors and their locks are gone, nothing is written."""
        for descriptor in list(self._open):
            self._forget(descriptor)
            os.close(descriptor)

    @property
    def held(self) -> int:
        """How many descriptors are open: a leak shows here."""
        return len(self._open)

    def create(self, path: Path, *, append: bool) -> int:
        with self._log.lock:
            name = self._allowed("create", path)
            descriptor = self._real.create(path, append=append)
            file = self._log.new_file(name)
            self._log.operations.append(Create(name, file))
            self._open[descriptor] = (file, name)
            return descriptor

    def open(self, path: Path, *, append: bool) -> int:
        with self._log.lock:
            name = self._allowed("open", path)
            descriptor = self._real.open(path, append=append)
            self._open[descriptor] = (self._log.names[name], name)
            return descriptor

    def write(self, descriptor: int, data: bytes) -> int:
        with self._log.lock:
            file, name = self._of("write", descriptor)
            offset = os.fstat(descriptor).st_size
            wanted = self._fitting(len(data))
            written = self._real.write(descriptor, data[:wanted])
            self._log.operations.append(Write(file, offset, bytes(data[:written]), append=True))
            return written

    def write_at(self, descriptor: int, data: bytes, offset: int) -> int:
        with self._log.lock:
            file, name = self._of("write_at", descriptor)
            size = os.fstat(descriptor).st_size
            wanted = len(data)
            if offset + wanted > size:
                wanted = size - offset + self._fitting(offset + wanted - size)
            written = self._real.write_at(descriptor, data[:wanted], offset)
            self._log.operations.append(Write(file, offset, bytes(data[:written]), append=False))
            return written

    def allocate(self, descriptor: int, size: int) -> None:
        with self._log.lock:
            file, name = self._of("allocate", descriptor)
            more = size - os.fstat(descriptor).st_size
            if more > 0:
                if self._log.room is not None and self._log.room < more:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
                self._fitting(more)
            self._real.allocate(descriptor, size)
            self._log.operations.append(Allocate(file, size))

    def truncate(self, descriptor: int, size: int) -> None:
        with self._log.lock:
            file, name = self._of("truncate", descriptor)
            self._give_back(os.fstat(descriptor).st_size - size)
            self._real.truncate(descriptor, size)
            self._log.operations.append(Truncate(file, size))

    def sync(self, descriptor: int) -> None:
        with self._log.lock:
            try:
                file, name = self._of("sync", descriptor)
            except OSError:
                self._log.operations.append(Sync(self._open[descriptor][0], done=False))
                raise
            # Not for real: nobody pulls the plug, and a test's time is short.
            self._log.operations.append(Sync(file))

    def sync_directory(self, path: Path) -> None:
        if path in self._log.base.parents:
            return  # what is above was there before, and is on the disk
        with self._log.lock:
            self._log.operations.append(SyncDirectory(self._allowed("sync_directory", path)))

    def unlink(self, path: Path) -> None:
        with self._log.lock:
            name = self._allowed("unlink", path)
            size = os.lstat(path).st_size
            self._real.unlink(path)
            self._give_back(size)
            del self._log.names[name]
            self._log.operations.append(Unlink(name))

    def replace(self, source: Path, target: Path) -> None:
        with self._log.lock:
            name = self._allowed("replace", source)
            self._real.replace(source, target)
            onto = self._log.name(target)
            self._log.names[onto] = self._log.names.pop(name)
            self._log.operations.append(Replace(name, onto))

    def make_directory(self, path: Path) -> None:
        with self._log.lock:
            name = self._allowed("make_directory", path)
            missing = []
            while name and not (self._log.base / name).is_dir():
                missing.append(name)
                name = name.rpartition("/")[0]
            self._real.make_directory(path)
            self._log.directories.update(missing)
            self._log.operations.extend(MakeDirectory(each) for each in reversed(missing))

    def lock(self, descriptor: int) -> bool:
        return self._real.lock(descriptor)

    def close(self, descriptor: int) -> None:
        with self._log.lock:
            self._forget(descriptor)
            self._real.close(descriptor)

    # --- how --------------------------------------------------------------------------------------------------------

    def _allowed(self, operation: str, path: Path) -> str:
        name = self._log.name(path)
        error = self._log.refuse(operation, name)
        if error is not None:
            raise error
        return name

    def _of(self, operation: str, descriptor: int) -> tuple[int, str]:
        file, name = self._open.get(descriptor) or self._elsewhere(descriptor)
        error = self._log.refuse(operation, name)
        if error is not None:
            raise error
        return file, name

    def _elsewhere(self, descriptor: int) -> tuple[int, str]:
        """The file of a descriptor that was opened to read, or duplicated, without us."""
        status = os.fstat(descriptor)
        for name, file in self._log.names.items():
            if os.path.samestat(status, os.lstat(self._log.base / name)):
                return file, name
        raise AssertionError(f"descriptor {descriptor} is no file of this disk")

    def _forget(self, descriptor: int) -> None:
        self._open.pop(descriptor, None)

    def _fitting(self, size: int) -> int:
        """How many of ``size`` new bytes fit; OSError when none does."""
        if self._log.room is None:
            return size
        if self._log.room == 0 and size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fits = min(size, self._log.room)
        self._log.room -= fits
        return fits

    def _give_back(self, size: int) -> None:
        if self._log.room is not None:
            self._log.room = max(0, self._log.room + size)
