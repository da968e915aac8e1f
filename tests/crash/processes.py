# SPDX-License-Identifier: Apache-2.0
"""Journals as processes of a scripted history: each has a pid and a disk of its own, can die, and runs no thread.

What the journal's thread would do happens when the script says ``tick`` or ``adopt``; so a history is the same each time.
"""

from __future__ import annotations

import contextlib
import os
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from disk_log import Log, Recording
from journals import ORIGIN, record

from opentelemetry.instrumentation.mcp_audit.journal import platform
from opentelemetry.instrumentation.mcp_audit.journal.commit import Committer
from opentelemetry.instrumentation.mcp_audit.journal.journal import Journal, Options
from opentelemetry.instrumentation.mcp_audit.journal.ticket import JournalError
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord

JOURNAL = "journal"
"""The journal's directory below the base of a log."""
_NOT_OF_A_BEGINNING = ("audit.outcome", "mcp_audit.outcome.detail", "mcp_audit.duration_us", "mcp_audit.content.digest")


def boot_id(turn: int) -> str:
    """The id of a machine's boot, counted from 0."""
    return f"00000000-0000-4000-8000-{turn:012}"


@dataclass
class Machine:
    """What the system answers to the journal: which boot this is, and which process asks."""

    seed: int | str = 0
    boot: str = "00000000-0000-4000-8000-000000000000"
    pid: int = 1000
    # Calls of processes that died: id by id, until somebody has adopted them.
    dead: set[str] = field(default_factory=set)

    @contextlib.contextmanager
    def running(self) -> Iterator[Machine]:
        """While this lasts, journals live on this machine, one thread for all."""
        chance = random.Random(self.seed)
        with contextlib.ExitStack() as stack:
            for target, name, answer in (
                (os, "getpid", lambda: self.pid),
                (uuid, "uuid4", lambda: uuid.UUID(int=chance.getrandbits(128), version=4)),
                (platform, "boot_id", lambda: self.boot),
                (platform, "process_start", lambda: "4711"),
                # No thread: ``Ticket.wait`` then commits by itself, as it does when the interpreter shuts down.
                (Committer, "_start", lambda committer, timeout: False),
            ):
                stack.enter_context(mock.patch.object(target, name, answer))
            yield self


@dataclass
class Call:
    """A call in flight: its record to be, and its slot in the marker."""

    record: AuditRecord
    slot: int | None

    @property
    def id(self) -> str:
        return str(self.record.attributes["audit.record.id"])


@dataclass
class Process:
    """One process with one journal. Every method is the process's doing; after :meth:`die` there is none."""

    machine: Machine
    log: Log
    pid: int
    options: Options
    said: list[str] = field(default_factory=list)
    in_flight: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.disk = Recording(self.log)
        with self._mine():
            self.journal = Journal(self.directory, ORIGIN, self.options, say=self.said.append, disk=self.disk)

    @property
    def directory(self) -> Path:
        return self.log.base / JOURNAL

    def open(self) -> None:
        with self._mine():
            self.journal.open()

    def begin(self, size: int = 0, tool: str = "search") -> Call:
        """A call comes in."""
        made = record(tool, size)
        known = {key: value for key, value in made.attributes.items() if key not in _NOT_OF_A_BEGINNING}
        with self._mine():
            call = Call(made, self.journal.begin(made.event_name, made.time, known, "", ""))
        if call.slot is not None:
            self.log.mark("began", call.id)
        self.in_flight.append(call)
        return call

    def end(self, call: Call, wait: bool = False) -> bool:
        """The call ends and its record is written; False when it was lost. ``wait``: until it is on the disk."""
        self.log.mark("ending", call.id)
        self.in_flight.remove(call)
        with self._mine():
            try:
                ticket = self.journal.append(call.record, call.slot)
            except JournalError:
                self.log.mark("lost", call.id)
                return False
            self.log.mark("told", call.id)
            if wait:
                ticket.wait(None)
                self.log.mark("durable", call.id)
        return True

    def calls(self, count: int, size: int = 0, wait: bool = False) -> None:
        for _ in range(count):
            self.end(self.begin(size), wait)

    def tick(self, times: int = 1) -> None:
        with self._mine():
            for _ in range(times):
                self.journal._tick()

    def adopt(self) -> None:
        """Answer for all that died. From then on each of their calls has its record, whatever happens."""
        with self._mine():
            self.journal.adopt()
        if not any("could not be adopted" in sentence for sentence in self.said):
            for record_id in sorted(self.machine.dead):
                self.log.mark("durable", record_id)
            self.machine.dead.clear()

    def close(self) -> None:
        with self._mine():
            self.journal.close()

    def die(self) -> None:
        self.disk.die()
        self.machine.dead |= {call.id for call in self.in_flight if call.slot is not None}

    @contextlib.contextmanager
    def _mine(self) -> Iterator[None]:
        self.machine.pid = self.pid
        yield
