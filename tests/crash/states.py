# SPDX-License-Identifier: Apache-2.0
"""Every state that a crash of a history may leave, and whether the journal comes back from it as promised.

For each: ``verify`` as it stands, then a new process opens the journal, adopts, records one call and closes, then
``verify`` again. What that process did is a history as well, and may crash in its turn.
"""

from __future__ import annotations

import copy
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from disk_log import Create, Log, Mark, Operation
from images import Image, Model, cut_short
from processes import JOURNAL, Machine, Process, boot_id
from table import Genuine, Verdict, expected, lines_of, records_in, rows_said, strangers, together, unsettled
from truth import ABANDONED, Owed, Truth

from opentelemetry.instrumentation.mcp_audit.integrity.report import Report
from opentelemetry.instrumentation.mcp_audit.integrity.verify import verify_paths
from opentelemetry.instrumentation.mcp_audit.journal.journal import Options

_SECONDS = 10
HEIR = 2000


@dataclass
class State:
    """A directory to come back to: its image and what is owed. ``begun`` and ``truth`` are from where the next history goes
    on after a kill (as they are until the next state is asked for); after a power cut what is on the disk is the image.
    """

    image: Image
    owed: Owed
    power: bool
    begun: Model
    truth: Truth

    def names(self) -> dict[str, int]:
        return Model.names_in(self.image) if self.power else self.begun.names_now()

    def model(self) -> Model:
        return Model.settled(self.image) if self.power else copy.deepcopy(self.begun)


@dataclass
class Figures:
    """What was seen. ``kinds``: states by the kind of their image; ``verdicts``: by the verdict before or after recovery
    ("before: valid"); ``rows``: how often a row of the table held, before or after; ``nested``: second crashes."""

    states: int = 0
    nested: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def add(self, other: Figures) -> None:
        self.states += other.states
        self.nested += other.nested
        self.kinds += other.kinds
        self.verdicts += other.verdicts
        self.rows += other.rows
        self.problems += other.problems


@dataclass(frozen=True)
class Plan:
    """How much of it. ``cap``: states of a power cut at one prefix; ``share``: of all states, those that are tried;
    ``nested``: of these, those whose recovery crashes too, in ``nested_cap`` states each. ``first``: none before so many operations."""

    cap: int = 16
    share: float = 1.0
    nested: float = 0.02
    nested_cap: int = 24
    first: int = 0


def states(
    model: Model, truth: Truth, operations: list[Operation], chance: random.Random, cap: int, first: int = 0
) -> Iterator[State]:
    """Every state that a crash may leave on the way through ``operations``, each look with the same debts once.

    ``first``: none before so many operations.
    """
    seen: set[object] = set()
    for operation in operations[:first]:
        model.apply(operation)
        truth.apply(operation)
    for index in range(first, len(operations) + 1):
        found = [State(model.killed(), truth.after_kill(), False, model, truth)]
        for image in model.power_cuts(chance, cap):
            found.append(State(image, truth.after_power_cut(), True, model, truth.on_from_power_cut()))
        if index < len(operations):
            for begun, image in cut_short(model, operations[index]):
                found.append(State(image, truth.after_kill(), False, begun, truth))
        for state in found:
            key = (state.power, state.image.same(), tuple(sorted(state.owed.once)), state.owed.abandoned)
            if key not in seen:
                seen.add(key)
                yield state
        if index < len(operations):
            model.apply(operations[index])
            truth.apply(operations[index])


def explore(log: Log, work: Path, seed: int, plan: Plan, until: str | None = None) -> Figures:
    """Try the states of a recorded history in directories below ``work``; ``until`` a problem with these words."""
    figures, chance = Figures(), random.Random(seed)
    genuine = lines_written(log)
    for state in states(Model.of(log), Truth.of(log), log.operations, random.Random(seed), plan.cap, plan.first):
        if until is not None and any(until in problem for problem in figures.problems):
            break
        if chance.random() >= plan.share:
            continue
        # After a power cut it is always another boot; after a kill it may be, if the machine was restarted before anybody came.
        boot = state.truth.boot + (1 if state.power else chance.choice((0, 0, 0, 1)))
        said, recovery = _try(state, work, figures, seed, boot, genuine)
        where = f"after operation {state.image.prefix} ({state.image.what})"
        figures.problems += [f"{where}: {sentence}" for sentence in said]
        if said or chance.random() >= plan.nested:
            continue
        both = together(genuine, lines_written(recovery))
        second = list(states(state.model(), copy.deepcopy(state.truth), recovery.operations, random.Random(seed), 4))
        for inner in chance.sample(second, min(plan.nested_cap, len(second))):
            said, _ = _try(inner, work, figures, seed + 1, boot + inner.power, both)
            figures.nested += 1
            inside = f"{where}, and in recovery after {inner.image.prefix - state.image.prefix} ({inner.image.what})"
            figures.problems += [f"{inside}: {sentence}" for sentence in said]
    return figures


