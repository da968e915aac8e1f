# SPDX-License-Identifier: Apache-2.0
"""Clients that this project did not write: the official TypeScript client and the conformance suite of the protocol.

The server runs as it is and then audited; both see the same. Needs node and npm: without them skipped, with CI=true failed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
SERVER = HERE / "server.py"
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "foreign"
RUN = [str(Path(sys.executable).parent / "otel-mcp-audit"), "run", "--"]
pytestmark = pytest.mark.timeout(300)

CALLED = [
    *("add", "test_simple_text", "test_error_handling", "nowhere", "add"),
    # What the server asks its client inside of a tool has a record too.
    *("test_sampling", "sampling/createMessage", "test_elicitation", "elicitation/create"),
    *("test://static-text", "test://none", "test_prompt_with_arguments"),
    *["add"] * 8,
    *("wait", "add"),
]
DETAILS = [
    *("ok", "ok", "tool_error", "unknown_tool", "invalid_arguments"),
    *("ok", "ok", "ok", "ok"),
    *("ok", "protocol_error", "ok"),
    *["ok"] * 8,
    *("cancelled", "ok"),
]


@pytest.fixture(scope="module")
def modules() -> Path:
    """The folder with the clients, installed once from the lock file."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("node and npm are needed for the foreign clients")
        pytest.skip("node and npm are not on PATH")
    names = ("package.json", "package-lock.json")
    key = hashlib.sha256(b"\0".join((HERE / name).read_bytes() for name in names)).hexdigest()[:12]
    home = CACHE / key
    if not (home / "ready").exists():
        home.mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copy(HERE / name, home)
        install = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(install, cwd=home, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        (home / "ready").touch()
    shutil.copy(HERE / "client.mjs", home)
    return home


def environment(trail: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return {**kept, "OTEL_MCP_AUDIT_DIR": str(trail)}


def records(trail: Path) -> list[tuple[str, str]]:
    """Target and detail of the outcome records, in the order in which the requests came."""
    found = []
    for path in trail.glob("*.jsonl"):
        for line in path.read_bytes().splitlines():
            record = json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
            values = {item["key"]: next(iter(item["value"].values())) for item in record["attributes"]}
            if "mcp_audit.outcome.detail" in values:
                found.append((record["timeUnixNano"], values["audit.target.id"], values["mcp_audit.outcome.detail"]))
    return [(target, detail) for _, target, detail in sorted(found)]


def node(modules: Path, trail: Path, *arguments: str) -> list[Any]:
    """What the TypeScript client was told."""
    done = subprocess.run(
        ["node", "client.mjs", *arguments],
        cwd=modules,
        env=environment(trail),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@contextmanager
def http_server(before: list[str], trail: Path, log: Path) -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*before, sys.executable, str(SERVER), str(port)], env=environment(trail), stdout=out, stderr=out
        )
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                    time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)


def check(told: list[Any], bare: list[Any], trail: Path) -> None:
    assert told == bare
    # The answer to a request that the client gave up comes all the same; any other complaint is of what was sent.
    complaints = [each[1] for each in told if each[0] == "onerror"]
    assert all("unknown message ID" in each and "Request cancelled" in each for each in complaints)
    by_name = {each[0]: each[1] for each in told}
    assert by_name["add"]["content"][0]["text"] == "3"
    assert by_name["sampling"]["content"][0]["text"] == "LLM response: sampled"
    assert by_name["elicitation"]["content"][0]["text"] == "User response: accept"
    assert records(trail) == list(zip(CALLED, DETAILS, strict=True))


def test_the_typescript_client_over_stdio(modules: Path, tmp_path: Path) -> None:
    serve = [sys.executable, str(SERVER), "stdio"]
    bare = node(modules, tmp_path / "none", "stdio", *serve)
    assert not (tmp_path / "none").exists()
    told = node(modules, tmp_path / "trail", "stdio", *RUN, *serve)
    check(told, bare, tmp_path / "trail")


def test_the_typescript_client_over_http(modules: Path, tmp_path: Path) -> None:
    with http_server([], tmp_path / "none", tmp_path / "bare.log") as url:
        bare = node(modules, tmp_path / "none", "http", url)
    with http_server(RUN, tmp_path / "trail", tmp_path / "audited.log") as url:
        told = node(modules, tmp_path / "trail", "http", url)
    check(told, bare, tmp_path / "trail")


def conformance(modules: Path, url: str, out: Path) -> dict[str, list[tuple[str, str]]]:
    """Every check of every scenario of the suite, with its status."""
    out.mkdir()
    command = ["node", "node_modules/@modelcontextprotocol/conformance/dist/index.js"]
    subprocess.run(
        [*command, "server", "--url", url, "--suite", "all", "--output-dir", str(out)],
        cwd=modules,
        capture_output=True,
        timeout=200,
        check=False,  # the suite fails where this server lacks something; what counts is that both runs fail alike
    )
    found = {}
    for path in sorted(out.rglob("checks.json")):
        # The folder of a scenario ends with the time of the run.
        scenario = re.sub(r"-\d{4}-\d\d-\d\dT.*$", "", path.parent.name)
        found[scenario] = [(one["id"], one["status"]) for one in json.loads(path.read_text())]
    return found


def test_the_conformance_suite(modules: Path, tmp_path: Path) -> None:
    with http_server([], tmp_path / "none", tmp_path / "bare.log") as url:
        bare = conformance(modules, url, tmp_path / "bare")
    with http_server(RUN, tmp_path / "trail", tmp_path / "audited.log") as url:
        audited = conformance(modules, url, tmp_path / "audited")
    assert audited == bare
    statuses = [status for checks in bare.values() for _, status in checks]
    print(f"conformance: {len(bare)} scenarios, {len(statuses)} checks, {statuses.count('SUCCESS')} good")
    # The server is no stub: most of the suite is good on it.
    assert len(bare) >= 25 and statuses.count("SUCCESS") > len(statuses) / 2
    called = [target for target, _ in records(tmp_path / "trail")]
    assert {"test_simple_text", "test_error_handling", "test://static-text", "test_simple_prompt"} <= set(called)
