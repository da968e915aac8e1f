# SPDX-License-Identifier: Apache-2.0
"""The instrumentor in processes of its own: what it loads, what turns it off, what a wrong setting does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_HELPERS = str(Path(__file__).parent / "helpers")
if _HELPERS not in sys.path:
    sys.path.insert(0, _HELPERS)
from journals import read, segments  # noqa: E402

SERVE = """
import asyncio
from mcp import Client
from mcp.server.mcpserver import MCPServer

server = MCPServer("x", log_level="CRITICAL")

@server.tool()
def add(a: int, b: int) -> int:
    return a + b

async def main():
    async with Client(server) as client:
        print((await client.call_tool("add", {"a": 1, "b": 2})).structured_content["result"])

asyncio.run(main())
"""
OFF = {f"OTEL_{name}_EXPORTER": "none" for name in ("TRACES", "METRICS", "LOGS")}


def run(code: str, directory: Path, *, auto: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    launcher = [str(Path(sys.executable).with_name("opentelemetry-instrument"))] if auto else []
    return subprocess.run(
        [*launcher, sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **OFF, "OTEL_MCP_AUDIT_DIR": str(directory), **environment},
    )


def events(directory: Path) -> list[str]:
    """What the segments hold, in the order in which they were opened: lifecycle kinds, and the events of calls."""
    segments = [
        [json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0] for line in path.read_text().splitlines()]
        for path in directory.glob("*.jsonl")
        if path.name != "ledger.jsonl"
    ]
    segments.sort(key=lambda records: int(records[0]["timeUnixNano"]))
    return [_kind(record) for records in segments for record in records]


def _kind(record: dict[str, Any]) -> str:
    facts = {item["key"]: item["value"].get("stringValue") for item in record["attributes"]}
    return facts.get("mcp_audit.lifecycle.kind") or str(record["eventName"])


def stream(end: str) -> list[str]:
    """A stream with one call that was ended well, by this turn."""
    return ["opened", "instrumented", "mcp_audit.tool_call", end, "closed"]


WELL = stream("stopped")


def test_nothing_edited_one_record(tmp_path: Path) -> None:
    done = run(SERVE, tmp_path)
    assert (done.returncode, done.stdout) == (0, "3\n")
    assert events(tmp_path) == WELL
    assert done.stderr.splitlines() == [
        f"otel-mcp-audit: auditing MCP calls to {tmp_path} (level request, default redaction on, mode journaled); "
        "read them with: otel-mcp-audit tail"
    ]


def test_a_process_without_a_server_opens_and_says_nothing(tmp_path: Path) -> None:
    done = run("print('work')", tmp_path / "journal")
    assert (done.returncode, done.stdout, done.stderr) == (0, "work\n", "")
    assert not (tmp_path / "journal").exists()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_MCP_AUDIT_ENABLED", "false"),
        ("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "mcp_audit"),
        ("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "*"),
    ],
)
def test_turned_off_says_so(tmp_path: Path, variable: str, value: str) -> None:
    done = run(SERVE, tmp_path / "journal", **{variable: value})
    assert (done.returncode, done.stdout) == (0, "3\n")
    assert done.stderr == f"otel-mcp-audit: NOT AUDITED: turned off by {variable}={value}\n"
    assert not (tmp_path / "journal").exists()


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_LOGS_EXPORTER": "none"},
        {"OTEL_TRACES_SAMPLER": "always_off"},
        {"OTEL_ATTRIBUTE_COUNT_LIMIT": "2", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "3"},
    ],
)
def test_what_silences_opentelemetry_does_not_silence_the_journal(tmp_path: Path, environment: dict[str, str]) -> None:
    done = run(SERVE, tmp_path, **environment)
    assert done.stdout == "3\n"
    assert events(tmp_path) == WELL


def test_a_wrong_setting_is_named_and_the_audit_goes_on(tmp_path: Path) -> None:
    done = run(SERVE, tmp_path, OTEL_MCP_AUDIT_LEVEL="verbose")
    assert done.stdout == "3\n"
    assert done.stderr.splitlines()[0] == (
        "otel-mcp-audit: OTEL_MCP_AUDIT_LEVEL: 'verbose' cannot be used; "
        "allowed: none, metadata, digest, request, request_response; using the default instead"
    )
    assert events(tmp_path) == WELL


def test_a_wrong_setting_in_code_raises(tmp_path: Path) -> None:
    code = """
