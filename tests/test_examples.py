# SPDX-License-Identifier: Apache-2.0
"""Every example does what its docstring says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
OFF = {f"OTEL_{name}_EXPORTER": "none" for name in ("TRACES", "METRICS", "LOGS")}


def environment(directory: Path, **more: str) -> dict[str, str]:
    return {**os.environ, **OFF, "OTEL_MCP_AUDIT_DIR": str(directory / "journal"), **more}


def outcomes(directory: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted((directory / "journal").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            record = json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
            if record["eventName"] == "mcp_audit.tool_call":
                flat = {item["key"]: next(iter(item["value"].values())) for item in record["attributes"]}
                found.append({**flat, "traceId": record.get("traceId"), "spanId": record.get("spanId")})
    return found


@pytest.mark.parametrize(
    ("server", "tool", "arguments", "text"),
    [
        ("fastmcp_server.py", "datahub_search", {"query": "customers", "limit": 1}, "DATASET:customers:0"),
        ("lowlevel_server.py", "shout", {"text": "hello"}, "HELLO"),
    ],
)
async def test_the_stdio_servers(tmp_path: Path, server: str, tool: str, arguments: dict[str, Any], text: str) -> None:
    from mcp import Client, StdioServerParameters

    command = ["-m", "opentelemetry.instrumentation.mcp_audit.cli", "run", "--", sys.executable, str(EXAMPLES / server)]
    async with Client(StdioServerParameters(command=sys.executable, args=command, env=environment(tmp_path))) as client:
        answer = await client.call_tool(tool, arguments)
    assert answer.content[0].text == text  # type: ignore[union-attr]
    (record,) = outcomes(tmp_path)
    assert record["gen_ai.tool.name"] == tool
    assert record["mcp_audit.outcome.detail"] == "ok"
    assert record["mcp_audit.actor.provenance"] == "os"


def test_the_custom_sink(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "custom_sink.py")],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines() if line]
    assert [row["outcome"] for row in rows] == ["success", "failure"]
    assert "ALARM: batch-7: LookupError" in done.stderr
    first, second = outcomes(tmp_path)
    assert first["mcp_audit.data.subject"].startswith("hmac-sha256:")
    assert first["mcp_audit.purpose"] == "treatment"
    assert second["audit.actor.id"] == "batch-7"


def test_the_test_with_capture_audit(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLES / "test_capture_audit.py")],
        cwd=EXAMPLES.parent,
        env=environment(tmp_path),
        check=True,
        timeout=60,
    )


def test_the_http_server_with_console_exporters(tmp_path: Path) -> None:
    launcher = Path(sys.executable).with_name("opentelemetry-instrument")
    out = tmp_path / "out"
    with out.open("w") as file:
        server = subprocess.Popen(
            [str(launcher), sys.executable, str(EXAMPLES / "http_server.py")],
            env=environment(tmp_path, OTEL_TRACES_EXPORTER="console", OTEL_LOGS_EXPORTER="console"),
            stdout=file,
            stderr=subprocess.DEVNULL,
        )
    try:
        answer = _post(server)
    finally:
        # SIGINT: uvicorn ends well and the console exporters write what they hold.
        server.send_signal(2)
        server.wait(30)
    assert "blood pressure" in answer
    (record,) = outcomes(tmp_path)
    assert (record["audit.actor.id"], record["mcp_audit.purpose"]) == ("nurse-joy", "treatment")
    shown = _json_objects(out.read_text())
    (log,) = [item for item in shown if item.get("event_name") == "mcp_audit.tool_call"]
    (span,) = [item for item in shown if item.get("name") == "tools/call read_chart"]
    (event,) = span["events"]
    assert log["body"] is None
    assert event["attributes"]["audit.record.id"] == log["attributes"]["audit.record.id"] == record["audit.record.id"]
    assert log["trace_id"] == span["context"]["trace_id"] == f"0x{record['traceId']}"
    assert log["span_id"] == span["context"]["span_id"] == f"0x{record['spanId']}"


def _post(server: subprocess.Popen[bytes]) -> str:
    """The request of the example's docstring, as soon as the server takes it."""
    params = {"name": "read_chart", "arguments": {"patient": "p-100"}}
    request = urllib.request.Request(
        "http://127.0.0.1:8000/mcp",
        json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode(),
        {
            "authorization": "Bearer nurse-token",
            "x-purpose": "treatment",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": "2025-06-18",
        },
    )
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return str(response.read().decode())
        except ConnectionError:
            pass
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionError):
                raise
        assert server.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)


def _json_objects(text: str) -> list[dict[str, Any]]:
    """The objects that the console exporters print one after the other, with other lines between."""
    found, decoder, position = [], json.JSONDecoder(), text.find("{\n")
    while position >= 0:
        item, end = decoder.raw_decode(text, position)
        found.append(item)
        position = text.find("{\n", end)
    return found
