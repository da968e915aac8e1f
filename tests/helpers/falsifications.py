# SPDX-License-Identifier: Apache-2.0
"""What somebody may do to a journal, and what ``verify`` says to it: one table, from which a test and a page are made.

    python tests/helpers/falsifications.py        # writes docs/integrity.md

The journal is the oracle's (``trail_oracle``, ``ledgers``): two closed segments, a third that is still written, a ledger.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ledgers import Ledger, ledger_of, rechain
from trail_oracle import Trail, attribute, rehashed, sample

Verdict = Literal["violated", "valid, with a note", "valid"]
PAGE = Path(__file__).parents[2] / "docs" / "integrity.md"
STREAMS = [f"6f1d1c1e-0000-4000-8000-00000000000{number}" for number in range(1, 5)]


def _open() -> Trail:
    trail = Trail(stream=STREAMS[2], seed=3)
    trail.call("tool_live")
    trail.call("tool_live")
    return trail


@dataclass
class Scene:
    """A whole journal, before it is written."""

    first: Trail = field(default_factory=lambda: sample(5, stream=STREAMS[0], seed=1))
    second: Trail = field(default_factory=lambda: sample(3, stream=STREAMS[1], seed=2))
    live: Trail = field(default_factory=_open)
    lines: dict[str, list[bytes]] = field(default_factory=dict)
    """Files whose lines are other than their trail's, and files that are there besides."""
    removed: set[str] = field(default_factory=set)
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = ledger_of(self.first, self.second, self.live)

    def write(self, directory: Path) -> None:
        trails = (self.first, self.second, self.live, self.ledger)
        files = {trail.name: trail.lines() for trail in trails} | self.lines
        for name, lines in files.items():
            if name not in self.removed:
                (directory / name).write_bytes(b"".join(lines))


@dataclass(frozen=True)
class Row:
    """One falsification: ``how`` it is done, as the page tells; what is found; ``words`` of the finding, if there is."""

    name: str
    how: str
    do: Callable[[Scene], Any]
    verdict: Verdict
    words: str = ""


def _edit(key: str, value: str) -> Callable[[Scene], None]:
    def edit(scene: Scene) -> None:
        attribute(scene.first.records[2], key)["stringValue"] = value

    return edit


def _edit_and_rehash(scene: Scene) -> None:
    attribute(scene.first.records[2], "user.id")["stringValue"] = "mallory"
    scene.first.records[2] = rehashed(scene.first.records[2])


def _body(scene: Scene) -> None:
    scene.first.records[2]["body"]["stringValue"] = '{"arguments":{"query":"nothing"}}'


def _swap_bodies(scene: Scene) -> None:
    one, two = scene.first.records[1], scene.second.records[1]
    one["body"]["stringValue"] += " "  # the sample's bodies are alike
    one["body"], two["body"] = two["body"], one["body"]


def _relined(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Scene], None]:
    def edit(scene: Scene) -> None:
        scene.lines[scene.first.name] = change(scene.first.lines())

    return edit


def _doubled(scene: Scene) -> None:
    again = copy.deepcopy(scene.first.records[2])
    attribute(again, "user.id")["stringValue"] = "mallory"
    scene.first.records.insert(3, rehashed(again))


def _inserted(scene: Scene) -> None:
    other = Trail(seed=9)
    other.call("planted")
    scene.first.records.insert(3, other.records[1])


def _time(scene: Scene) -> None:
    scene.first.records[2]["timeUnixNano"] = "1764000000000000000"


def _resource(scene: Scene) -> None:
    scene.first.resource = {**scene.first.resource, "host.name": "elsewhere"}


def _brought(scene: Scene) -> None:
    other = sample(4, stream=STREAMS[3], seed=4)
    scene.lines[other.name] = other.lines()


def _renamed(scene: Scene) -> None:
    scene.lines[scene.first.name.replace("4001", "7")] = scene.first.lines()
    scene.removed.add(scene.first.name)


def _ledger_cut(end: int) -> Callable[[Scene], None]:
    def cut(scene: Scene) -> None:
        del scene.ledger.records[end:]

    return cut


def _end_unsaid(scene: Scene) -> None:
    del scene.ledger.records[4]
    rechain(scene.ledger)