from opentelemetry.instrumentation import mcp_audit
try:
    mcp_audit.McpAuditInstrumentor().instrument(level="verbose")
except mcp_audit.SettingsError as error:
    print(error)
"""
    done = run(code, tmp_path, auto=False)
    assert done.stdout == (
        "instrument(level=…): 'verbose' cannot be used; allowed: none, metadata, digest, request, request_response\n"
    )


def test_a_misspelt_variable_is_named(tmp_path: Path) -> None:
    done = run(SERVE, tmp_path, OTEL_MCP_AUDIT_LEVLE="metadata")
    assert done.stdout == "3\n"
    assert done.stderr.startswith("otel-mcp-audit: OTEL_MCP_AUDIT_LEVLE: there is no such setting; there are: ")
    assert events(tmp_path) == WELL


@pytest.mark.parametrize("wrong", ["sinks=[print]", "sinks=[None]", "identify=3"])
def test_what_is_no_sink_is_an_error_where_it_is_given(tmp_path: Path, wrong: str) -> None:
    code = f"""
from opentelemetry.instrumentation import mcp_audit
try:
    mcp_audit.McpAuditInstrumentor().instrument({wrong})
except mcp_audit.SettingsError as error:
    print("refused:", error)
"""
    assert run(code, tmp_path, auto=False).stdout.startswith(
        f"refused: instrument({wrong.split('=', maxsplit=1)[0]}=…): "
    )


def test_a_later_instrument_reconfigures_the_live_audit(tmp_path: Path) -> None:
    code = SERVE.replace(
        "asyncio.run(main())",
        """
asyncio.run(main())
from opentelemetry.instrumentation import mcp_audit
seen = []
mcp_audit.McpAuditInstrumentor().instrument(
    sinks=[mcp_audit.CallableSink(seen.append)], identify=lambda call: mcp_audit.Actor(id="x", provenance="declared"),
    level="metadata",
)
asyncio.run(main())
mcp_audit.McpAuditInstrumentor().uninstrument()
asyncio.run(main())
mcp_audit.McpAuditInstrumentor().instrument()
asyncio.run(main())
print([(entry.record.attributes["audit.actor.id"], entry.record.attributes["mcp_audit.level"], entry.record.body)
       for entry in seen])
""",
    )
    done = run(code, tmp_path)
    assert done.stdout == "3\n3\n3\n3\n[('x', 'metadata', None)]\n", done.stderr
    # Before the kwargs, with them, (uninstrumented: nothing), and anew: three streams, each ended well.
    assert events(tmp_path) == stream("reconfigured") + stream("uninstrumented") + WELL


def test_each_turn_names_the_policy_and_the_settings_from_there_on(tmp_path: Path) -> None:
    code = """
from opentelemetry.instrumentation import mcp_audit
mcp_audit.McpAuditInstrumentor().instrument()
""" + SERVE.replace(
        "asyncio.run(main())",
        """
asyncio.run(main())
mcp_audit.McpAuditInstrumentor().instrument(level="metadata")
asyncio.run(main())
mcp_audit.McpAuditInstrumentor().uninstrument()
mcp_audit.McpAuditInstrumentor().instrument()
asyncio.run(main())
""",
    )
    done = run(code, tmp_path, auto=False)
    assert done.stdout == "3\n3\n3\n", done.stderr
    assert events(tmp_path) == stream("reconfigured") + stream("uninstrumented") + WELL
    streams = [[item["facts"] for item in read(path)] for path in segments(tmp_path)]
    assert [[facts["audit.action"] for facts in found] for found in streams] == [
        ["START", "START", "EXECUTE", turn, "STOP"] for turn in ("UPDATE", "STOP", "STOP")
    ]
    opened, instrumented, _call, turned, _closed = (list(facts) for facts in zip(*streams, strict=True))
    pids = {facts["mcp_audit.process.pid"] for facts in (*opened, *instrumented, *turned)}
    assert len(pids) == 1
    policies = [facts["mcp_audit.policy.hash"] for facts in opened]
    settings = [facts["mcp_audit.settings.hash"] for facts in opened]
    assert [facts["mcp_audit.policy.hash"] for facts in instrumented] == policies
    assert [facts["mcp_audit.settings.hash"] for facts in instrumented] == settings
    assert [len(hashed) for hashed in (*policies, *settings)] == [64] * 6
    # The second has another level; uninstrumenting forgets it.
    assert policies[0] == policies[2] != policies[1] and settings[0] == settings[2] != settings[1]
    # A stream that is ended by a change of settings tells which follow; one that is ended for good, its own.
    assert [facts["mcp_audit.settings.hash"] for facts in turned] == [settings[1], settings[1], settings[2]]
    assert [facts["mcp_audit.policy.hash"] for facts in turned] == policies


def test_a_later_call_says_only_what_it_changes(tmp_path: Path) -> None:
    code = SERVE.replace(
        "asyncio.run(main())",
        f"""
