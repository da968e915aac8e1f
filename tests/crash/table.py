# SPDX-License-Identifier: Apache-2.0
"""What a verifier must say of a directory: the table of ``docs/format.md`` 8, by the lines that were written.

Whether a line is whole is not asked of any parser: it is, when it is byte for byte one that a writer wrote into a file of
that name. So the verdict follows from the history and from what the crash left, and shares no code with the package.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from disk_log import Operation, Write
from truth import attributes

LEDGER: Final = "ledger.jsonl"
_OVER: Final = ("closed", "adopted")
_SLOT: Final = 1024

Genuine = dict[str, dict[bytes, dict[str, Any]]]
"""By the name of a file in the journal: the lines that were written into it, with their attributes."""
Rows = Counter[tuple[str, str]]
"""Which rows of the table hold: name of the file and row, with how often."""

# The rows of the table that are notes, each with what verify says of it.
SAYS: Final = (
    ("unknown segment", "got no further than its first record"),
    ("end without closed", "it has its end record, but the ledger does not say so yet"),
    ("pruned but there", "as pruned, but the file is still there"),
    ("empty", "the file is empty"),
    ("torn tail", "torn tail: "),
    ("no end", "no end record: "),
    ("open calls", "calls open: "),
    ("ends at a hole", "the stream ends here: "),
    ("shorter than adopted", "of which the last were never safe"),
    ("told twice", "already: the same again"),
    ("stream before is not here", "is not here: pruned, moved or removed"),
    ("not the one pointed to", "points back to: the tail is missing or was replaced"),
)


class Verdict(NamedTuple):
    """``word``: valid, violated or unreadable. ``wrong``: why it is violated, in words."""

    word: str
    rows: Rows
    wrong: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """With the difference that an exit code does not tell."""
        return "valid, with notes" if self.word == "valid" and self.rows else self.word


@dataclass
class _File:
    """A stream as the crash left it: its whole lines, and what stands behind them."""

    name: str
    lines: list[dict[str, Any]]
    rest: list[bytes]
    wrong: list[str] = field(default_factory=list)

    @property
    def torn(self) -> bool:
        """What is left is one line without an end."""
        return len(self.rest) == 1 and not self.rest[0].endswith(b"\n")

    def last(self) -> tuple[Any, Any]:
        return (self.lines[-1]["number"], self.lines[-1]["hash"]) if self.lines else (None, None)


@dataclass
class _Said:
    """What the ledger has of one stream."""

    file: str
    opened: dict[str, Any]
    over: dict[str, Any] | None = None
    pruned: dict[str, Any] | None = None


def lines_of(operations: Iterable[Operation], names: Mapping[int, str]) -> Genuine:
    """Every whole line that was written; ``names``: the last part of each file's name, by its number."""
    found: Genuine = {}
    for each in operations:
        if isinstance(each, Write) and each.append and names.get(each.file, "").endswith(".jsonl"):
            for line in _split(each.data):
                facts = _facts(line) if line.endswith(b"\n") else None
                if facts is not None:
                    found.setdefault(names[each.file], {})[line] = facts
    return found


def together(one: Genuine, other: Genuine) -> Genuine:
    return {name: {**one.get(name, {}), **other.get(name, {})} for name in {*one, *other}}


def expected(files: Mapping[str, bytes], genuine: Genuine, boot: str) -> Verdict:
    """What must be said of a journal of these files (by name) on a machine of this boot."""
    names = sorted(name for name in files if name.endswith(".jsonl") and "/" not in name)
    if not names:
        return Verdict("unreadable", Counter())
    streams = {name: _walk(name, files[name], genuine.get(name, {})) for name in names}
    ledger = streams.pop(LEDGER, None)
    rows: Rows = Counter()
    wrong: list[str] = []
    said = {} if ledger is None else _ledger(ledger, rows, wrong)
    for one in streams.values():
        known = said.get(one.lines[0]["stream"]) if one.lines else _of_file(said, one.name)
        if known is None:
            _unknown(one, rows, wrong)
        else:
            _known(one, known, boot, rows, wrong)
    for known in said.values():
        if known.file not in streams and known.pruned is None:
            wrong.append(f"{known.file} is missing and not pruned")
    _links(streams, said, boot, rows, wrong)
    for name, data in files.items():
        slots = range(_SLOT, len(data), _SLOT) if name.endswith(".calls") and "/" not in name else ()
        if any(data[at : at + 4] == b"MCA1" for at in slots):
            rows[name, "open calls"] += 1
    return Verdict("violated" if wrong else "valid", rows, tuple(wrong))


