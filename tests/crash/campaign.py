# SPDX-License-Identifier: Apache-2.0
"""Every state that a crash may leave of every history, and the journal's way back from it.

    python tests/crash/campaign.py [--seed 7] [--wandering 8] [--history rotation] [--share 0.1]

Prints what was tried by history, kind of image (``images.KINDS``) and verdict; exit code 1 when a state had a problem.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

for _directory in (Path(__file__).parent, Path(__file__).parents[1] / "helpers"):
    sys.path.insert(0, str(_directory))

from histories import HISTORIES, Script, record  # noqa: E402
from images import KINDS  # noqa: E402
from states import Figures, Plan, explore  # noqa: E402
from wandering import wandering  # noqa: E402

_MEMORY = "/dev/shm"  # nothing here needs a real disk
_VERDICTS = ("unreadable", "valid", "valid, with notes", "violated")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("MCP_AUDIT_TEST_SEED", "20261124")))
    parser.add_argument("--share", type=float, default=1.0, help="how many of the states are tried, 1 for all")
    parser.add_argument("--wandering", type=int, default=8, help="how many histories by chance, beside the scripted")
    parser.add_argument("--history", choices=HISTORIES, action="append", help="only these")
    given = parser.parse_args()
    plan = Plan(share=given.share)
    histories: dict[str, Callable[[Script], None]] = {
        name: history for name, history in HISTORIES.items() if not given.history or name in given.history
    }
    by_chance = 0 if given.history else given.wandering
    histories |= {f"by chance {turn}": wandering(given.seed * 100_000 + turn) for turn in range(by_chance)}
    total, chance, began, operations = Figures(), Figures(), time.monotonic(), 0
    _line("history", "operations", [*KINDS, "states", "second", *(f"b {each[:10]}" for each in _VERDICTS), "problems"])
    for name, history in histories.items():
        # Each history has a directory of its own; what is wrong with one state must not be the next one's.
        with tempfile.TemporaryDirectory(prefix="crash-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None) as work:
            log = record(history, given.seed)
            figures = explore(log, Path(work), given.seed, plan)
        total.add(figures)
        if name.startswith("by chance"):
            chance.add(figures)
            operations += len(log.operations)
        if figures.problems or not name.startswith("by chance"):
            _row(name, len(log.operations), figures)
        for problem in figures.problems:
            print(f"PROBLEM {name}: {problem}", flush=True)
    if by_chance:
        _row(f"{by_chance} by chance", operations, chance)
    _row("all", 0, total)
    for title, counts in (("verify", total.verdicts), ("row of the table", total.rows)):
        for when, count in sorted(counts.items()):
            print(f"{title} {when}: {count}")
    print(
        f"{len(histories)} histories, seed {given.seed}, {total.states} states, {time.monotonic() - began:.0f} s, ",
        end="",
    )
    print(f"{len(total.problems)} problems")
    return 1 if total.problems else 0


def _row(name: str, operations: int, figures: Figures) -> None:
    verdicts = [figures.verdicts[f"before: {each}"] for each in _VERDICTS]
    kinds = [figures.kinds[kind] for kind in KINDS]
    _line(name, operations or "", [*kinds, figures.states, figures.nested, *verdicts, len(figures.problems)])


def _line(name: str, operations: object, columns: Sequence[object]) -> None:
    print(f"{name:20}{operations:>11}" + "".join(f"{column:>13}" for column in columns), flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
