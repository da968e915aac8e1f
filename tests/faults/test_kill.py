# SPDX-License-Identifier: Apache-2.0
"""``kill -9`` of a real server under load: no answered call is missing from the trail, and the trail verifies."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from journal_files import calls
from stdio import StdioServer

KILLS = int(os.environ.get("MCP_AUDIT_TEST_KILLS", "20"))
SEED = int(os.environ.get("MCP_AUDIT_TEST_SEED", "20261124"))
IN_FLIGHT = 400


@pytest.mark.parametrize("number", range(KILLS))
def test_no_answered_call_is_missing(tmp_path: Path, number: int) -> None:
    chance = random.Random(SEED + number)
    server = StdioServer(tmp_path)
    for call in range(1, IN_FLIGHT + 1):
        server.send(call, "tools/call", {"name": "echo", "arguments": {"value": "x" * chance.randrange(2000)}})
    server.wait_for_count(1 + chance.randrange(1, IN_FLIGHT - 1))
    server.kill()

    answered = {number for number in server.answers if number != 0}
    recorded = [int(record["jsonrpc.request.id"]) for record in calls(tmp_path)]
    assert answered - set(recorded) == set()
    assert len(recorded) == len(set(recorded))
    assert len(answered) > 0
    assert server.strangers == []
    verdict = subprocess.run(
        [sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli", "verify", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr
