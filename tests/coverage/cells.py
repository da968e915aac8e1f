# SPDX-License-Identifier: Apache-2.0
"""The cells of the coverage matrix: which test proves which outcome over which transport, and how it ended here.

A test says its cells by a mark, once or several times::

    @pytest.mark.cell("success")                              # over its parameter `transport`
    @pytest.mark.cell("HTTP 401", transport="http-stateful")  # over this one

``conftest.py`` collects them; ``tests/helpers/coverage_report.py`` joins those of every stack to ``docs/coverage.md``.
Where a cell makes no sense the test skips with the reason, which then stands in that page.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import pytest
from outcomes import TRANSPORTS


@dataclass(frozen=True, order=True)
class Cell:
    """One outcome over one transport, and the test file that proves it."""

    outcome: str
    transport: str
    file: str


@dataclass(frozen=True)
class Ending:
    """How the tests of a cell ended: ``recorded``, ``not applicable`` or ``failed``; ``reason`` for the last two."""

    state: str
    reason: str = ""


def cells_of(item: pytest.Item) -> list[Cell]:
    """The cells that a collected test's marks name. ``pytest.UsageError`` for a mark that cannot be read."""
    found = []
    for mark in item.iter_markers("cell"):
        parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        transport = mark.kwargs.get("transport") or parameters.get("transport")
        if len(mark.args) != 1 or set(mark.kwargs) - {"transport"} or transport not in TRANSPORTS:
            raise pytest.UsageError(
                f"{item.nodeid}: cell(outcome, transport=…) wants one outcome, and one of {', '.join(TRANSPORTS)} "
                f"by `transport=` or by the test's parameter `transport`; got {mark}"
            )
        found.append(Cell(str(mark.args[0]), transport, item.path.name))
    return found


def merge(endings: Iterable[Ending]) -> Ending:
    """What holds for a cell that several tests prove: failed if one failed, recorded if one of them ran."""
    by_state: dict[str, list[str]] = {}
    for ending in endings:
        by_state.setdefault(ending.state, []).append(ending.reason)
    for state in ("failed", "recorded", "not applicable"):
        if state in by_state:
            return Ending(state, "; ".join(sorted(set(by_state[state]) - {""})))
    raise ValueError("a cell without a test")


class Results:
    """The files and outcomes of a run, its endings by cell, and the modules that were skipped whole."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        self.outcomes: set[str] = set()
        self.endings: dict[Cell, list[Ending]] = {}
        self.modules: dict[str, str] = {}

    def add(self, report: pytest.TestReport) -> None:
        """Take one phase of one test: a skip says why, a failure in any phase is one, a passed call is the proof."""
        ending = ending_of(report)
        if ending is None:
            return
        for name, value in report.user_properties:
            if name == "cell":
                self.endings.setdefault(Cell(*str(value).split("|")), []).append(ending)

    def add_module(self, report: pytest.CollectReport) -> None:
        """A module that skips itself: its cells are known from the stacks that run it."""
        if report.skipped and isinstance(report.longrepr, tuple):
            self.modules[report.nodeid.rpartition("/")[2]] = _why(report.longrepr[2])

    def plain(self) -> dict[str, Any]:
        """As JSON says it."""
        return {
            "cells": [{**asdict(cell), **asdict(merge(endings))} for cell, endings in sorted(self.endings.items())],
            "modules": self.modules,
        }


def as_property(cell: Cell) -> tuple[str, str]:
    """A cell as a property of its test's reports, which is what crosses the processes of pytest-xdist."""
    return "cell", f"{cell.outcome}|{cell.transport}|{cell.file}"


def ending_of(report: pytest.TestReport) -> Ending | None:
    """What one phase of a test says of its cells; None when it says nothing."""
    if hasattr(report, "wasxfail"):
        return Ending("failed", f"known: {report.wasxfail}") if report.when == "call" else None
    if report.failed:
        return Ending("failed", f"{report.nodeid} failed")
    if report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        return Ending("not applicable", _why(reason))
    return Ending("recorded") if report.when == "call" else None


def _why(text: str) -> str:
    reason = text.removeprefix("Skipped: ").strip()
    if reason in ("", "unconditional skip"):
        raise pytest.UsageError("a skip in the coverage matrix says why")
    return reason
