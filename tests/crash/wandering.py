# SPDX-License-Identifier: Apache-2.0
"""Histories that nobody thought of: processes that start, work, fail, close and die at random, in one directory."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable

from histories import KIB, Script
from processes import Process, boot_id

_STEPS = 30
_AT_MOST = 3
_REFUSED = (
    "create",
    "open",
    "write",
    "write_at",
    "allocate",
    "truncate",
    "sync",
    "sync_directory",
    "unlink",
    "replace",
)
_WHERE = ("ledger.jsonl", ".calls", "Z-", "reserve", "quarantine", "journal")


def wandering(seed: int) -> Callable[[Script], None]:
    """A history by chance; the same for the same seed."""

    def history(script: Script) -> None:
        chance = random.Random(seed)
        alive: list[Process] = []
        boot = 0
        for _ in range(_STEPS):
            step = chance.choices(
                ("start", "begin", "end", "call", "wait", "tick", "adopt", "die", "close", "fault", "mend", "boot"),
                (3, 6, 5, 5, 2, 7, 3, 2, 1, 2, 4, 0.5),
            )[0]
            if step in ("fault", "mend"):
                _disturb(script, chance, step == "fault")
            elif step == "boot":
                while alive:
                    alive.pop().die()
                boot += 1
                script.machine.boot = boot_id(boot)
                script.log.mark("boot", str(boot))
            elif step == "start" or not alive:
                if len(alive) < _AT_MOST:
                    segment = chance.choice((3, 6, 1000)) * KIB
                    fsync = chance.choice(("interval", "always", "never"))
                    alive.append(script.process(segment_bytes=segment, fsync=fsync))
            else:
                process = chance.choice(alive)
                _work(process, step, chance)
                if step in ("die", "close"):
                    alive.remove(process)
        for process in alive:
            process.die()

    return history


def _work(process: Process, step: str, chance: random.Random) -> None:
    size = chance.choice((0, 0, KIB, 5 * KIB))
    try:
        if step == "begin":
            process.begin(size)
        elif step == "end" and process.in_flight:
            process.end(chance.choice(process.in_flight))
        elif step in ("call", "wait"):
            process.calls(1, size, wait=step == "wait")
        elif step == "tick":
            process.tick()
        elif step == "adopt":
            process.adopt()
        elif step == "die":
            process.die()
        elif step == "close":
            process.close()
            process.die()  # what it could not let go of goes with it
    except OSError:
        return  # the disk refused something; the journal is to be in order all the same


def _disturb(script: Script, chance: random.Random, fault: bool) -> None:
    """The disk is full, or refuses one kind of operation for a while; or all is well again."""
    log = script.log
    log.room, log.refuse = None, lambda operation, name: None
    if not fault:
        return
    if chance.random() < 0.4:
        log.room = chance.choice((0, 100, 1500, 6 * KIB, 70 * KIB))
        return
    refused, where = chance.choice(_REFUSED), chance.choice(_WHERE)
    left = [chance.choice((1, 2, 100))]

    def refuse(operation: str, name: str) -> OSError | None:
        if operation != refused or where not in name or left[0] == 0:
            return None
        left[0] -= 1
        return OSError(errno.EIO, "Input/output error", name)

    log.refuse = refuse