from opentelemetry.instrumentation import mcp_audit
mcp_audit.McpAuditInstrumentor().instrument(directory={str(tmp_path / "elsewhere")!r}, level="metadata")
mcp_audit.McpAuditInstrumentor().instrument(sinks=[mcp_audit.CallableSink(lambda entry: print(entry.record.body))])
asyncio.run(main())
mcp_audit.McpAuditInstrumentor().instrument(enabled=False)
asyncio.run(main())
""",
    )
    done = run(code, tmp_path / "journal", auto=False)
    assert done.stdout == "None\n3\n3\n", done.stderr
    assert events(tmp_path / "elsewhere") == stream("uninstrumented")
    assert not (tmp_path / "journal").exists()


def test_a_call_in_flight_over_a_reconfiguration_is_recorded_and_its_stream_ends(tmp_path: Path) -> None:
    code = SERVE.replace(
        "    return a + b", "    mcp_audit.McpAuditInstrumentor().instrument(level='metadata')\n    return a + b"
    )
    done = run("from opentelemetry.instrumentation import mcp_audit\n" + code, tmp_path)
    assert done.stdout == "3\n", done.stderr
    # The first stream; the late call's; the one that the client's next request opens. Each was ended.
    first, late = ["opened", "instrumented", "reconfigured", "closed"], ["opened", "mcp_audit.tool_call", "closed"]
    assert events(tmp_path) in (
        first + late + ["opened", "instrumented", "stopped", "closed"],
        first + late,
    )


def test_an_sdk_that_cannot_be_hooked_is_loud_and_harmless(tmp_path: Path) -> None:
    package = tmp_path / "old" / "mcp" / "server" / "lowlevel"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parent.parent):
        (folder / "__init__.py").touch()
    (package / "server.py").write_text("class Server:\n    pass\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'old')!r}); import mcp.server.lowlevel.server; print('served')"
    )
    done = run(code, tmp_path / "journal")
    assert (done.returncode, done.stdout) == (0, "served\n")
    assert done.stderr.count("NOT audited") == 1 and "Server._handle_request" in done.stderr

    refused = run(code, tmp_path / "journal", OTEL_MCP_AUDIT_FAIL_CLOSED="true")
    assert (refused.returncode, refused.stdout) == (78, "")


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "journal"
    blocked.write_text("a file where the directory should be")
    done = run(SERVE, blocked)
    assert (done.returncode, done.stdout) == (0, "3\n")
    assert done.stderr.count("AUDIT RECORDS ARE BEING LOST") == 1

    refused = run(SERVE, blocked, OTEL_MCP_AUDIT_FAIL_CLOSED="true")
    assert (refused.returncode, refused.stdout) == (78, "")


def test_declarative_configuration(tmp_path: Path) -> None:
    pytest.importorskip(
        "opentelemetry.configuration", reason="the package opentelemetry-configuration is not installed"
    )
    config = tmp_path / "otel.yaml"
    config.write_text(
        'file_format: "1.1"\ninstrumentation/development:\n  python:\n    mcp_audit:\n      level: metadata\n'
    )
    done = run(SERVE, tmp_path / "journal", OTEL_CONFIG_FILE=str(config))
    assert done.stdout == "3\n", done.stderr
    assert "(level metadata," in done.stderr, done.stderr
    assert events(tmp_path / "journal") == WELL
