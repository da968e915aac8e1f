# SPDX-License-Identifier: Apache-2.0
"""A store written by processes of its own: one process of Python makes rows on one core only, however many threads it has.

The process that listens keeps all that there is one of (the port, the counts, the bounds) and hands each batch to a writer
that has none. What a batch came to, or why it could not be kept, comes back as if it had been written here.
"""

from __future__ import annotations

import gc
import multiprocessing
import queue
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Final, Literal

from .received import Batch, Rejected, Undecodable
from .store import Away, Kept, Store

Open = Callable[[], Store]

# From a server that has loaded everything and has no threads: its children share that memory. Windows has no such thing.
_METHOD: Final[Literal["forkserver", "spawn"]] = (
    "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
)
_END_SECONDS: Final = 10


class Writers:
    """As many processes as there are batches to be written at once; whatever is no batch is left to ``here``.

    ``open_store`` makes the store of a process, in it: pickled, so a function of a module with its arguments.
    """

    def __init__(self, here: Store, open_store: Open, processes: int) -> None:
        self._here = here
        context = multiprocessing.get_context(_METHOD)
        if _METHOD == "forkserver":
            context.set_forkserver_preload([__name__, "opentelemetry.instrumentation.mcp_audit.sink.sql"])
        self._writers = [_Writer(context, open_store) for _ in range(processes)]
        self._idle: queue.SimpleQueue[_Writer] = queue.SimpleQueue()
        for writer in self._writers:
            self._idle.put(writer)

    @property
    def name(self) -> str:
        return self._here.name

    def write(self, batch: Batch) -> Kept:
        writer = self._idle.get()
        try:
            return writer.write(batch)
        finally:
            self._idle.put(writer)

    def reject(self, item: Rejected) -> None:
        self._here.reject(item)

    def ping(self) -> None:
        self._here.ping()

    def tend(self) -> list[str]:
        return self._here.tend()

    def close(self) -> None:
        """After the last batch: a writer ends when nobody can send it any more."""
        for writer in self._writers:
            writer.close()
        self._here.close()


class _Writer:
    """One process, and this end of the pipe to it. Used by one thread at a time."""

    def __init__(self, context: Any, open_store: Open) -> None:
        self._context = context
        self._open_store = open_store
        self._start()

    def write(self, batch: Batch) -> Kept:
        try:
            self._pipe.send(batch.encoding)
            self._pipe.send_bytes(batch.body)
            answer = self._pipe.recv()
        except (EOFError, OSError):
            # Killed, or out of memory. Whether the batch was committed is not known: who sends it again finds it there.
            self.close()
            code = self._process.exitcode
            self._start()
            raise Away(f"a writer process ended with exit code {code}; another one was started") from None
        if isinstance(answer, Exception):
            raise answer
        kept: Kept = answer
        return kept

    def close(self) -> None:
        self._pipe.close()
        self._process.join(_END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _start(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_work, args=(theirs, self._open_store), daemon=True)
        self._process.start()
        # Else the end of that process would not end what is read here.
        theirs.close()


def _work(pipe: Connection, open_store: Open) -> None:
    """What a writer process does: a batch, its answer, until the other end is closed."""
    # A signal to the whole group is for the process that listens: it lets what is under way be answered, and ends this one.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    collect_seldom()
    store = open_store()
    try:
        while True:
            encoding = pipe.recv()
            pipe.send(_written(store, Batch(pipe.recv_bytes(), encoding)))
    except EOFError:
        store.close()


def _written(store: Store, batch: Batch) -> Kept | Exception:
    try:
        return store.write(batch)
    except (Away, Undecodable) as error:
        return error
    except Exception:
        # A defect of ours. Not every exception can be sent; its text can.
        return RuntimeError(f"in a writer process:\n{traceback.format_exc()}")


def collect_seldom() -> None:
    """The cyclic collector, told that a batch of records is no reason to look through all that was imported."""
    # A batch makes some 50,000 objects and no cycles; with the default of 700 a tenth of the CPU went into looking for them.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
