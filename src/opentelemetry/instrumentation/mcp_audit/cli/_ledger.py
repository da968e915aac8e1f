# SPDX-License-Identifier: Apache-2.0
"""What ``doctor`` says of a journal's ledger: can it be continued, and does it agree with what lies in the directory.

Reads its end only, and no more of it than a bound allows: the whole chain is the work of ``verify``.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from opentelemetry.instrumentation.mcp_audit.integrity.files import LEDGER, segment_files
from opentelemetry.instrumentation.mcp_audit.integrity.ledger import Entry, entry_of
from opentelemetry.instrumentation.mcp_audit.integrity.lines import LineParser
from opentelemetry.instrumentation.mcp_audit.integrity.parse import MAX_LINE_BYTES, StoredRecord
from opentelemetry.instrumentation.mcp_audit.integrity.reading import open_inside
from opentelemetry.instrumentation.mcp_audit.integrity.values import NotARecord
from opentelemetry.instrumentation.mcp_audit.journal.tail import line_before, read_at

from ._checks import Check, Light
from ._dead import unlocked
from ._words import age, some

_TOPIC: Final = "ledger"
_MAX_ENTRIES: Final = 50_000
_MAX_SECONDS: Final = 3.0
_BLOCK: Final = 64 * 1024
# Long enough for a writer between two of its steps (a file made, a line in the ledger).
_AGAIN_SECONDS: Final = 0.05


@dataclass(slots=True)
class LedgerState:
    """``state``: absent, ok, torn (its next writer repairs it), broken (nobody can continue it), unreadable (by us), foreign
    (no regular file, or another owner's). ``entries``: how many are in it; ``last``: time of the newest, nanoseconds.

    Of segments, by file name: ``missing`` are neither there nor pruned, ``unknown`` are there and not in the ledger,
    ``unsettled`` are open in it and of no living process. ``whole``: all of the ledger was looked at for these.
    """

    state: str
    text: str
    entries: int | None = None
    last: int | None = None
    missing: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)
    whole: bool = True


def ledger(directory: str) -> LedgerState:
    """Read it. Raises OSError when the directory cannot be listed."""
    found = _state(directory)
    if found.state in ("ok", "torn"):
        _compare(directory, found)
    return found


def ledger_checks(
    directory: str, found: LedgerState, segments: int, live: bool, dead: bool, now: float | None = None
) -> Iterator[Check]:
    """What is to be said of it. ``segments``: how many are there; ``live``, ``dead``: whether there are processes with a
    start marker that live, or wait for adoption."""
    seconds = time.time() if now is None else now
    path = os.path.join(directory, LEDGER)
    if found.state == "absent":
        if segments:
            light: Light = "red" if live else "yellow"
            yield Check(
                _TOPIC, light, f"{path} is not there, but {some(segments, 'segment')}: a removed file would not show"
            )
        return
    lights: dict[str, Light] = {"ok": "green", "torn": "yellow", "unreadable": "yellow"}
    told = "" if found.last is None else f", the newest {age(seconds - found.last / 1e9)} ago"
    entries = "" if found.entries is None else f"{some(found.entries, 'entry', 'entries')}{told}"
    text = "; ".join(part for part in (entries, found.text) if part)
    yield Check(_TOPIC, lights.get(found.state, "red"), f"{path}: {text}")
    if found.missing:
        yield Check(
            _TOPIC,
            "red",
            f"{directory}: {_named(found.missing)} of the ledger missing and not pruned: somebody removed "
            f"{'it' if len(found.missing) == 1 else 'them'}; otel-mcp-audit verify",
        )
    if found.unknown:
        yield Check(
            _TOPIC,
            "red",
            f"{directory}: {_named(found.unknown)} not in the ledger: brought here, or its lines were removed; "
            "otel-mcp-audit verify",
        )
    if found.unsettled:
        how = "they wait for adoption" if dead else "no start marker is left by which they could be adopted"
        yield Check(
            _TOPIC, "yellow", f"{directory}: {_named(found.unsettled)} of no living process and not closed; {how}"
        )
    if not found.whole:
        yield Check(
            _TOPIC, "green", f"{path}: only its newest entries were held against the files; verify reads it all"
        )


def _named(names: list[str]) -> str:
    more = "" if len(names) == 1 else f" ({names[0]}, …)"
    return f"segment {names[0]}" if len(names) == 1 else f"{len(names)} segments{more}"


def _state(directory: str) -> LedgerState:
    path = os.path.join(directory, LEDGER)
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            return LedgerState("foreign", "not a regular file, and never followed: no segment can be opened")
        with open_inside(path) as file:
            found = _end(file.fileno())
    except FileNotFoundError:
        return LedgerState("absent", "not there")
    except OSError as error:
        return LedgerState("unreadable", f"cannot be read: {error.strerror or error}")
    owner = os.stat(directory).st_uid
    if status.st_uid != owner:
        text = f"owned by user {status.st_uid}, the directory by {owner}: a server of that user cannot continue it"
        return LedgerState("foreign", f"{text}; chown it", found.entries, found.last)
    return found


def _end(descriptor: int) -> LedgerState:
    size = os.fstat(descriptor).st_size
    if size == 0:
        return LedgerState("ok", "empty", 0)
    line, start = line_before(descriptor, size)
    record = _record(line)
    if record is not None:
        return _good("ok", "", record)
    if len(line) <= MAX_LINE_BYTES:
        if start == 0:
            return LedgerState("torn", "its only line is torn; the next writer sets it aside", 0)
        before = _record(line_before(descriptor, start)[0])
        if before is not None:
            return _good("torn", "its last line is torn; the next writer sets it aside", before)
    return LedgerState(
        "broken", "what stands at its end is no record: no segment can be opened; move it away, then run verify"
    )


def _good(state: str, text: str, record: StoredRecord) -> LedgerState:
    if record.number is None:
        return LedgerState("broken", "its last record has no number: no segment can be opened; move it away")
    # The first record is the ledger's own.
    return LedgerState(state, text, record.number - 1, record.time)


def _record(line: bytes) -> StoredRecord | None:
    if not line.endswith(b"\n") or len(line) > MAX_LINE_BYTES:
        return None
    try:
        found = LineParser().parse(line[:-1])
    except NotARecord:
        return None
    return found[0] if len(found) == 1 and not found[0].faults else None


def _compare(directory: str, found: LedgerState) -> None:
    """Fill in what ledger and directory say of each other. What differs is looked at twice: others are at work."""
    first = _differences(directory)
    found.whole = first.whole
    if first.missing or first.unknown or first.unsettled:
        time.sleep(_AGAIN_SECONDS)
        second = _differences(directory)
        found.missing = sorted(first.missing & second.missing)
        found.unknown = sorted(first.unknown & second.unknown)
        found.unsettled = sorted(first.unsettled & second.unsettled)


class _Differences(NamedTuple):
    """File names of segments, and whether the ledger was read to its beginning."""

    missing: set[str]
    unknown: set[str]
    unsettled: set[str]
    whole: bool


def _differences(directory: str) -> _Differences:
    before = _names(directory)
    newest: dict[str, Entry] = {}
    files: set[str] = set()
    whole = False
    deadline = time.monotonic() + _MAX_SECONDS
    for count, entry in enumerate(_backwards(os.path.join(directory, LEDGER))):
        if entry is None:
            whole = True
        elif count >= _MAX_ENTRIES or time.monotonic() > deadline:
            break
        else:
            newest.setdefault(entry.stream_id, entry)
            files.add(entry.file)
    after = _names(directory)
    missing = {entry.file for entry in newest.values() if entry.kind != "pruned"} - after
    opened = [entry.file for entry in newest.values() if entry.kind == "opened" and entry.file in after]
    unknown = {name for name in before & after - files if _has_two_records(os.path.join(directory, name))}
    return _Differences(missing, unknown if whole else set(), set(unlocked(directory, opened)), whole)


def _names(directory: str) -> set[str]:
    return {os.path.basename(file) for file in segment_files(directory)}


def _backwards(path: str) -> Iterator[Entry | None]:
    """The entries, newest first; None when the beginning was reached. Ends at what is no record, but for a torn last line."""
    parser = LineParser()
    try:
        with open_inside(path) as file:
            descriptor = file.fileno()
            block, end = b"", os.fstat(descriptor).st_size
            torn = True
            while end > 0 or block:
                at = block.rfind(b"\n", 0, max(0, len(block) - 1))
                if at < 0 and end > 0:
                    if len(block) > MAX_LINE_BYTES:
                        return
                    start = max(0, end - _BLOCK)
                    block, end = read_at(descriptor, end - start, start) + block, start
                    continue
                line, block = block[at + 1 :], block[: at + 1]
                try:
                    if not line.endswith(b"\n"):
                        raise NotARecord("torn")
                    for record in parser.parse(line[:-1]):
                        entry = entry_of(record)
                        if isinstance(entry, Entry):
                            yield entry
                except NotARecord:
                    if not torn:
                        return
                torn = False
            yield None
    except OSError:
        return


def _has_two_records(path: str) -> bool:
    """A writer enters its segment in the ledger before the second record."""
    try:
        with open_inside(path) as file:
            return bytes(file.read(_BLOCK)).count(b"\n") > 1
    except OSError:
        return False
