# SPDX-License-Identifier: Apache-2.0
"""What a dead process leaves in a journal directory, and an adopter that can be killed at any step."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from journals import ORIGIN
from trail_oracle import BOOT, Trail

from opentelemetry.instrumentation.mcp_audit.journal import events, platform, segment
from opentelemetry.instrumentation.mcp_audit.journal.adopt import Adopted, adopt
from opentelemetry.instrumentation.mcp_audit.journal.disk import REAL_DISK, Disk, RealDisk
from opentelemetry.instrumentation.mcp_audit.journal.ledger import Ledger
from opentelemetry.instrumentation.mcp_audit.journal.marker import Marker
from opentelemetry.instrumentation.mcp_audit.journal.open_call import OpenCall, call_slot
from opentelemetry.instrumentation.mcp_audit.journal.slots import Header, header_slot
from opentelemetry.instrumentation.mcp_audit.journal.stream import Writing
from opentelemetry.instrumentation.mcp_audit.record.encode import encode
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord

OTHER_BOOT = BOOT


def open_attributes(record_id: str) -> dict[str, Any]:
    """What the start marker of any tool call has."""
    return {
        "audit.record.id": record_id,
        "mcp_audit.call.id": record_id,
        "mcp_audit.request.id": record_id,
        "mcp.method.name": "tools/call",
        "audit.action": "EXECUTE",
        "audit.schema.version": "1.0",
        "mcp_audit.level": "request",
        "audit.actor.type": "user",
        "audit.actor.id": "ada",
        "mcp_audit.actor.provenance": "verified",
    }


class _Segment(Trail):
    """One whose record ids are no other's; those of a trail come again in every trail of the same seed."""

    def id(self) -> str:
        return str(uuid.uuid4())


class Dead:
    """A process that died: segments (the oldest first), which the ledger has as opened, and a marker."""

    def __init__(self, directory: Path, boot: str | None = None, seed: int = 1) -> None:
        self.directory = directory
        self.boot = platform.boot_id() if boot is None else boot
        self.seed = seed
        self.trails: list[Trail] = []
        self.slots: dict[int, tuple[OpenCall, str]] = {}
        self.ledger = Ledger(directory, REAL_DISK, ORIGIN.scope_name, ORIGIN.scope_version, lambda sentence: None)
        self.segment()

    @property
    def path(self) -> Path:
        return self.directory / f"{self.trails[0].stream}.calls"

    @property
    def trail(self) -> Trail:
        return self.trails[-1]

    def segment(self) -> Trail:
        """The next segment, made ahead."""
        stream = str(uuid.UUID(int=(self.seed << 64) + len(self.trails) + 1))
        previous = self.trails[-1] if self.trails else None
        trail = _Segment(stream, boot=self.boot, previous=previous, seed=self.seed)
        self.trails.append(trail)
        return trail

    def call(self, record_id: str, slot: int, stream: str | None = None, **more: Any) -> OpenCall:
        """A call in flight."""
        made = OpenCall(
            "mcp_audit.tool_call",
            1_764_000_000_000_000_000 + slot,
            {**open_attributes(record_id), "gen_ai.tool.name": "search", **more},
            "5b" * 16,
            "ee" * 8,
        )
        self.slots[slot] = (made, stream or self.trails[-1].stream)
        return made

    def header(self) -> Header:
        return Header(self.boot, "box", 4000 + self.seed, "12345", self.trails[-1].stream)

    def write(self, marker: bool = True, header: bytes | None = None, tails: dict[int, bytes] | None = None) -> None:
        """Put everything on the disk, as the process did; ``tails``: what stands behind the segment of that index."""
        for index, trail in enumerate(self.trails):
            trail.write(self.directory, [*trail.lines(), (tails or {}).get(index, b"")])
            first = next(a["value"]["stringValue"] for a in trail.records[0]["attributes"] if "record.hash" in a["key"])
            self.ledger.append(events.ledger_opened(trail.stream, trail.name, first, self.boot))
        if marker:
            data = bytearray(65 * 1024)
            top = header_slot(self.header()) if header is None else header
            data[: len(top)] = top
            for slot, (call, stream) in self.slots.items():
                made = call_slot(call, stream)
                data[slot * 1024 : slot * 1024 + len(made)] = made
            self.path.write_bytes(data)


class Killed(BaseException):
    """The process is gone; nothing of it runs any more."""


