# SPDX-License-Identifier: Apache-2.0
"""What both emitters do alike: which marks, how fast, how the process ends, and a tally of what was emitted.

The tally is a file with a line for each record whose emission returned (ours: whose call was answered); it is written by
the same system call that a crash cannot undo, so it is the N of "N emitted" however the process ends.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

Emit = Callable[[Iterable[str]], None]
ENDINGS = ("normal", "sigkill", "sigterm", "exit", "segfault", "uncaught")


class Tally:
    """The file of marks that were emitted."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def add(self, mark: str) -> None:
        os.write(self._descriptor, f"{mark}\n".encode())


def arguments() -> argparse.Namespace:
    """What the campaign asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="a", help="of this emitter, in its marks")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--rate", type=float, default=0.0, help="records a second, 0: as fast as it goes")
    parser.add_argument("--ending", choices=ENDINGS, default="normal")
    parser.add_argument("--script", choices=sorted(_SCRIPTS), default="plain")
    parser.add_argument("--size", type=int, default=0, help="characters of content a record")
    parser.add_argument("--tally", required=True)
    parser.add_argument("--auto", action="store_true", help="opentelemetry-instrument has set everything up")
    return parser.parse_args()


def run(emit: Emit, given: argparse.Namespace) -> None:
    """Emit and end as asked for."""
    marks = [f"mark-{given.name}-{number}-end" for number in range(given.count)]
    _SCRIPTS[given.script](emit, marks, given.rate)
    end(given.ending)


def end(how: str) -> None:
    """End this process in that way; return for ``normal``."""
    if how == "sigkill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "sigterm":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    elif how == "exit":
        os._exit(0)
    elif how == "segfault":
        ctypes.string_at(0)
    elif how == "uncaught":
        raise RuntimeError("this server's own mistake")


def paced(marks: Iterable[str], rate: float) -> Iterator[str]:
    """The marks at that rate, counted from the first."""
    began = time.monotonic()
    for number, mark in enumerate(marks):
        if rate:
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
        yield mark


def _plain(emit: Emit, marks: list[str], rate: float) -> None:
    emit(paced(marks, rate))


def _idle(emit: Emit, marks: list[str], rate: float) -> None:
    """Nothing happens for 3 s before the end."""
    emit(marks)
    time.sleep(3)


def _after_shutdown(emit: Emit, marks: list[str], rate: float) -> None:
    from opentelemetry._logs import get_logger_provider

    get_logger_provider().shutdown()  # type: ignore[attr-defined]
    emit(marks)


def _poison(emit: Emit, marks: list[str], rate: float) -> None:
    """One among the good that cannot be encoded (`poison`), or that the endpoint rejects by its mark (`rejected`)."""
    middle = len(marks) // 2
    emit([*marks[:middle], "mark-poison-0-end", *marks[middle:]])


def _clock_back(emit: Emit, marks: list[str], rate: float) -> None:
    """The clock is set back by an hour after half of them."""
    middle = len(marks) // 2
    emit(marks[:middle])
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() - 3600
    time.time_ns = lambda: real_ns() - 3600 * 10**9
    emit(marks[middle:])


def _fork(leave: Callable[[], None], used: float = 0.0) -> Callable[[Emit, list[str], float], None]:
    def script(emit: Emit, marks: list[str], rate: float) -> None:
        middle = len(marks) // 2
        emit(marks[:middle])
        time.sleep(used)  # until the exporter was used
        child = os.fork()
        if child == 0:
            emit(marks[middle:])
            leave()
        os.waitpid(child, 0)

    return script


def _multiprocessing(emit: Emit, marks: list[str], rate: float) -> None:
    """A third in the parent, a third in each of two children."""
    third = len(marks) // 3
    emit(marks[:third])
    context = multiprocessing.get_context("fork")
    parts = (marks[third : 2 * third], marks[2 * third :])
    children = [context.Process(target=emit, args=(part,)) for part in parts]
    for child in children:
        child.start()
    for child in children:
        child.join()


def _disk_full(emit: Emit, marks: list[str], rate: float) -> None:
    """The disk of the journal is full for the middle third: a file named by FAULTS_FILLER takes all that is left."""
    filler, third = Path(os.environ["FAULTS_FILLER"]), len(marks) // 3
    emit(marks[:third])
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 512, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    emit(marks[third : 2 * third])
    filler.unlink()
    time.sleep(1.5)
    emit(marks[2 * third :])


_SCRIPTS: dict[str, Callable[[Emit, list[str], float], None]] = {
    "plain": _plain,
    "idle": _idle,
    "after_shutdown": _after_shutdown,
    "poison": _poison,
    "rejected": _poison,
    "clock_back": _clock_back,
    "fork_exit": _fork(lambda: os._exit(0)),
    "fork_sysexit": _fork(lambda: sys.exit(0)),
    "fork_used": _fork(lambda: sys.exit(0), used=3.0),
    "multiprocessing": _multiprocessing,
    "disk_full": _disk_full,
}