def rows_said(findings: Iterable[tuple[str, str, str]]) -> tuple[Rows, list[str]]:
    """The rows behind what verify said (kind, file's name, sentence); and the sentences that are no note of the table."""
    rows: Rows = Counter()
    other: list[str] = []
    for kind, name, sentence in findings:
        row = next((row for row, part in SAYS if part in sentence), None) if kind == "note" else None
        if row is None:
            other.append(f"{kind} {name}: {sentence}")
        else:
            rows[name, row] += 1
    return rows, other


def records_in(files: Mapping[str, bytes], genuine: Genuine) -> dict[str, list[str]]:
    """The records that count, ids with how their calls ended ("" for none): in each segment up to the first hole."""
    found: dict[str, list[str]] = {}
    for name in files:
        if name.endswith(".jsonl") and "/" not in name and name != LEDGER:
            for line in _walk(name, files[name], genuine.get(name, {})).lines:
                if line["event"] != "mcp_audit.lifecycle":
                    found.setdefault(line["id"], []).append(line["detail"])
    return found


def strangers(files: Mapping[str, bytes], genuine: Genuine) -> list[str]:
    """Whole records in the segments that nobody wrote there."""
    return [
        f"{name} holds a record that nobody wrote: {line[-200:]!r}"
        for name, data in files.items()
        if name.endswith(".jsonl") and "/" not in name
        for line in _split(data)
        if line.endswith(b"\n") and line not in genuine.get(name, {}) and _facts(line) is not None
    ]


def unsettled(files: Mapping[str, bytes], genuine: Genuine) -> list[str]:
    """Segments that the ledger has as opened and not as over."""
    if LEDGER not in files:
        return []
    said = _ledger(_walk(LEDGER, files[LEDGER], genuine.get(LEDGER, {})), Counter(), [])
    return [each.file for each in said.values() if each.over is None and each.pruned is None]


# --- how --------------------------------------------------------------------------------------------------------------


def _walk(name: str, data: bytes, genuine: Mapping[bytes, dict[str, Any]]) -> _File:
    """The lines that are whole and follow each other, from the first on; what is behind."""
    found = list(_split(data))
    lines: list[dict[str, Any]] = []
    for line in found:
        facts = genuine.get(line)
        if facts is None or facts["number"] != len(lines) + 1:
            break
        if facts["previous"] != (lines[-1]["hash"] if lines else None):
            break
        lines.append(facts)
    return _File(name, lines, found[len(lines) :])


def _split(data: bytes) -> Iterator[bytes]:
    """By line feeds only: ``splitlines`` would know others."""
    whole = data.split(b"\n")
    yield from (line + b"\n" for line in whole[:-1])
    if whole[-1]:
        yield whole[-1]


def _ledger(ledger: _File, rows: Rows, wrong: list[str]) -> dict[str, _Said]:
    if not ledger.lines and not ledger.rest:
        rows[LEDGER, "empty"] += 1
    elif len(ledger.rest) == 1 and (ledger.torn or b"\0" in ledger.rest[0]):
        rows[LEDGER, "torn tail"] += 1  # whoever writes next sets it aside
    elif ledger.rest:
        wrong.append(f"the ledger has {len(ledger.rest)} lines behind number {len(ledger.lines)} that do not follow it")
    said: dict[str, _Said] = {}
    for entry in ledger.lines:
        kind, stream = entry["kind"], entry["about"]
        if stream is None:
            continue  # the ledger's own first record
        if kind == "opened":
            if stream in said:
                rows[LEDGER, "told twice"] += 1
            said.setdefault(stream, _Said(entry["file"], entry))
            continue
        known = said.get(stream)
        if known is None:
            wrong.append(f"{entry['file']} is {kind} and was never opened")
            continue
        over = known.over or known.pruned
        if over is not None and (over["count"], over["head"]) != (entry["count"], entry["head"]):
            wrong.append(f"{entry['file']} is {kind} with another count than {over['kind']}")
        elif (known.pruned if kind == "pruned" else over) is not None:
            rows[LEDGER, "told twice"] += 1
        if kind == "pruned":
            known.pruned = known.pruned or entry
        elif kind in _OVER:
            known.over = known.over or entry
    return said