def _ledger_rechained(scene: Scene) -> None:
    """The second segment never was: its entries go, its file goes, and the ledger is chained again."""
    del scene.ledger.records[3:5]
    rechain(scene.ledger)
    scene.removed.add(scene.second.name)


def _all_rechained(scene: Scene) -> None:
    del scene.first.records[2]
    rechain(scene.first)
    scene.ledger = ledger_of(scene.first, scene.second, scene.live)


def _rolled_back(scene: Scene) -> None:
    """The whole directory as a copy of it was some hours ago."""
    scene.removed.add(scene.live.name)
    scene.ledger = ledger_of(scene.first, scene.second)


def _live_tail(scene: Scene) -> None:
    scene.lines[scene.live.name] = scene.live.lines()[:-1]


def _carriers(scene: Scene) -> None:
    added = {"key": "mcp_audit.collector.peer", "value": {"stringValue": "10.0.0.9"}}
    scene.first.records[2]["attributes"].append(added)


def _planted_torn(scene: Scene) -> None:
    scene.lines[scene.live.name] = [*scene.live.lines(), b'{"resourceLogs":[{"resource"']


FALSIFICATIONS: tuple[Row, ...] = (
    # Nine within a segment.
    Row(
        "edited attribute",
        "who called is changed in one record",
        _edit("user.id", "mallory"),
        "violated",
        "its hash differs",
    ),
    Row(
        "edited attribute, hashed again",
        "the same, and the record's own hash is made to fit",
        _edit_and_rehash,
        "violated",
        "it does not point back to the record before it",
    ),
    Row("edited body", "arguments are changed", _body, "violated", "the body is not what was written"),
    Row(
        "dropped record",
        "one line is taken out",
        _relined(lambda lines: lines[:2] + lines[3:]),
        "violated",
        "record 3 is missing: this is number 4",
    ),
    Row(
        "swapped records",
        "two lines change places",
        _relined(lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]]),
        "violated",
        "record 3 is missing: this is number 4",
    ),
    Row(
        "record doubled and changed",
        "a line is copied, changed and hashed again",
        _doubled,
        "violated",
        "number 3 stands where number 4 was expected",
    ),
    Row(
        "inserted record",
        "a line of another journal is put between",
        _inserted,
        "violated",
        "number 2 stands where number 4 was expected",
    ),
    Row(
        "cut head",
        "the first lines are taken off",
        _relined(lambda lines: lines[2:]),
        "violated",
        "the head of the stream is missing",
    ),
    Row("changed time", "a call is dated back", _time, "violated", "its hash differs"),
    Row(
        "changed resource",
        "another host, in every line of the segment",
        _resource,
        "violated",
        "resource or scope are not those of",
    ),
    # Beyond it.
    Row(
        "cut tail of a closed segment",
        "the last lines are taken off",
        _relined(lambda lines: lines[:-2]),
        "violated",
        "it holds 5 whole records: the ledger (line 3, closed) has 7 records",
    ),
    Row(
        "removed segment",
        "a whole file is deleted",
        lambda scene: scene.removed.add(scene.second.name),
        "violated",
        "never says that it was pruned",
    ),
    Row(
        "segment of another directory",
        "a whole, valid file is brought in",
        _brought,
        "violated",
        "the ledger does not have this file",
    ),
    Row(
        "removed line of the ledger",
        "one entry is taken out",
        lambda scene: scene.lines.update({scene.ledger.name: scene.ledger.lines()[:2] + scene.ledger.lines()[3:]}),
        "violated",
        "record 3 is missing: this is number 4",
    ),
    Row(
        "removed ledger",
        "the ledger is deleted",
        lambda scene: scene.removed.add(scene.ledger.name),
        "violated",
        "there is no ledger",
    ),
    Row(
        "cut ledger, segments unknown",
        "its last lines are taken off, so that it has not heard of a segment",
        _ledger_cut(5),
        "violated",
        "the ledger does not have this file",
    ),
    Row(
        "swapped bodies",
        "two calls are given each other's arguments",
        _swap_bodies,
        "violated",
        "the body is not what was written",
    ),
    Row(
        "stripped body",
        "the arguments are taken out",
        lambda scene: scene.first.records[2].pop("body"),
        "violated",
        "the body is missing",
    ),
    Row("renamed file", "a segment is given another name", _renamed, "violated", "the file was renamed"),
    Row(
        "added carrier attributes",
        "what a Collector adds on the way is written into a record",
        _carriers,
        "valid, with a note",
        "mcp_audit.collector.peer was added on the way and is covered by no hash",
    ),
    # What the keyless tier cannot see, or cannot tell from a crash.
    Row(
        "ledger rewritten, an end unsaid",
        "a line that only said how a segment ended is taken out, and the rest is hashed again",
        _end_unsaid,
        "valid, with a note",
        "it has its end record, but the ledger does not say so yet",
    ),
    Row(
        "cut tail of a segment that is still written",
        "the last lines are taken off before the segment was closed or adopted",
        _live_tail,
        "valid",
    ),
    Row(
        "torn tail, planted",
        "half a line is put behind the last record of an open segment",
        _planted_torn,
        "valid, with a note",
        "torn tail",
    ),
    Row(
        "ledger rewritten without a key",
        "a segment and its entries are removed, and the ledger is numbered and hashed again",
        _ledger_rechained,
        "valid",
    ),
    Row(
        "everything rewritten without a key",
        "a record is removed, its segment and the ledger are numbered and hashed again",
        _all_rechained,
        "valid",
    ),
    Row("older copy", "the whole directory is put back to what it was earlier", _rolled_back, "valid"),
)

