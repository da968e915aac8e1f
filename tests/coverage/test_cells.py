# SPDX-License-Identifier: Apache-2.0
"""The matrix itself: every outcome has a cell on this stack, and a cell ends as its tests did."""

from __future__ import annotations

from pathlib import Path

import pytest
from cells import Ending, Results, merge
from outcomes import OUTCOMES


def test_every_outcome_has_a_cell_on_this_stack(collected: Results) -> None:
    every = {path.name for path in Path(__file__).parent.glob("test_*.py")}
    if every - collected.files - set(collected.modules):
        pytest.skip("only a part of the matrix was collected")
    assert [outcome for outcome in OUTCOMES if outcome not in collected.outcomes] == []


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
