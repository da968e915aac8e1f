# SPDX-License-Identifier: Apache-2.0
"""The matrix itself: every outcome has a cell on this stack, and a cell ends as its tests did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cells import OUTCOMES, Ending, merge

HERE = Path(__file__).parent


@pytest.mark.timeout(110)
def test_every_outcome_has_a_cell_on_this_stack(tmp_path: Path) -> None:
    told = tmp_path / "cells.json"
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", HERE]
    # The settings of pytest-xdist's processes are not for this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["MCP_AUDIT_COVERAGE_CELLS"] = str(told)
    subprocess.run(command, env=environment, cwd=HERE.parents[1], timeout=100, check=True, stdout=subprocess.DEVNULL)
    found = {cell.split("|")[0] for cell in json.loads(told.read_text())["collected"]}
    assert [outcome for outcome in OUTCOMES if outcome not in found] == []


@pytest.mark.parametrize(
    ("endings", "expected"),
    [
        ([Ending("recorded")], Ending("recorded")),
        ([Ending("not applicable", "why"), Ending("recorded")], Ending("recorded")),
        ([Ending("not applicable", "b"), Ending("not applicable", "a")], Ending("not applicable", "a; b")),
        ([Ending("recorded"), Ending("failed", "x failed")], Ending("failed", "x failed")),
    ],
)
def test_a_cell_ends_as_its_tests_did(endings: list[Ending], expected: Ending) -> None:
    assert merge(endings) == expected
