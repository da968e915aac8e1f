# SPDX-License-Identifier: Apache-2.0
"""Published servers, unmodified, under `opentelemetry-instrument`: one outcome record a call, and nothing else changed.

Each server runs bare and then audited on the same workspace, with the same requests. `Wire` fails the run when
anything but JSON-RPC comes out of the server's standard output.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from catalogue import BUSINESS_DAY, CATALOGUE, FILESYSTEM, SIMPLE_TIMESERVER, SQLITE, TIME, Call, Published
from venvs import build_wheel, prepare
from wire import Ending, Message, Wire

from opentelemetry.instrumentation.mcp_audit.record import attributes as names

pytestmark = pytest.mark.timeout(600)  # the first run on a machine installs each server

EVENTS = {
    "tools/call": ("mcp_audit.tool_call", names.GEN_AI_TOOL_NAME),
    "resources/read": ("mcp_audit.resource_read", names.MCP_RESOURCE_URI),
    "prompts/get": ("mcp_audit.prompt_get", names.GEN_AI_PROMPT_NAME),
}
OTHER_EVENT = "mcp_audit.request"


@dataclass(frozen=True, slots=True)
class Conversation:
    """What one run of a server said: the answers in the order of the catalogue's calls, and how it ended."""

    initialized: Message
    tools: Message
    answers: list[Message]
    ending: Ending


@dataclass(frozen=True, slots=True)
class Audited:
    """A server's two runs and the directory with the trail of the second."""

    server: Published
    bare: Conversation
    audited: Conversation
    trail: Path
    records: list[dict[str, Any]]

    def called(self) -> list[tuple[Call, Message]]:
        """Each call with the answer it got under audit."""
        return list(zip(self.server.calls, self.audited.answers, strict=True))


