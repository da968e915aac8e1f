# SPDX-License-Identifier: Apache-2.0
"""Join the cells that the coverage matrix left, one JSON file a stack, to one page.

``python tests/helpers/coverage_report.py docs/coverage.md RESULTS.json…`` writes the page; with ``--check`` it only
compares. Exit code 1, with what is wrong, when a file is missing, a cell failed or has no ending, or the page differs.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "coverage"))
from outcomes import OUTCOMES, TRANSPORTS, UNTESTED

HEAD = """# Coverage

Whatever becomes of a request, one record says so. Each cell below is a test with a real server and a real client
(`tests/coverage/`), over HTTP with a real uvicorn and bearer tokens, in an environment of its own for each column.
**recorded**: the test ran and found exactly the record, with its values. **n/a**: the cell makes no sense there, and
the number says why.

This page is made from the results of the tests by `make coverage-page`; nothing in it is written by hand.
"""
Row = tuple[str, str]


@dataclass(frozen=True)
class Stack:
    """One column: its name, its packages, the state and reason of each of its cells, and the modules it skipped."""

    name: str
    packages: dict[str, str]
    cells: dict[Row, list[dict[str, str]]]
    modules: dict[str, str]

    @property
    def title(self) -> str:
        return " on ".join(f"{name} {self.packages[name]}" for name in ("fastmcp", "mcp") if name in self.packages)


class Incomplete(Exception):
    """The results do not make a page; says why, a line each."""


def read(path: Path) -> Stack:
    """The results of one stack. :class:`Incomplete` where there are none."""
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Incomplete(f"no results of {path.stem}: run `nox -s stacks` first") from None
    cells: dict[Row, list[dict[str, str]]] = {}
    for cell in told["cells"]:
        cells.setdefault((cell["outcome"], cell["transport"]), []).append(cell)
    return Stack(path.stem, told["packages"], cells, told["modules"])


def state_of(stack: Stack, row: Row, files: set[str]) -> tuple[str, str]:
    """State and reason of one cell: what its tests say, else why their module was skipped, else nothing.

    ``files`` are those that have tests of this cell in any stack.
    """
    if not files:
        return ("untested", UNTESTED[row]) if row in UNTESTED else ("absent", "no test of it on any stack")
    told = stack.cells.get(row, [])
    for state in ("failed", "recorded", "not applicable"):
        reasons = sorted({cell["reason"] for cell in told if cell["state"] == state})
        if reasons:
            return state, "; ".join(reason for reason in reasons if reason)
    skipped = sorted({stack.modules[file] for file in files if file in stack.modules})
    return ("not applicable", "; ".join(skipped)) if skipped else ("absent", "no test of it ran")


def rows_of(stacks: list[Stack]) -> dict[Row, set[str]]:
    """Every outcome over every transport, and what else has tests, in the order of the page, with the files of these."""
    files: dict[Row, set[str]] = {(outcome, transport): set() for outcome in OUTCOMES for transport in TRANSPORTS}
    for stack in stacks:
        for row, cells in stack.cells.items():
            files.setdefault(row, set()).update(cell["file"] for cell in cells)
    order = {outcome: place for place, outcome in enumerate(OUTCOMES)}

    def place(row: Row) -> tuple[int, str, int]:
        return order.get(row[0], len(order)), row[0], TRANSPORTS.index(row[1])

    return {row: files[row] for row in sorted(files, key=place)}


def page(stacks: list[Stack]) -> str:
    """The page. :class:`Incomplete` when a cell failed, or is neither recorded nor not applicable."""
    reasons: dict[str, int] = {}
    problems, lines, before, recorded, skipped = [], [HEAD], "", 0, 0
    lines += ["| column | packages |", "|---|---|"]
    for stack in stacks:
        packages = ", ".join(
            f"{name} {version}" for name, version in stack.packages.items() if name != "opentelemetry-sdk"
        )
        # The newest one changes by itself; the oldest is what is promised.
        oldest = stack.packages.get("opentelemetry-sdk", "").startswith("1.39.")
        lines.append(f"| {stack.name} | {packages}, OpenTelemetry SDK {'1.39.0, the oldest' if oldest else 'newest'} |")
    for row, files in rows_of(stacks).items():
        if row[0] != before:
            before = row[0]
            lines += ["", f"## {before}", "", f"| transport | {' | '.join(stack.name for stack in stacks)} |"]
            lines.append("|---" * (len(stacks) + 1) + "|")
        texts = []
        for stack in stacks:
            state, reason = state_of(stack, row, files)
            if state == "recorded":
                recorded += 1
                texts.append("recorded")
            elif state in ("not applicable", "untested"):
                skipped += 1
                texts.append(f"n/a ({reasons.setdefault(reason, len(reasons) + 1)})")
            else:
                problems.append(f"{stack.name}: {row[0]} over {row[1]}: {state}: {reason}")
        lines.append(f"| {row[1]} | {' | '.join(texts)} |")
    if problems:
        raise Incomplete("\n".join(problems))
    lines += ["", "## Why not", "", *(f"{number}. {reason}" for reason, number in reasons.items()), ""]
    lines.append(f"{recorded} cells recorded, {skipped} not applicable, none left out.")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Join the results of the coverage matrix to one page.")
    parser.add_argument("page", type=Path)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--check", action="store_true", help="compare with the page instead of writing it")
    options = parser.parse_args()
    try:
        text = page([read(path) for path in options.results])
    except Incomplete as error:
        print(error, file=sys.stderr)
        return 1
    if not options.check:
        options.page.write_text(text, encoding="utf-8")
        print(f"{options.page}: {text.splitlines()[-1]}")
        return 0
    if not options.page.exists() or options.page.read_text(encoding="utf-8") != text:
        print(f"{options.page} is not what the tests say: make coverage-page", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
