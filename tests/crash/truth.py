# SPDX-License-Identifier: Apache-2.0
"""What must be found after a crash: told from the operations that were done, by rules that know no code of the journal.

A record that was written survives a kill; one that was synced survives a power cut. A call that had begun has after a
kill exactly one record; after a power cut at most one, and one if its slot in the marker was on the disk (an adopter syncs
it before it answers for it) and the call has not ended since. What was deleted by the rules owes nothing any more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from disk_log import Create, Log, Mark, Operation, Sync, Truncate, Unlink, Write

ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Line:
    """A record in a segment: where it ends, its id, and how its call ended ("" for a record of no call)."""

    end: int
    record_id: str
    detail: str


@dataclass(frozen=True, slots=True)
class Owed:
    """``once``: ids that must be there, each with its detail. ``abandoned``: those that must be there as such."""

    once: dict[str, str]
    abandoned: frozenset[str]


@dataclass(slots=True)
class Truth:
    """Fed with every operation of a log. ``lost``: ids whose append failed, at any time.

    ``claimed`` is what the journal itself said was on the disk: it is held to its word, whatever it synced.
    """

    lost: frozenset[str] = frozenset()
    names: dict[str, int] = field(default_factory=dict)
    written: dict[int, list[Line]] = field(default_factory=dict)
    synced: dict[int, list[Line]] = field(default_factory=dict)
    given_up: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    open_calls: dict[str, None] = field(default_factory=dict)
    settled: dict[str, str] = field(default_factory=dict)
    claimed: dict[str, str] = field(default_factory=dict)
    slot_of: dict[str, int] = field(default_factory=dict)
    slots_synced: set[str] = field(default_factory=set)
    last_slot: int = 0
    boot: int = 0

    @staticmethod
    def of(log: Log) -> Truth:
        lost = {each.record_id for each in log.operations if isinstance(each, Mark) and each.what == "lost"}
        return Truth(frozenset(lost), dict(log.names_before))

    def apply(self, operation: Operation) -> None:
        match operation:
            case Create(name, file):
                self.names[name] = file
            case Write(file, offset, data, True) if self._is_segment(file):
                for line in parsed(data, offset):
                    self.written.setdefault(file, []).append(line)
            case Write(file, _, _, False):
                self.last_slot = file
            case Truncate(file, size):
                for lines in (self.written, self.synced):
                    lines[file] = [line for line in lines.get(file, []) if line.end <= size]
            case Sync(file, True):
                self.slots_synced |= {each for each in self._open_in(file) if each not in self.given_up}
                self.synced[file] = [line for line in self.written.get(file, []) if line.record_id not in self.given_up]
            case Sync(file, False):
                self.given_up |= self._open_in(file) - self.slots_synced
                sure = {line.record_id for line in self.synced.get(file, [])}
                self.given_up |= {line.record_id for line in self.written.get(file, [])} - sure
            case Unlink(name):
                for line in self.written.pop(self.names.get(name, 0), []):
                    self.gone.add(line.record_id)
                    self.open_calls.pop(line.record_id, None)
                    self.slots_synced.discard(line.record_id)
                    self.claimed.pop(line.record_id, None)
                self.synced.pop(self.names.get(name, 0), None)
            case Mark("began", record_id):
                self.open_calls[record_id] = None
                self.slot_of[record_id] = self.last_slot
            case Mark("ending", record_id) if record_id in self.lost:
                # From here on it may have lost its slot and not yet been said to be lost.
                self.open_calls.pop(record_id, None)
                self.slots_synced.discard(record_id)
            case Mark("ending", record_id):
                # Its slot may be cleared on the disk before its record is there.
                self.slots_synced.discard(record_id)
            case Mark("boot", turn):
                self.boot = int(turn)
            case Mark("durable", record_id):
                found = _details(self.written.values())
                if record_id in found or record_id not in self.gone:
                    self.claimed[record_id] = found.get(record_id, ABANDONED)
            case Mark("told", record_id):
                self.open_calls.pop(record_id, None)

    def after_kill(self) -> Owed:
        once = {**self.settled, **_details(self.written.values())}
        return Owed(once, frozenset(self.open_calls) - set(once))

    def after_power_cut(self) -> Owed:
        once = {**self.settled, **self.claimed, **_details(self.synced.values())}
        return Owed(once, frozenset(self.slots_synced) - set(once))

    def on_from_power_cut(self) -> Truth:
        """What is owed when everything goes on from one of the states that the power cut left."""
        owed = self.after_power_cut()
        calls = dict.fromkeys(owed.abandoned)
        return Truth(self.lost, settled=dict(owed.once), open_calls=calls, slots_synced=set(calls), boot=self.boot + 1)

    def _open_in(self, marker: int) -> set[str]:
        """The open calls whose slots are in this file."""
        return {each for each in self.open_calls if self.slot_of.get(each) == marker}

    def _is_segment(self, file: int) -> bool:
        name = next((name for name, number in self.names.items() if number == file), "")
        return name.endswith(".jsonl") and not name.endswith("/ledger.jsonl")


def parsed(data: bytes, offset: int = 0) -> list[Line]:
    """The whole lines of some bytes that begin where a line does; lines that are no records are left out."""
    found = []
    end = offset
    for line in data.splitlines(keepends=True):
        end += len(line)
        facts = attributes(line) if line.endswith(b"\n") else None
        if facts is not None and facts["event"] != "mcp_audit.lifecycle":
            found.append(Line(end, facts["audit.record.id"], facts.get("mcp_audit.outcome.detail", "")))
    return found


def attributes(line: bytes) -> dict[str, Any] | None:
    """The attributes of the record in a line (numbers as text, as they stand there); None when it is no record."""
    try:
        found = json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
        values = {item["key"]: next(iter(item["value"].values())) for item in found["attributes"]}
        return {"event": found["eventName"], **values} if "audit.record.id" in values else None
    except (ValueError, LookupError, TypeError):
        return None  # zeros, or half a page of something


def _details(lines: Iterable[list[Line]]) -> dict[str, str]:
    return {line.record_id: line.detail for found in lines for line in found}
