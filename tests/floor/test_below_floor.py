# SPDX-License-Identifier: Apache-2.0
"""An MCP SDK older than the floor: not hooked, said aloud, its server unharmed. Runs where such an SDK is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from opentelemetry.instrumentation.mcp_audit.hooks.floor import is_below

if not is_below(version("mcp")):
    pytest.skip(f"mcp {version('mcp')} is not below the floor", allow_module_level=True)

SERVER = """
from mcp.server.fastmcp import FastMCP

server = FastMCP("old")

@server.tool()
def add(a: int, b: int) -> int:
    return a + b

server.run(transport="stdio")
"""
SENTENCE = (
    f"otel-mcp-audit: mcp_audit: requests are NOT audited: mcp {version('mcp')} is older than 1.24, the oldest version "
    "that opentelemetry-instrumentation-mcp-audit supports; pip install 'mcp>=1.24'"
)
INITIALIZE = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}
# What a client sends, a line each: a success, an unknown tool, an unknown method.
REQUESTS = [
    {"id": 1, "method": "initialize", "params": INITIALIZE},
    {"method": "notifications/initialized"},
    {"id": 2, "method": "tools/call", "params": {"name": "add", "arguments": {"a": 1, "b": 2}}},
    {"id": 3, "method": "tools/call", "params": {"name": "no_such_tool"}},
    {"id": 4, "method": "no/such"},
]
BIN = Path(sys.executable).parent


def serve(tmp_path: Path, *command: str) -> tuple[int, list[str], list[str]]:
    """Run a server command over the requests; its exit code, the lines of its stdout and ours of its stderr."""
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environment["OTEL_MCP_AUDIT_DIR"] = str(tmp_path / "journal")
    # Nobody is there to export to, as in the environments of most servers.
    environment |= {f"OTEL_{kind}_EXPORTER": "none" for kind in ("TRACES", "METRICS", "LOGS")}
    process = subprocess.Popen(
        [*command, sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    answers = []
    try:
        for request in REQUESTS:
            process.stdin.write(json.dumps({"jsonrpc": "2.0", **request}) + "\n")
            process.stdin.flush()
            if "id" in request:
                # One after the other, so that the order of the answers says nothing.
                answers.append(process.stdout.readline())
    except BrokenPipeError:
        pass  # a server that was not started; its exit code is what the test looks at
    try:
        rest, said = process.communicate(timeout=30)
    finally:
        process.kill()
    # OpenTelemetry's loader says beside ours that the version is not one for this package.
    lines = [line for line in said.splitlines() if line.startswith("otel-mcp-audit")]
    return process.returncode, [line for line in [*answers, *rest.splitlines()] if line], lines


@pytest.mark.timeout(120)
def test_the_server_works_as_without_and_one_sentence_says_that_it_is_not_audited(tmp_path: Path) -> None:
    bare = serve(tmp_path)
    under = serve(tmp_path, str(BIN / "opentelemetry-instrument"))
    assert len(bare[1]) == 4 and '"3"' in bare[1][1]
    assert under[:2] == bare[:2]
    assert (bare[2], under[2]) == ([], [SENTENCE])
    assert not (tmp_path / "journal").exists()


@pytest.mark.timeout(120)
def test_run_refuses(tmp_path: Path) -> None:
    code, answers, said = serve(tmp_path, str(BIN / "otel-mcp-audit"), "run", "--")
    assert (code, answers) == (78, [])
    assert said[0] == SENTENCE
    assert said[1].startswith("otel-mcp-audit: ending with 78, because this server was started to run only audited: ")


@pytest.mark.timeout(120)
def test_doctor_tells(tmp_path: Path) -> None:
    command = [str(BIN / "otel-mcp-audit"), "doctor", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert SENTENCE.removeprefix("otel-mcp-audit: mcp_audit: ") in done.stdout


def test_nothing_is_hooked_by_code_either(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from mcp.server.lowlevel.server import Server

    from opentelemetry.instrumentation.mcp_audit.instrumentor import INSTRUMENTATION, McpAuditInstrumentor

    before = Server._handle_request
    McpAuditInstrumentor().instrument(directory=str(tmp_path))
    try:
        assert Server._handle_request is before
        assert {state.state for state in INSTRUMENTATION.hook_states()} <= {"waiting", "missing"}
        needed = [state.state for state in INSTRUMENTATION.hook_states() if state.attribute == "Server._handle_request"]
        assert needed == ["missing"]
    finally:
        McpAuditInstrumentor().uninstrument()
    assert capfd.readouterr().err.splitlines() == [SENTENCE]
