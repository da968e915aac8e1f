# SPDX-License-Identifier: Apache-2.0
"""Scripted histories of journals: what processes do in one directory, from the first file to the last.

Each is a function of a :class:`Script`; with the same seed it is the same history, operation by operation.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from disk_log import Log, Mark
from processes import JOURNAL, Machine, Process, boot_id

from opentelemetry.instrumentation.mcp_audit.journal.acknowledged import acknowledge
from opentelemetry.instrumentation.mcp_audit.journal.journal import Options

KIB = 1024


@dataclass
class Script:
    machine: Machine
    log: Log
    started: int = 0

    def process(self, **options: Any) -> Process:
        """The next process, which opens its journal."""
        self.started += 1
        process = Process(self.machine, self.log, 1000 + self.started, Options(**{"adopts": False, **options}))
        process.open()
        return process


def record(history: Callable[[Script], None], seed: int) -> Log:
    """Play a history in a directory that is thrown away; what was done in it."""
    with tempfile.TemporaryDirectory(prefix="history-") as name, Machine(seed).running() as machine:
        base = Path(name)
        if history is not new_directory:
            (base / JOURNAL).mkdir(mode=0o700)
        log = Log.of(base)
        history(Script(machine, log))
        assert any(isinstance(each, Mark) and each.what == "told" for each in log.operations), "nothing was recorded"
        return log


def one_life(script: Script) -> None:
    """Open, append, commit, append, close."""
    process = script.process()
    process.calls(2)
    process.tick()
    process.calls(2, size=3 * KIB)
    process.close()


def new_directory(script: Script) -> None:
    """The journal's directory is not there yet: making it must survive as well as what is written in it."""
    one_life(script)


def calls_in_flight(script: Script) -> None:
    """Calls that overlap, commits in between, and a process that dies with two of them open."""
    process = script.process()
    first, second, third = process.begin(), process.begin(2 * KIB), process.begin()
    process.end(second)
    process.tick()
    fourth = process.begin()
    process.end(first)
    process.end(process.begin())
    process.tick()
    process.die()
    assert third.slot and fourth.slot


def always_synced(script: Script) -> None:
    """``fsync=always`` as the hooks use it: written, then waited for."""
    process = script.process(fsync="always")
    for size in (0, 5 * KIB, 0):
        process.calls(1, size, wait=True)
    process.close()


def waited_for(script: Script) -> None:
    """Some are waited for although nothing syncs otherwise, over a rotation; what came before is then safe too."""
    process = script.process(fsync="never", segment_bytes=4 * KIB)
    for size in (0, 3 * KIB, 2 * KIB, 0):
        process.calls(1)
        process.calls(1, size, wait=True)
        process.tick()
    process.die()


def rotation(script: Script) -> None:
    """Segments that fill up, with calls that begin in one and end in another."""
    process = script.process(segment_bytes=8 * KIB)
    across = process.begin()
    for _ in range(3):
        process.calls(3, size=2 * KIB)
        process.tick()
    process.end(across)
    left = process.begin()
    process.tick()
    process.end(left)
    process.close()


def adoption(script: Script) -> None:
    """One dies with calls open after a rotation; the next adopts it while it works; a third finds nothing to do."""
    dead = script.process(segment_bytes=4 * KIB)
    dead.begin()
    dead.calls(2, size=2 * KIB)
    dead.tick()
    dead.begin()
    dead.calls(1)
    dead.die()
    heir = script.process()
    heir.calls(1)
    heir.adopt()
    heir.calls(1)
    heir.tick()
    heir.close()
    last = script.process()
    last.adopt()
    last.close()


def adopter_dies(script: Script) -> None:
    """Three in a row die with calls open, each after it adopted the one before."""
    for _ in range(3):
        process = script.process()
        process.adopt()
        process.begin()
        process.calls(1)
        process.die()
    last = script.process()
    last.adopt()
    last.close()


def together(script: Script) -> None:
    """Two processes in one directory; one closes, one dies, another adopts while the first still writes."""
    one, two = script.process(), script.process()
    one.calls(1)
    two.begin()
    two.calls(2)
    one.tick()
    two.tick()
    two.die()
    three = script.process()
    three.adopt()
    one.calls(1)
    three.calls(1)
    three.close()
    one.close()


def another_boot(script: Script) -> None:
    """A process of the boot before left its files; one of this boot adopts them."""
    dead = script.process()
    dead.begin()
    dead.calls(2)
    dead.tick()
    dead.calls(1)
    dead.die()
    script.machine.boot = boot_id(1)
    script.log.mark("boot", "1")
    heir = script.process()
    heir.adopt()
    heir.calls(1)
    heir.close()


def pruning(script: Script) -> None:
    """Closed segments that were acknowledged are deleted when the directory has reached its limit."""
    limit = 400 * KIB
    process = script.process(segment_bytes=24 * KIB, max_bytes=limit, min_age=0.0)
    for _ in range(5):
        process.calls(1, size=24 * KIB)
        process.tick()
    acknowledge(script.log.base / JOURNAL, process.disk, 2**62)
    for _ in range(4):
        process.calls(1, size=24 * KIB)
        process.tick()
        process.journal._bounds.measure()
    process.close()


def full_disk(script: Script) -> None:
    """The disk fills up inside a record, calls are lost, room comes back, the gap is told."""
    process = script.process()
    process.calls(2)
    process.tick()
    script.log.room = 2 * KIB + 700
    for _ in range(3):
        process.calls(1, size=KIB)
        process.tick()
    script.log.room = None
    process.calls(2)
    process.tick()
    process.close()


def full_from_the_start(script: Script) -> None:
    """There is no room for the first segment; later there is."""
    script.log.room = 300
    process = script.process()
    process.calls(2)
    process.tick()
    script.log.room = 90 * KIB
    process.calls(1)
    script.log.room = None
    process.calls(2)
    process.tick()
    process.close()


def failed_sync(script: Script) -> None:
    """A sync of the segment fails: it is given up, and the numbers that it may lack are told in the next."""
    process = script.process()
    process.calls(1)
    process.tick()
    process.calls(2)
    segment = process.journal.path
    assert segment is not None
    script.log.refuse = lambda operation, name: (
        OSError(errno.EIO, "Input/output error") if operation == "sync" and name.endswith(segment.name) else None
    )
    process.tick()
    script.log.refuse = lambda operation, name: None
    process.calls(2)
    process.tick(2)
    process.close()


def failed_ledger(script: Script) -> None:
    """The ledger cannot be synced while a segment rotates; later it can."""
    process = script.process(segment_bytes=4 * KIB)
    process.calls(2, size=2 * KIB)
    script.log.refuse = lambda operation, name: (
        OSError(errno.EIO, "Input/output error") if operation == "sync" and name.endswith("ledger.jsonl") else None
    )
    process.tick(2)
    process.calls(1)
    script.log.refuse = lambda operation, name: None
    process.tick(2)
    process.calls(1)
    process.close()


HISTORIES: dict[str, Callable[[Script], None]] = {
    each.__name__: each
    for each in (
        one_life,
        new_directory,
        calls_in_flight,
        always_synced,
        waited_for,
        rotation,
        adoption,
        adopter_dies,
        together,
        another_boot,
        pruning,
        full_disk,
        full_from_the_start,
        failed_sync,
        failed_ledger,
    )
}
