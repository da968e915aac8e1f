# SPDX-License-Identifier: Apache-2.0
"""A share of the restarts (``restarts.py``), in a process of its own, because it forks.

MCP_AUDIT_TEST_SEED chooses how each of them ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SEED = os.environ.get("MCP_AUDIT_TEST_SEED", "20261124")
RESTARTS = 30


@pytest.mark.skipif(not hasattr(os, "fork"), reason="each start is a fork")
def test_a_server_that_is_started_again_and_again_loses_nothing() -> None:
    script = Path(__file__).with_name("restarts.py")
    done = subprocess.run(
        [sys.executable, str(script), "--restarts", str(RESTARTS), "--seed", SEED],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{RESTARTS} restarts, " in done.stdout
    assert f"seed {SEED}, 0 problems" in done.stdout
