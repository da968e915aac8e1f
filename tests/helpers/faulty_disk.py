# SPDX-License-Identifier: Apache-2.0
"""A disk that fails on request: it refuses, writes short, hangs, or does its work and is interrupted right after.

Every operation is noted. A fault strikes operations by their name and by the name of the file they work on; all take
effect while their ``with`` block lasts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from opentelemetry.instrumentation.mcp_audit.journal.disk import REAL_DISK, Disk

SEGMENT = "[0-9]*Z-*.jsonl"
LEDGER = "ledger.jsonl"


class Step(NamedTuple):
    """One operation: what it was, the name of its file, the thread that asked for it, how much was to be written."""

    operation: str
    name: str
    thread: str
    size: int = 0


@dataclass(eq=False)
class Fault:
    """What happens to the operations that it strikes. ``hits`` counts those; ``skip`` come off unharmed before them."""

    operations: tuple[str, ...]
    name: str
    skip: int
    times: int | None
    strike: Callable[[Callable[..., Any], list[Any]], Any]
    longer: int = -1
    hits: int = 0
    passed: int = 0
    entered: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def release(self) -> None:
        """Let go what hangs here, and hang nothing more."""
        self.times = self.hits
        self.released.set()

    def strikes(self, step: Step) -> bool:
        if self.operations and step.operation not in self.operations or not fnmatchcase(step.name, self.name):
            return False
        if step.size <= self.longer:
            return False
        if self.passed < self.skip:
            self.passed += 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True


class FaultyDisk:
    """A :class:`Disk` that does what the real one does, unless a fault strikes. ``steps``: all that was asked of it."""

    def __init__(self, disk: Disk = REAL_DISK) -> None:
        self.steps: list[Step] = []
        self._disk = disk
        self._names: dict[int, str] = {}
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def asked(self, operation: str, name: str = "*") -> list[Step]:
        """The operations of this name on files of this name so far."""
        return [step for step in list(self.steps) if step.operation == operation and fnmatchcase(step.name, name)]

    @contextmanager
    def raising(
        self,
        error: BaseException,
        *operations: str,
        name: str = "*",
        skip: int = 0,
        times: int | None = None,
        after: bool = False,
        longer: int = -1,
    ) -> Iterator[Fault]:
        """Raise ``error`` instead of working; with ``after`` when the work is done. No ``operations``: all.

        ``longer``: only when more bytes than that are to be written.
        """

        def strike(work: Callable[..., Any], arguments: list[Any]) -> Any:
            if after:
                work(*arguments)
            raise error

        with self._during(Fault(operations, name, skip, times, strike, longer)) as fault:
            yield fault

    @contextmanager
    def short(self, taken: int, name: str = "*", skip: int = 0, times: int | None = None) -> Iterator[Fault]:
        """Write only the first ``taken`` bytes of what is to be written."""

        def strike(work: Callable[..., Any], arguments: list[Any]) -> Any:
            return work(arguments[0], arguments[1][:taken], *arguments[2:])

        with self._during(Fault(("write", "write_at"), name, skip, times, strike)) as fault:
            yield fault

    @contextmanager
    def hanging(self, *operations: str, name: str = "*", skip: int = 0, times: int | None = None) -> Iterator[Fault]:
        """Hang, before the work is done, until ``release()`` or the end of the block. ``entered`` is set by the first."""
        fault: Fault

        def strike(work: Callable[..., Any], arguments: list[Any]) -> Any:
            fault.entered.set()
            assert fault.released.wait(60), "nobody let go what hangs"
            return work(*arguments)

        fault = Fault(operations, name, skip, times, strike)
        try:
            with self._during(fault):
                yield fault
        finally:
            fault.release()

    @contextmanager
    def calling(
        self, function: Callable[[], object], *operations: str, name: str = "*", times: int | None = 1
    ) -> Iterator[Fault]:
        """Call ``function`` before the work is done: what another thread or process does at that moment."""

        def strike(work: Callable[..., Any], arguments: list[Any]) -> Any:
            function()
            return work(*arguments)

        with self._during(Fault(operations, name, 0, times, strike)) as fault:
            yield fault

    @contextmanager
    def _during(self, fault: Fault) -> Iterator[Fault]:
        self._faults.append(fault)
        try:
            yield fault
        finally:
            self._faults.remove(fault)

    def _do(self, operation: str, name: str, work: Callable[..., Any], *arguments: Any) -> Any:
        size = len(arguments[1]) if operation in ("write", "write_at") else 0
        step = Step(operation, name, threading.current_thread().name, size)
        with self._lock:
            self.steps.append(step)
            struck = next((fault for fault in self._faults if fault.strikes(step)), None)
        return work(*arguments) if struck is None else struck.strike(work, list(arguments))

    def _name(self, descriptor: int) -> str:
        return self._names.get(descriptor, "")

    # --- Disk ------------------------------------------------------------------------------------------------------

    def create(self, path: Path, *, append: bool) -> int:
        made: int = self._do("create", path.name, lambda: self._disk.create(path, append=append))
        self._names[made] = path.name
        return made

    def open(self, path: Path, *, append: bool) -> int:
        made: int = self._do("open", path.name, lambda: self._disk.open(path, append=append))
        self._names[made] = path.name
        return made

    def write(self, descriptor: int, data: bytes) -> int:
        written: int = self._do("write", self._name(descriptor), self._disk.write, descriptor, data)
        return written

    def write_at(self, descriptor: int, data: bytes, offset: int) -> int:
        written: int = self._do("write_at", self._name(descriptor), self._disk.write_at, descriptor, data, offset)
        return written

    def allocate(self, descriptor: int, size: int) -> None:
        self._do("allocate", self._name(descriptor), self._disk.allocate, descriptor, size)

    def truncate(self, descriptor: int, size: int) -> None:
        self._do("truncate", self._name(descriptor), self._disk.truncate, descriptor, size)

    def sync(self, descriptor: int) -> None:
        self._do("sync", self._name(descriptor), self._disk.sync, descriptor)

    def sync_directory(self, path: Path) -> None:
        self._do("sync_directory", path.name, self._disk.sync_directory, path)

    def unlink(self, path: Path) -> None:
        self._do("unlink", path.name, self._disk.unlink, path)

    def replace(self, source: Path, target: Path) -> None:
        self._do("replace", target.name, self._disk.replace, source, target)
        self._names = {key: target.name if name == source.name else name for key, name in self._names.items()}

    def make_directory(self, path: Path) -> None:
        self._do("make_directory", path.name, self._disk.make_directory, path)

    def lock(self, descriptor: int) -> bool:
        taken: bool = self._do("lock", self._name(descriptor), self._disk.lock, descriptor)
        return taken

    def close(self, descriptor: int) -> None:
        # Never refused: close(2) frees the descriptor whatever it says.
        self._do("close", self._name(descriptor), self._disk.close, descriptor)