class Dying(RealDisk):
    """A disk whose process is killed at the step after ``steps``: before it, or (``half``) in the middle of a write."""

    def __init__(self, steps: int = 1_000_000, half: bool = False) -> None:
        self.left = steps
        self.half = half
        self.opened: set[int] = set()
        self.log: list[str] = []

    def die(self) -> None:
        """What the kernel does with the files of a process that is gone."""
        for descriptor in self.opened:
            os.close(descriptor)
        self.opened.clear()

    def _step(self, name: str, half: Callable[[], object] | None = None) -> None:
        self.log.append(name)
        self.left -= 1
        if self.left < 0:
            if self.left == -1 and self.half and half is not None:
                half()
            raise Killed(name)

    def create(self, path: Path, *, append: bool) -> int:
        self._step(f"create {path.name}")
        descriptor = super().create(path, append=append)
        self.opened.add(descriptor)
        return descriptor

    def open(self, path: Path, *, append: bool) -> int:
        self._step(f"open {path.name}")
        descriptor = super().open(path, append=append)
        self.opened.add(descriptor)
        return descriptor

    def write(self, descriptor: int, data: bytes) -> int:
        self._step("write", lambda: RealDisk.write(self, descriptor, data[: len(data) // 2]))
        return super().write(descriptor, data)

    def write_at(self, descriptor: int, data: bytes, offset: int) -> int:
        self._step("write_at")
        return super().write_at(descriptor, data, offset)

    def allocate(self, descriptor: int, size: int) -> None:
        self._step("allocate")
        super().allocate(descriptor, size)

    def truncate(self, descriptor: int, size: int) -> None:
        self._step("truncate")
        super().truncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        self._step("sync")

    def sync_directory(self, path: Path) -> None:
        self._step("sync_directory")

    def unlink(self, path: Path) -> None:
        self._step(f"unlink {path.name}")
        super().unlink(path)

    def replace(self, source: Path, target: Path) -> None:
        self._step(f"replace {target.name}")
        super().replace(source, target)

    def make_directory(self, path: Path) -> None:
        self._step("make_directory")
        super().make_directory(path)

    def lock(self, descriptor: int) -> bool:
        self._step("lock")
        return super().lock(descriptor)

    def close(self, descriptor: int) -> None:
        self._step("close")
        self.opened.discard(descriptor)
        super().close(descriptor)


class Adopter:
    """A process with a journal of its own, made by the steps of the format, that adopts."""

    def __init__(self, directory: Path, disk: Disk = REAL_DISK) -> None:
        self.said: list[str] = []
        self.directory = directory
        self.disk = disk
        self.ledger = Ledger(directory, disk, ORIGIN.scope_name, ORIGIN.scope_version, self.said.append)
        self.marker = Marker(directory, disk, self.said.append)
        self.stream = str(uuid.uuid4())
        self.marker.open(self.stream)
        made = segment.create(directory, self.stream, disk)
        envelope, first = ORIGIN.begin(self.stream, made.path.name, None)
        self.writing = Writing(made, envelope)
        self.writing.write(encode(first))
        made.sync()
        disk.sync_directory(directory)
        assert made.head is not None
        self.ledger.append(events.ledger_opened(self.stream, made.path.name, made.head, platform.boot_id()))

    def append(self, record: AuditRecord) -> None:
        self.writing.write(encode(record))

    def durable(self) -> None:
        self.writing.segment.sync()

    def adopt(self) -> Adopted:
        return adopt(
            self.directory, self.disk, self.ledger, self.append, self.durable, lambda: self.stream, self.said.append
        )

    def close(self) -> None:
        made = self.writing.segment
        self.writing.end()
        made.sync()
        assert made.head is not None
        self.ledger.append(events.ledger_closed(self.stream, made.path.name, made.count, made.head))
        made.close()
        self.marker.close()


def adopted(directory: Path, disk: Disk = REAL_DISK) -> tuple[Adopted, list[str]]:
    """A process starts, adopts, and ends well."""
    process = Adopter(directory, disk)
    found = process.adopt()
    process.close()
    return found, process.said


def records(directory: Path) -> list[dict[str, Any]]:
    """Every record of every segment, with ``facts`` and ``file``; a torn last line is passed over."""
    made: list[dict[str, Any]] = []
    for path in sorted(directory.glob("2*.jsonl")):
        for line in path.read_bytes().split(b"\n")[:-1]:
            (record,) = json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
            facts = {item["key"]: next(iter(item["value"].values())) for item in record["attributes"]}
            made.append({**record, "facts": facts, "file": path.name})
    return made


def outcomes(directory: Path, record_id: str) -> list[dict[str, Any]]:
    """The records with this id, without what depends on their place: equal ones are one record twice."""
    return [
        {
            **{name: record.get(name) for name in ("eventName", "timeUnixNano", "spanId", "traceId")},
            "facts": {
                name: value
                for name, value in record["facts"].items()
                if not name.startswith(("audit.sequence.", "audit.integrity.")) and name != "mcp_audit.record.hash"
            },
        }
        for record in records(directory)
        if record["facts"]["audit.record.id"] == record_id
    ]


def told(directory: Path, stream: str) -> list[dict[str, Any]]:
    """What the ledger says of a stream, oldest first: attributes by name."""
    made = []
    for line in (directory / "ledger.jsonl").read_bytes().splitlines():
        (record,) = json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
        facts = {item["key"]: next(iter(item["value"].values())) for item in record["attributes"]}
        if facts.get("mcp_audit.stream.id") == stream:
            made.append(facts)
    return made


def until_dead(pid: int) -> None:
    """Wait for a child's end."""
    deadline = time.monotonic() + 30
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.005)