_HEAD = """\
# What verification proves

<!-- Made by `python tests/helpers/falsifications.py` from the table that tests/integrity/test_falsifications.py runs. -->

`otel-mcp-audit verify` reads a journal directory, takes no lock and changes nothing. It leaves with 0 (valid, notes may
remain), 1 (violated; with `--strict` a note is enough) or 2 (unreadable), and says the tier and the last record that is
covered. How it judges is in [format.md](format.md), section 8.

## Tiers

- **Keyless** (this release, always): every record carries the hash of the one before it, every segment is entered in the
  directory's ledger, which is a chain of its own. No secret is involved. This finds accidents, partial edits, and whoever
  changes, drops, adds or swaps something without redoing all that follows, in the segment *and* in the ledger.
  Whoever may write the directory and knows the format can redo all of it, and then it finds nothing.
- **Sealed** and **anchored** (not in this release): a key that is not on the machine, or a copy or checkpoint that lies
  elsewhere, also finds who rewrote everything, and who put an older copy in its place. Until then the copy is what you
  make yourself: deliver the records to another machine as they are written.

No text of ours claims more than the tier in which a journal was verified.

## What is done, and what is said

Every line is a test. The journal has two closed segments, one that is still written (which is a note of its own), and a
ledger.

"""

_BLANKS = """
## Blanks

Where the table says *valid*, nothing was found, or only what an honest crash leaves as well:

- What is at the **end** and was not yet closed or adopted can be cut: a cut tail looks like a process that died early. The
  same holds for the last lines of the ledger, as long as every segment that is there is still entered.
- A **half line** at the end of an open segment proves nothing: a crash leaves one, and anybody can.
- On a machine that was started anew, a **hole** in a segment that is neither closed nor adopted is what a power cut leaves,
  and is a note; what stood behind it is not covered. `--foreign` does not grant that. In a segment that was given up after
  a failed sync (`sealed`), a missing end is a note: the disk had said that it may not be there.
- Whoever **rewrites** segments and ledger with new numbers and hashes leaves a valid journal. So does an **older copy**
  of the whole directory.
- The **body** is covered by a salted digest, so it can be taken out by rule later without breaking the chain; in the
  journal itself a missing body is a violation.
- The **nanoseconds** below the microsecond of a call's observed time are covered by nothing: its duration is in whole
  microseconds, and time plus duration is what the observed time is held against.
- What a **carrier** adds (the closed list in format.md, section 2) is covered by no hash and shown as such.
- A record that was **never written** cannot be missed by any of this; the gap records and the counters of `doctor` tell of
  those that the writer knew of.
"""


def page() -> str:
    """docs/integrity.md."""
    rows = ["| what | how | verdict | what is said |", "| --- | --- | --- | --- |"]
    rows += [f"| {row.name} | {row.how} | {row.verdict} | {row.words or '—'} |" for row in FALSIFICATIONS]
    return _HEAD + "\n".join(rows) + "\n" + _BLANKS


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