def _of_file(said: Mapping[str, _Said], name: str) -> _Said | None:
    return next((each for each in said.values() if each.file == name), None)


def _unknown(one: _File, rows: Rows, wrong: list[str]) -> None:
    if len(one.lines) + len(one.rest) > 1:
        wrong.append(f"{one.name} is unknown to the ledger and holds more than its first record")
    rows[one.name, "unknown segment"] += 1
    if one.lines:
        rows[one.name, "no end"] += 1
    elif not one.rest:
        rows[one.name, "empty"] += 1
    elif one.torn:
        rows[one.name, "torn tail"] += 1


def _known(one: _File, known: _Said, boot: str, rows: Rows, wrong: list[str]) -> None:
    over, opened = known.over or known.pruned, one.lines[0] if one.lines else None
    if opened is None or opened["hash"] != known.opened["head"] or known.file != one.name:
        wrong.append(f"{one.name}, which the ledger has, does not begin with the record that the ledger has")
        return
    ended = any(line["end"] for line in one.lines)
    if one.rest and not one.torn:
        unsafe = known.over is not None and known.over["kind"] == "adopted" and known.over["reason"] in _UNSAFE
        if not (unsafe or (known.over is None and not ended and opened["boot"] != boot)):
            wrong.append(
                f"{one.name}: behind number {len(one.lines)} stand {len(one.rest)} lines that do not follow it"
            )
        rows[one.name, "ends at a hole"] += 1
    else:
        rows[one.name, "torn tail"] += one.torn
        rows[one.name, "no end"] += not ended
    if over is not None and one.last() != (over["count"], over["head"]):
        if over["kind"] == "adopted" and over["reason"] in _UNSAFE and len(one.lines) < over["count"]:
            rows[one.name, "shorter than adopted"] += 1
        else:
            wrong.append(
                f"{one.name} has {len(one.lines)} records, the ledger says {over['kind']} with {over['count']}"
            )
    if ended and over is None:
        rows[one.name, "end without closed"] += 1
    if known.pruned is not None:
        rows[one.name, "pruned but there"] += 1
    for row in [row for row, count in rows.items() if not count]:
        del rows[row]


_UNSAFE: Final = ("power", "sealed")


def _links(streams: Mapping[str, _File], said: Mapping[str, _Said], boot: str, rows: Rows, wrong: list[str]) -> None:
    by_stream = {one.lines[0]["stream"]: one for one in streams.values() if one.lines}
    for one in by_stream.values():
        opened = one.lines[0]
        if opened["before"] is None:
            continue
        before = by_stream.get(opened["before"])
        if before is None:
            if opened["before"] not in said:
                rows[one.name, "stream before is not here"] += 1
        elif opened["before_hash"] is not None and before.last()[1] != opened["before_hash"]:
            if any(line["end"] for line in before.lines) or before.lines[0]["boot"] == boot:
                wrong.append(f"{before.name} does not end with the record that {one.name} points back to")
            rows[before.name, "not the one pointed to"] += 1


def _facts(line: bytes) -> dict[str, Any] | None:
    values = attributes(line)
    if values is None:
        return None
    count = values.get("mcp_audit.stream.count")
    return {
        "event": values["event"],
        "id": values["audit.record.id"],
        "detail": values.get("mcp_audit.outcome.detail", ""),
        "number": int(values["audit.sequence.number"]),
        "hash": values["mcp_audit.record.hash"],
        "previous": values.get("audit.sequence.previous_hash"),
        "stream": values["audit.sequence.stream_id"],
        "end": values.get("audit.sequence.end") is True,
        "kind": values.get("mcp_audit.lifecycle.kind"),
        "boot": values.get("mcp_audit.boot.id"),
        "about": values.get("mcp_audit.stream.id"),
        "file": values.get("mcp_audit.stream.file"),
        "count": None if count is None else int(count),
        "head": values.get("mcp_audit.stream.head"),
        "reason": values.get("mcp_audit.stream.reason"),
        "before": values.get("mcp_audit.stream.previous_id"),
        "before_hash": values.get("mcp_audit.stream.previous_hash"),
    }
