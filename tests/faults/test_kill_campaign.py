# SPDX-License-Identifier: Apache-2.0
"""A share of the kill campaign (``campaign.py``): every form in which servers are started, about twenty-five kills.

MCP_AUDIT_TEST_SEED chooses when and whom.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from killing import series
from launching import FORMS

SEED = int(os.environ.get("MCP_AUDIT_TEST_SEED", "20261124"))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the processes of a server are found in /proc")
@pytest.mark.timeout(300)  # ten servers on a busy machine
@pytest.mark.parametrize("form", FORMS)
def test_what_was_answered_is_recorded_and_what_was_killed_is_abandoned(tmp_path: Path, form: str) -> None:
    tally = series(form, tmp_path, random.Random(f"{SEED} {form}").randrange(2**32), rounds=1)
    print(f"seed {SEED}: {tally}")
    assert tally.problems == []
    assert tally.kills >= 1 and tally.answered >= 1 and tally.verified == 2
    # Answered or in flight, and nothing else; in flight is what was abandoned, or recorded and not answered any more.
    assert tally.recorded == tally.answered + tally.in_flight
    assert tally.in_flight == tally.abandoned + tally.late
