# SPDX-License-Identifier: Apache-2.0
"""A series of kills in one directory, and what the journal says afterwards. Used by ``campaign.py`` and its share in CI."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from journal_files import Record, records_by_file
from launching import start
from stdio import EXPORTERS_OFF, StdioServer
from under_load import Victim, number_of

_CLI = (sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli")
_CALL = "mcp_audit.tool_call"


@dataclass
class Tally:
    """What a series of kills in one directory came to.

    ``recorded``: records of calls. ``in_flight``: calls that had begun and were never answered. ``abandoned``: records
    that say so. ``late``: calls in flight with an ordinary record: the kill came between it and the answer.
    """

    form: str
    kills: int = 0
    answered: int = 0
    recorded: int = 0
    in_flight: int = 0
    abandoned: int = 0
    late: int = 0
    segments: int = 0
    notes: int = 0
    verified: int = 0
    problems: list[str] = field(default_factory=list)


def series(form: str, base: Path, seed: int, rounds: int) -> Tally:
    """Start, load, kill, ``rounds`` times in one directory below ``base``; adopt what is dead; judge."""
    chance = random.Random(seed)
    tally = Tally(form)
    journal, began = base / "journal", base / "began"
    began.touch()
    numbers = itertools.count(1)
    answered: dict[int, int] = {}
    for _ in range(rounds):
        victims = start(form, journal, numbers, chance, began)
        try:
            tally.kills += _kill(victims, chance)
        finally:
            tally.kills += sum(victim.kill() for victim in victims)
        for victim in victims:
            answered |= victim.answered
            tally.problems += victim.trouble()
    # What died is not settled yet: that must be no violation either.
    run("verify", journal, tally)
    _adopt(journal, chance, tally)
    judge(journal, {int(line) for line in began.read_text().split()}, answered, tally)
    return tally


def _kill(victims: Sequence[Victim], chance: random.Random) -> int:
    """Kill one process after the other at random moments, and leave alive what is to be killed all at once."""
    kills = 0
    for victim in victims:
        victim.wait_for_count(chance.randrange(1, 150))
    for victim in chance.sample(list(victims), len(victims)):
        # A supervisor starts another worker in its place, which adopts it while its brother is busy.
        for _ in range(chance.randrange(6)):
            kills += victim.strike("worker", chance)
            victim.wait_for_count(len(victim.answered) + chance.randrange(1, 40))
        if chance.random() < 0.3:
            kills += victim.strike("master", chance)
            victim.wait_for_count(len(victim.answered) + chance.randrange(1, 40), seconds=2)
        time.sleep(chance.random() * 0.02)  # anywhere between two answers
        if chance.random() < 0.7:
            kills += victim.kill()
    return kills


def _adopt(journal: Path, chance: random.Random, tally: Tally) -> None:
    """By the next server that starts, or from the command line."""
    if chance.random() < 0.5:
        with StdioServer(journal):
            deadline = time.monotonic() + 30
            # Its own marker is the only one that stays.
            while len(list(journal.glob("*.calls"))) > 1 and time.monotonic() < deadline:
                time.sleep(0.02)
    else:
        run("adopt", journal, tally)
    left = [path.name for path in journal.glob("*.calls")]
    if left:
        tally.problems.append(f"markers that nobody adopted: {left}")


def judge(journal: Path, began: set[int], answered: dict[int, int], tally: Tally) -> None:
    by_file = records_by_file(journal)
    found = [(number_of(record), record) for records in by_file.values() for record in records if _is_call(record)]
    times = Counter(number for number, _ in found)
    abandoned = {number for number, record in found if record["mcp_audit.outcome.detail"] == "abandoned"}
    in_flight = (began | set(times)) - set(answered)
    tally.answered, tally.recorded, tally.in_flight = len(answered), len(found), len(in_flight)
    tally.abandoned, tally.late = len(abandoned), len(in_flight & set(times) - abandoned)
    tally.segments = len(by_file.keys() - {"ledger.jsonl"})
    ids = Counter(str(record["audit.record.id"]) for records in by_file.values() for record in records)
    for what, wrong in (
        ("answered, and not recorded", set(answered) - set(times)),
        ("answered, and recorded as abandoned", set(answered) & abandoned),
        ("recorded more than once", {number for number, count in times.items() if count > 1}),
        ("begun, and not recorded", began - set(times)),
        ("record ids that stand more than once", {one for one, count in ids.items() if count > 1}),
    ):
        if wrong:
            tally.problems.append(f"{len(wrong)} {what}: {sorted(map(str, wrong))[:10]}")
    tally.problems += _shared(by_file, answered)
    said = run("verify", journal, tally, "--json")
    if said:
        tally.notes = json.loads(said)["counts"]["notes"]


def _shared(by_file: dict[str, list[Record]], answered: dict[int, int]) -> list[str]:
    """Files that more than one process wrote: the calls in them were answered by different ones."""
    found = []
    for name, records in by_file.items():
        pids: dict[int, list[int]] = defaultdict(list)
        for record in records:
            # What it adopted was another's call, and never answered.
            if _is_call(record) and number_of(record) in answered:
                pids[answered[number_of(record)]].append(number_of(record))
        if len(pids) > 1:
            found.append(f"{name} was written by the processes {sorted(pids)}")
    return found


def _is_call(record: Record) -> bool:
    return bool(record["event"] == _CALL)


def run(command: str, journal: Path, tally: Tally, *options: str) -> str:
    done = subprocess.run(
        [*_CLI, command, *options, str(journal)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **EXPORTERS_OFF},
    )
    if done.returncode != 0:
        tally.problems.append(f"{command} exits {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    elif command == "verify":
        tally.verified += 1
    return done.stdout