def lines_written(log: Log) -> Genuine:
    """The lines that a history wrote, by the file's name in the journal."""
    names = {number: name for name, number in log.names_before.items()}
    names |= {each.file: each.name for each in log.operations if isinstance(each, Create)}
    return lines_of(log.operations, {number: name.rpartition("/")[2] for number, name in names.items()})


def _try(state: State, work: Path, figures: Figures, seed: int, turn: int, genuine: Genuine) -> tuple[list[str], Log]:
    base = work / "state"
    shutil.rmtree(base, ignore_errors=True)
    materialise(state.image, base)
    figures.states += 1
    figures.kinds[state.image.kind] += 1
    problems: list[str] = []
    boot = boot_id(turn)
    _judge("before", base, expected(_of_journal(state.image.files), genuine, boot), boot, figures, problems)
    began = time.monotonic()
    log = Log.of(base, state.names())
    with Machine(f"heir {seed}", boot).running() as machine:
        heir = Process(machine, log, HEIR + seed % 1000, Options(adopts=False))
        try:
            heir.open()
            heir.adopt()
            heir.calls(1)
            heir.tick()
            heir.close()
        except Exception as error:
            problems.append(f"recovery raised {type(error).__name__}: {error}")
        if heir.disk.held and not problems:
            problems.append(f"recovery left {heir.disk.held} files open")
        heir.disk.die()
    took = time.monotonic() - began
    if took > _SECONDS:
        problems.append(f"recovery took {took:.1f} s")
    left = _of_journal({path.relative_to(base).as_posix(): path.read_bytes() for path in _files(base)})
    genuine = together(genuine, lines_written(log))
    _judge("after", base, expected(left, genuine, boot), boot, figures, problems)
    problems += strangers(left, genuine)
    problems += [f"nobody settled {name}" for name in unsettled(left, genuine)]
    mine = next(
        (each.record_id for each in reversed(log.operations) if isinstance(each, Mark) and each.what == "told"), None
    )
    if mine is None:
        problems.append("the recovered journal takes no record")
    problems += settled(records_in(left, genuine), state.owed, mine)
    problems += [f"nobody adopted {name}" for name in left if name.endswith(".calls") and "/" not in name]
    if problems:
        problems[-1] += f" [said: {heir.said}]"
    return problems, log


def materialise(image: Image, base: Path) -> None:
    base.mkdir(parents=True)
    for name in sorted(image.directories):
        (base / name).mkdir(mode=0o700)
    for name, data in image.files.items():
        (base / name).write_bytes(data)


def settled(found: Mapping[str, list[str]], owed: Owed, mine: str | None) -> list[str]:
    """What is wrong with the records that are there after recovery: how each ended, by its id."""
    problems = [f"{len(kinds)} records of the id {each}: {kinds}" for each, kinds in found.items() if len(kinds) > 1]
    expected = {**owed.once, **dict.fromkeys(owed.abandoned, ABANDONED), **({mine: "ok"} if mine else {})}
    for record_id, detail in expected.items():
        kinds = found.get(record_id, ["missing"])
        if kinds[0] != detail:
            problems.append(f"{record_id}, which was {detail or 'no call'}, is {kinds[0] or 'no call'}")
    return problems


def _judge(when: str, base: Path, table: Verdict, boot: str, figures: Figures, problems: list[str]) -> None:
    """``verify`` says what the table says, in every row; and what a crash left is never called a falsification."""
    report = verify_paths([base / JOURNAL], boot_id=boot)
    figures.verdicts[f"{when}: {table.kind}"] += 1
    figures.rows += Counter({f"{when}: {row}": count for (_, row), count in table.rows.items()})
    if report.verdict != table.word:
        problems.append(f"{when} recovery verify says {report.verdict}, the table {table.word}: {_violations(report)}")
    elif table.word == "valid":
        said, other = rows_said((each.kind, Path(each.file).name, each.sentence) for each in report.all_findings())
        if said != table.rows or other:
            more, less = dict(said - table.rows), dict(table.rows - said)
            problems.append(f"{when} recovery verify says {more} more than the table, {less} less, and {other}")
    if table.wrong:
        problems.append(f"{when} recovery the steps were not in order: {'; '.join(table.wrong[:3])}")


def _violations(report: Report) -> str:
    found = [each for each in report.all_findings() if each.kind != "note"]
    return "; ".join(f"{each.kind} {Path(each.file).name}:{each.line}: {each.sentence}" for each in found[:3])


def _files(base: Path) -> list[Path]:
    return [path for path in base.rglob("*") if path.is_file()]


def _of_journal(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of the journal's directory, by their names in it."""
    return {name.removeprefix(f"{JOURNAL}/"): data for name, data in files.items() if name.startswith(f"{JOURNAL}/")}
