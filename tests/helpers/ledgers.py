# SPDX-License-Identifier: Apache-2.0
"""Ledgers made by an independent hand, as ``trail_oracle`` makes segments: entries to be tampered with before writing."""

from __future__ import annotations

import json
import random
import uuid
from pathlib import Path
from typing import Any

import rfc8785
from trail_oracle import START, Trail, attribute, record_form, sha, wired

FILE = "ledger.jsonl"


class Ledger(Trail):
    """The ledger of one directory; ``records[0]`` is its own opening."""

    def __init__(self, of: str = "", start: int = START) -> None:
        self.stream, self.now, self.name = str(uuid.uuid5(uuid.NAMESPACE_URL, of)), start, FILE
        self.random = random.Random(of)
        self.resource = {"mcp_audit.stream.id": self.stream}
        self.scope = {"name": "opentelemetry.instrumentation.mcp_audit", "version": "0.1.0"}
        self.records: list[dict[str, Any]] = []
        self.head: str | None = None
        form: Any = {"resource": {"attributes": wired(self.resource)}, "scope": self.scope}
        own = {
            "mcp_audit.lifecycle.kind": "opened",
            "mcp_audit.stream.file": FILE,
            "mcp_audit.resource.hash": sha(rfc8785.dumps(form)),
        }
        self.system("opened", own)

    def opened(self, trail: Trail) -> Ledger:
        return self.entry("opened", trail, 1, hash_of(trail.records[0]))

    def closed(self, trail: Trail, count: int | None = None) -> Ledger:
        last = len(trail.records) if count is None else count
        return self.entry("closed", trail, last, hash_of(trail.records[last - 1]))

    def adopted(self, trail: Trail, reason: str = "killed", torn_bytes: int = 0, count: int | None = None) -> Ledger:
        last = len(trail.records) if count is None else count
        more = {"reason": reason, "torn_bytes": torn_bytes, "open_calls": 0}
        return self.entry("adopted", trail, last, hash_of(trail.records[last - 1]), **more)

    def pruned(self, trail: Trail, reason: str = "acknowledged until 2026-01-01T00:00:00Z") -> Ledger:
        return self.entry("pruned", trail, len(trail.records), hash_of(trail.records[-1]), reason=reason)

    def entry(self, kind: str, trail: Trail, count: int, head: str, **more: Any) -> Ledger:
        attributes = {
            "mcp_audit.lifecycle.kind": kind,
            "mcp_audit.stream.id": trail.stream,
            "mcp_audit.stream.file": trail.name,
            "mcp_audit.stream.count": count,
            "mcp_audit.stream.head": head,
            **{f"mcp_audit.stream.{name}": value for name, value in more.items()},
        }
        self.system(kind, attributes)
        return self


def rechain(trail: Trail, start: int = 0) -> None:
    """Number and hash all records from ``start`` on again, as someone does who rewrites a whole file without a key."""
    previous = hash_of(trail.records[start - 1]) if start else None
    for number, record in enumerate(trail.records[start:], start + 1):
        attribute(record, "audit.sequence.number")["intValue"] = str(number)
        items = [item for item in record["attributes"] if item["key"] != "audit.sequence.previous_hash"]
        if previous is not None:
            items.append({"key": "audit.sequence.previous_hash", "value": {"stringValue": previous}})
        last = ("mcp_audit.record.hash", "audit.integrity.canonicalization")
        items.sort(key=lambda item: (last.index(item["key"]) + 1 if item["key"] in last else 0, item["key"]))
        record["attributes"] = items
        previous = sha(record_form(record))
        attribute(record, "mcp_audit.record.hash")["stringValue"] = previous
    trail.head = previous


def hash_of(record: dict[str, Any]) -> str:
    made: str = attribute(record, "mcp_audit.record.hash")["stringValue"]
    return made


def ended(trail: Trail) -> bool:
    return any(item["key"] == "audit.sequence.end" for item in trail.records[-1]["attributes"])


def ledger_of(*trails: Trail) -> Ledger:
    """The ledger of a directory in which these were written: opened, and closed where they have their end."""
    made = Ledger(trails[0].stream if trails else "")
    for trail in trails:
        made.opened(trail)
        if ended(trail):
            made.closed(trail)
    return made


def keep_ledger(directory: Path) -> Path:
    """Write the ledger that fits the whole segments that lie in ``directory`` (those that trails were written to)."""
    trails = []
    for path in sorted(directory.glob("*.jsonl")):
        lines = [line for line in path.read_bytes().split(b"\n") if line]
        if path.name == FILE or not lines:
            continue
        records = []
        for line in lines:
            try:
                records.append(json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0])
            except (ValueError, KeyError, IndexError, TypeError):
                continue
        if not records or attribute(records[0], "audit.sequence.number")["intValue"] != "1":
            continue
        trail = Trail.__new__(Trail)
        trail.name, trail.records = path.name, records
        trail.stream = attribute(records[0], "audit.sequence.stream_id")["stringValue"]
        trails.append(trail)
    return ledger_of(*trails).write(directory)
