# SPDX-License-Identifier: Apache-2.0
"""Other instrumentations in the same process: ours still records, theirs see what they saw without us."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from venvs import build_wheel, prepare

SCENARIO = Path(__file__).parent / "programs" / "scenario.py"
PEERS = [
    "sentry-sdk==2.75.0",
    "openinference-instrumentation-mcp==2.0.13",
    "opentelemetry-instrumentation-mcp==0.62.4",
]
STACKS = {
    "mcp2": ["mcp==2.3.0", *PEERS],
    "mcp1": ["mcp==1.30.0", *PEERS],
    "fastmcp4": ["fastmcp==4.1.2", "mcp==2.3.0"],
    "fastmcp3": ["fastmcp==3.4.10", "mcp==1.30.0"],
}
CASES = [
    ("mcp2", "none"),
    ("mcp2", "sentry"),
    ("mcp2", "openinference"),
    ("mcp2", "traceloop"),
    ("mcp1", "sentry"),
    ("mcp1", "openinference"),
    ("mcp1", "traceloop"),
    ("fastmcp4", "none"),
    ("fastmcp3", "none"),
]
RECORDS = [
    ["mcp_audit.tool_call", "add", "ok"],
    ["mcp_audit.tool_call", "crash", "tool_error"],
    ["mcp_audit.tool_call", "nowhere", "unknown_tool"],
    ["mcp_audit.resource_read", "data://text", "ok"],
    ["mcp_audit.prompt_get", "greet", "ok"],
]
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def scenario(bin_: Path, peer: str, order: str) -> dict[str, Any]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHON"))}
    done = subprocess.run(
        [bin_ / "python", SCENARIO, peer, order], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert len(lines) == 1, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(lines[0].removeprefix("RESULT "))
    return found


@pytest.mark.parametrize(
    ("stack", "peer"), [pytest.param(*case, marks=pytest.mark.xdist_group(case[0])) for case in CASES]
)
def test_beside(stack: str, peer: str, wheel: Path) -> None:
    bin_ = prepare(f"peers-{stack}", STACKS[stack], wheel)
    without = scenario(bin_, peer, "without")
    breaks = (stack, peer) == ("mcp2", "traceloop")
    for order in ("first", "last") if stack == "mcp2" and peer != "none" else ("last",):
        beside = scenario(bin_, peer, order)
        assert beside["records"] == RECORDS, order
        for part in ("answers", "error", "broken", "spans"):
            assert beside[part] == without[part], (order, part)
    assert without["error"] is None
    # Made for mcp 1.x it cannot be put on 2.x; with us or without.
    assert ("PathResolutionError" in str(without["broken"])) == breaks
    # OpenInference carries the trace over and makes no span itself; mcp 1.x makes none either.
    assert bool(without["spans"]) != ((stack, peer) == ("mcp1", "openinference"))