def filled(value: Any, workspace: Path) -> Any:
    """`value` with every `{workspace}` in its strings replaced."""
    if isinstance(value, str):
        return value.replace("{workspace}", str(workspace))
    if isinstance(value, dict):
        return {key: filled(item, workspace) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [filled(item, workspace) for item in value]
    return value


def converse(server: Published, argv: list[str], env: dict[str, str], home: Path) -> Conversation:
    """Run the server on a fresh workspace (always at the same path), make the catalogue's calls, and end it."""
    workspace = home / "workspace"
    shutil.rmtree(workspace, ignore_errors=True)
    for name, text in server.files.items():
        file = workspace / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    workspace.mkdir(exist_ok=True)
    with Wire(argv, env | filled(server.env, workspace), home) as wire:
        initialized = wire.initialize()
        tools = wire.request("tools/list", {})
        answers = [wire.request(call.method, filled(call.params, workspace)) for call in server.calls]
    assert wire.ending is not None
    return Conversation(initialized, tools, answers, wire.ending)


def installed(server: Published, wheel: Path, home: Path) -> tuple[Path, dict[str, str]]:
    """The `bin` directory of the server's environment, and the variables that it runs with; skips on an old Python."""
    if sys.version_info < server.python:
        pytest.skip(f"{server.name} needs Python {'.'.join(map(str, server.python))} or later")
    bin_ = prepare(server.name, server.requirements, wheel)
    return bin_, {
        "PATH": f"{bin_}:{os.environ['PATH']}",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",  # one server describes its tool by printing a set
    }


def verify(trail: Path) -> subprocess.CompletedProcess[str]:
    """Run the command of the environment of the tests on a trail."""
    command = str(Path(sys.executable).parent / "otel-mcp-audit")
    return subprocess.run([command, "verify", str(trail)], capture_output=True, text=True, timeout=60, check=False)


def outcomes(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records that say how a request ended."""
    return [record for record in records if names.OUTCOME_DETAIL in record["attributes"]]


def plain(value: dict[str, Any]) -> Any:
    """An OTLP attribute value as a Python value; raises for a type that the format does not have."""
    ((kind, content),) = value.items()
    if kind == "intValue":
        return int(content)
    if kind == "arrayValue":
        return [plain(item) for item in content.get("values", [])]
    assert kind in ("stringValue", "boolValue"), value
    return content


def read_trail(directory: Path) -> list[dict[str, Any]]:
    """Every record under `directory`, its attributes as a dict of plain values."""
    records = []
    for file in sorted(directory.rglob("*.jsonl")):
        for line in file.read_bytes().splitlines():
            (resource,) = json.loads(line)["resourceLogs"]
            (scope,) = resource["scopeLogs"]
            (record,) = scope["logRecords"]
            pairs = [(pair["key"], plain(pair["value"])) for pair in record["attributes"]]
            assert len(dict(pairs)) == len(pairs), f"an attribute twice: {line!r}"
            records.append({**record, "attributes": dict(pairs)})
    return records


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This checkout as it would be published."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(
    scope="module",
    params=[pytest.param(server, id=server.name, marks=pytest.mark.xdist_group(server.name)) for server in CATALOGUE],
)
def run(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    """A published server run bare and audited."""
    server: Published = request.param
    home = tmp_path_factory.mktemp(server.name)
    bin_, env = installed(server, wheel, home)
    trail = home / "trail"
    audit = {
        "OTEL_MCP_AUDIT_DIR": str(trail),
        "OTEL_SERVICE_NAME": server.name,
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
    }
    command, *rest = filled(server.argv, home / "workspace")
    argv = [str(bin_ / command), *rest]
    bare = converse(server, argv, env, home)
    audited = converse(server, [str(bin_ / "opentelemetry-instrument"), *argv], env | audit, home)
    if bare.answers != audited.answers:
        # Some answers hold today's date: only a difference that a second bare run does not show either is ours.
        bare = converse(server, argv, env, home)
    yield Audited(server, bare, audited, trail, read_trail(trail))


def test_the_catalogue_is_as_the_server_answers(run: Audited) -> None:
    for call, answer in run.called():
        if isinstance(call.answer, int):
            assert answer["error"]["code"] == call.answer, (call, answer)
        else:
            assert bool(answer["result"].get("isError", False)) is (call.answer == "is_error"), (call, answer)


def test_nothing_that_the_client_sees_changed(run: Audited) -> None:
    assert run.audited.initialized == run.bare.initialized
    assert run.audited.tools == run.bare.tools
    assert run.audited.answers == run.bare.answers


def test_the_server_ends_as_it_would(run: Audited) -> None:
    assert (run.audited.ending.returncode, run.audited.ending.killed) == (
        run.bare.ending.returncode,
        run.bare.ending.killed,
    ), run.audited.ending.stderr
    assert run.audited.ending.stderr.count("Traceback") == run.bare.ending.stderr.count("Traceback")
    # The one line that says where the trail goes, and no complaint.
    assert f"otel-mcp-audit: auditing MCP calls to {run.trail}" in run.audited.ending.stderr
    assert run.audited.ending.stderr.count("otel-mcp-audit:") == 1, run.audited.ending.stderr


def test_exactly_one_outcome_record_a_call_and_no_other(run: Audited) -> None:
    recorded = [record["attributes"].get(names.JSONRPC_REQUEST_ID) for record in outcomes(run.records)]
    assert recorded == [str(answer["id"]) for answer in run.audited.answers]
    others = [record for record in run.records if names.OUTCOME_DETAIL not in record["attributes"]]
    assert {record["eventName"] for record in others} <= {names.EVENT_LIFECYCLE}
    assert len({record["attributes"][names.AUDIT_RECORD_ID] for record in run.records}) == len(run.records)


def test_every_record_says_what_was_asked_and_how_it_ended(run: Audited) -> None:
    by_id = {record["attributes"][names.JSONRPC_REQUEST_ID]: record for record in outcomes(run.records)}
    workspace = run.trail.parent / "workspace"
    for call, answer in run.called():
        record = by_id[str(answer["id"])]
        found = record["attributes"]
        event, target_key = EVENTS.get(call.method, (OTHER_EVENT, None))
        assert record["eventName"] == event, call
        assert found[names.MCP_METHOD_NAME] == call.method
        assert found[names.OUTCOME_DETAIL] == call.detail, (call, answer, found)
        assert found[names.AUDIT_OUTCOME] == ("success" if call.detail == "ok" else "failure")
        if target_key is not None:
            assert found[target_key] == filled(call.target, workspace)


def test_every_record_says_who_and_over_what(run: Audited) -> None:
    for record in outcomes(run.records):
        found = record["attributes"]
        assert found[names.ACTOR_PROVENANCE] == "os"
        assert found[names.AUDIT_ACTOR_ID] not in ("", "anonymous")
        assert found[names.NETWORK_TRANSPORT] == "pipe"
        assert (found[names.CLIENT_NAME], found[names.CLIENT_VERSION]) == ("wire", "1.0")
        missing = {
            name for name, row in names.TABLE.items() if row.need in ("always", "outcomes") and name not in found
        }
        assert missing == set()


def test_the_trail_verifies(run: Audited) -> None:
    done = verify(run.trail)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(server, id=server.name, marks=pytest.mark.xdist_group(server.name))
        for server in (TIME, SQLITE, BUSINESS_DAY, SIMPLE_TIMESERVER, FILESYSTEM)
    ],
)
def test_the_fail_closed_launcher_records_the_same(server: Published, wheel: Path, tmp_path: Path) -> None:
    """`otel-mcp-audit run -- SERVER`, once a kind of SDK, with no exporter named and none needed."""
    bin_, env = installed(server, wheel, tmp_path)
    command, *rest = filled(server.argv, tmp_path / "workspace")
    argv = [str(bin_ / "otel-mcp-audit"), "run", "--", str(bin_ / command), *rest]
    trail = tmp_path / "trail"
    said = converse(server, argv, env | {"OTEL_MCP_AUDIT_DIR": str(trail)}, tmp_path)
    assert (said.ending.returncode, said.ending.killed) == (0, False), said.ending.stderr
    found = [record["attributes"] for record in outcomes(read_trail(trail))]
    assert [(one[names.JSONRPC_REQUEST_ID], one[names.OUTCOME_DETAIL]) for one in found] == [
        (str(answer["id"]), call.detail) for call, answer in zip(server.calls, said.answers, strict=True)
    ]
    done = verify(trail)
    assert done.returncode == 0, done.stdout + done.stderr
