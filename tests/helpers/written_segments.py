# SPDX-License-Identifier: Apache-2.0
"""Segments as they stand in a directory when their writers are gone, of any age, with what the ledger says of them."""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from journals import ORIGIN, record

from opentelemetry.instrumentation.mcp_audit.journal import events
from opentelemetry.instrumentation.mcp_audit.journal.disk import REAL_DISK, Disk
from opentelemetry.instrumentation.mcp_audit.journal.ledger import Ledger
from opentelemetry.instrumentation.mcp_audit.record.encode import encode, seal

Fate = Literal["closed", "adopted", "opened", "unknown"]


@dataclass
class Made:
    """A segment that was written: where it is, and its last record's number and hash."""

    path: Path
    stream_id: str
    count: int
    head: str
    size: int


def ledger(directory: Path, disk: Disk = REAL_DISK) -> Ledger:
    return Ledger(directory, disk, ORIGIN.scope_name, ORIGIN.scope_version, lambda sentence: None)


def segment(
    directory: Path,
    began: int,
    ended: int,
    *,
    fate: Fate = "closed",
    pid: int = 4711,
    records: int = 3,
    size: int = 1000,
    said_by: Ledger | None = None,
) -> Made:
    """One segment from ``began`` to ``ended`` (nanoseconds since the epoch), and the ledger's entries of it."""
    directory.mkdir(parents=True, exist_ok=True)
    stream_id = str(uuid.uuid4())
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(began // 10**9))
    path = directory / f"{stamp}-{pid}-{stream_id}.jsonl"
    around, opened = ORIGIN.begin(stream_id, path.name, None)
    todo = [opened, *(record(f"t{index}", size) for index in range(records))]
    if fate == "closed":
        todo.append(events.closed(path.name))
    data, head, first = b"", None, ""
    for number, one in enumerate(todo, 1):
        one.time = one.observed = began if number < len(todo) else ended
        sealed = seal(encode(one), stream_id, number, head, fate == "closed" and number == len(todo))
        head = sealed.hash
        first = first or head
        data += around.line(sealed.text)
    assert head is not None
    path.write_bytes(data)
    os.utime(path, ns=(ended, ended))
    known = said_by or ledger(directory)
    where = (stream_id, path.name)
    if fate != "unknown":
        known.append(events.ledger_opened(*where, first, "boot"))
    if fate == "closed":
        known.append(events.ledger_closed(*where, len(todo), head))
    elif fate == "adopted":
        known.append(
            events.ledger_adopted(*where, len(todo), head, torn_bytes=0, reason="killed", open_calls=0, boot_id="boot")
        )
    return Made(path, stream_id, len(todo), head, len(data))
