# SPDX-License-Identifier: Apache-2.0
"""The explicit middlewares: alone they leave the record that the hooks would, beside the hooks still one."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stack
from serving import serving

from opentelemetry.instrumentation import mcp_audit
from opentelemetry.instrumentation.mcp_audit.instrumentor import INSTRUMENTATION
from opentelemetry.instrumentation.mcp_audit.settings import SettingsError
from opentelemetry.instrumentation.mcp_audit.testing import AuditCapture, capture_audit

if not (stack.V2 or stack.FASTMCP):
    pytest.skip("mcp 1.x has no middleware", allow_module_level=True)

pytestmark = pytest.mark.timeout(60)
# Of fastmcp the middleware sees what the tool raised; the SDK's own sees an answer.
SEES_REASONS = stack.FASTMCP
SEES_DISPATCH = stack.V2


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    INSTRUMENTATION.uninstall()


def audited_server(*, auth: bool = False) -> Any:
    """The server of the matrix with our middleware in its list."""
    made = stack.server(auth=auth)
    if stack.FASTMCP:
        made.middleware.insert(0, mcp_audit.FastMCPAuditMiddleware())
    else:
        made.middleware.append(mcp_audit.AuditMiddleware())
    return made


async def ask(caller: stack.Caller, audit: AuditCapture) -> None:
    """One call of each kind."""
    await caller.tool("add", {"a": 1, "b": 2})
    await caller.tool("rows")
    await caller.tool("crash")
    await caller.tool("refuse")
    await caller.tool("nowhere")
    await caller.tool("add", {"a": "x"})
    await caller.tool("bind_inside")
    await caller.resource("data://text")
    await caller.prompt("greet", {"name": "Ada"})
    if stack.V2:
        await caller.unknown_method()


def told(audit: AuditCapture, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(record.attributes.get(name) for name in names) for record in audit.outcomes()]


def expected_details() -> list[tuple[str, str | None, str]]:
    unseen = "tool_error"
    found = [
        ("tools/call", "add", "ok"),
        ("tools/call", "rows", "ok"),
        ("tools/call", "crash", "tool_error"),
        ("tools/call", "refuse", "tool_error"),
        ("tools/call", "nowhere", "unknown_tool" if SEES_REASONS else unseen),
        ("tools/call", "add", "invalid_arguments" if SEES_REASONS else unseen),
        ("tools/call", "bind_inside", "ok"),
        ("resources/read", "data://text", "ok"),
        ("prompts/get", "greet", "ok"),
    ]
    return [*found, ("no/such", "no/such", "unknown_method")] if SEES_DISPATCH else found


@pytest.mark.parametrize("transport", ["memory", "memory-modern"])
@pytest.mark.cell("middleware without hooks")
async def test_alone_each_request_has_one_record(transport: str) -> None:
    modern = transport == "memory-modern"
    if modern and not stack.V2:
        pytest.skip(f"{stack.NAME} does not speak {stack.MODERN}")
    server = audited_server()
    with capture_audit(hooks=False, level="request_response") as audit:
        async with stack.in_memory(server, modern=modern) as caller:
            await ask(caller, audit)
    assert told(audit, "mcp.method.name", "audit.target.id", "mcp_audit.outcome.detail") == expected_details()
    first, rows = audit.outcomes()[:2]
    assert first.arguments == {"a": 1, "b": 2}
    assert first.result["content"][0]["text"] == "3"
    assert rows.attributes["mcp_audit.result.count"] == 3
    annotated = audit.outcomes()[6].attributes
    assert annotated["mcp_audit.purpose"] == "treatment"
    assert annotated["mcp_audit.resources"] == ["patient/1"]
    assert first.attributes["jsonrpc.request.id"]
    client = ("mcp_audit.client.name", "mcp.protocol.version")
    assert all(value for value in told(audit, *client)[0])
    assert [state.state for state in INSTRUMENTATION.hook_states()] == []


async def test_alone_and_hooked_the_records_agree() -> None:
    """But for what only the hooks see: the reasons of mcp 2.x, codes, result shapes, transport."""
    records = []
    for hooks in (False, True):
        server = audited_server() if not hooks else stack.server()
        with capture_audit(hooks=hooks) as audit:
            async with stack.in_memory(server) as caller:
                await ask(caller, audit)
        records.append(
            told(
                audit,
                *("mcp.method.name", "audit.action", "audit.target.id", "audit.outcome", "audit.actor.id"),
                *("mcp_audit.client.name", "mcp_audit.client.version", "mcp.protocol.version", "jsonrpc.request.id"),
                *("mcp_audit.request.bytes", "mcp_audit.request.digest", "mcp_audit.purpose"),
                *(("mcp_audit.outcome.detail", "error.type") if SEES_REASONS else ()),
            )
        )
        INSTRUMENTATION.uninstall()
    assert records[0] == records[1][: len(records[0])]


@pytest.mark.parametrize("first", ["hooks", "middleware"])
@pytest.mark.cell("middleware beside hooks", transport="memory")
async def test_beside_the_hooks_there_is_one_record(first: str) -> None:
    made = [audited_server()] if first == "middleware" else []
    mcp_audit.McpAuditInstrumentor().instrument()
    try:
        server = made[0] if made else audited_server()
        with capture_audit() as audit:
            async with stack.in_memory(server) as caller:
                await ask(caller, audit)
    finally:
        mcp_audit.McpAuditInstrumentor().uninstrument()
    names = [name for _, name in told(audit, "mcp.method.name", "audit.target.id")]
    assert names[:9] == [
        "add",
        "rows",
        "crash",
        "refuse",
        "nowhere",
        "add",
        "bind_inside",
        "data://text",
        "greet",
    ]
    assert len(names) == 9 + stack.V2
    # The hooks' record, with their reasons.
    assert told(audit, "mcp_audit.outcome.detail")[4:6] == [("unknown_tool",), ("invalid_arguments",)]


@pytest.mark.cell("middleware without hooks", transport="memory")
async def test_twice_in_the_list_is_once_in_the_trail() -> None:
    server = audited_server()
    if stack.FASTMCP:
        server.add_middleware(mcp_audit.FastMCPAuditMiddleware())
    else:
        server.middleware.append(mcp_audit.AuditMiddleware())
    with capture_audit(hooks=False) as audit:
        async with stack.in_memory(server) as caller:
            await caller.tool("add", {"a": 1, "b": 2})
    assert told(audit, "audit.target.id") == [("add",)]


async def test_a_server_called_from_a_tool_of_another_has_its_own_record() -> None:
    inner, outer = audited_server(), audited_server()

    async def relay() -> str:
        async with stack.in_memory(inner) as caller:
            await caller.tool("rows")
        return "relayed"

    outer.tool()(relay)
    with capture_audit(hooks=False) as audit:
        async with stack.in_memory(outer) as caller:
            await caller.tool("relay")
    assert told(audit, "audit.target.id", "mcp_audit.outcome.detail") == [("rows", "ok"), ("relay", "ok")]


@pytest.mark.skipif(not stack.FASTMCP, reason="in-process calls pass only fastmcp's middleware")
async def test_calls_in_process_are_recorded_once() -> None:
    server = audited_server()
    if not hasattr(server, "call_tool"):
        pytest.skip("fastmcp 2 has no call_tool()")

    async def outer() -> str:
        await server.call_tool("rows", {})
        return "outer"

    server.tool()(outer)
    with capture_audit(hooks=False) as audit:
        await server.call_tool("add", {"a": 1, "b": 2})
        async with stack.in_memory(server) as caller:
            await caller.tool("outer")
    assert told(audit, "audit.target.id", "jsonrpc.request.id") == [
        ("add", None),
        ("outer", told(audit, "jsonrpc.request.id")[1][0]),
    ]


@pytest.mark.skipif(not stack.FASTMCP, reason="only fastmcp mounts servers")
async def test_a_mounted_server_counts_once() -> None:
    import inspect

    child, parent = audited_server(), audited_server()
    names = inspect.signature(parent.mount).parameters
    parent.mount(child, **{"prefix" if "prefix" in names else "namespace": "child"})
    with capture_audit(hooks=False) as audit:
        async with stack.in_memory(parent) as caller:
            await caller.tool("child_add", {"a": 1, "b": 2})
    assert told(audit, "audit.target.id") == [("child_add",)]


async def test_a_cancelled_call_has_its_record() -> None:
    server = audited_server()
    running = asyncio.Event()

    async def wait_here() -> str:
        running.set()
        await asyncio.sleep(30)
        return "late"

    server.tool(name="wait")(wait_here) if stack.FASTMCP else server.add_tool(wait_here, name="waiting")
    name = "wait" if stack.FASTMCP else "waiting"

    async def in_flight() -> None:
        await asyncio.wait_for(running.wait(), 10)

    with capture_audit(hooks=False) as audit:
        async with stack.in_memory(server) as caller:
            if name == "waiting":
                call = asyncio.ensure_future(caller.tool("waiting"))
                await in_flight()
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)
            else:
                await caller.cancelled_tool(in_flight)
            for _ in range(200):
                if audit.outcomes():
                    break
                await asyncio.sleep(0.02)
    assert told(audit, "audit.target.id", "mcp_audit.outcome.detail") == [(name, "cancelled")]


@pytest.mark.parametrize("transport", ["http-stateful", "http-stateless"])
@pytest.mark.cell("middleware without hooks")
async def test_over_http_the_actor_is_the_token_s(transport: str) -> None:
    stateless = transport == "http-stateless"
    server = audited_server(auth=True)
    with capture_audit(hooks=False) as audit:
        with serving(stack.asgi_app(server, stateless=stateless)) as url:
            for token in ("alice-token", "bob-token"):
                async with stack.over_http(url, {"authorization": f"Bearer {token}"}) as caller:
                    await caller.tool("add", {"a": 1, "b": 2})
    names = ("audit.actor.id", "mcp_audit.actor.provenance", "network.transport", "client.address")
    assert told(audit, *names) == [
        ("alice", "verified", "tcp", "127.0.0.1"),
        ("bob", "verified", "tcp", "127.0.0.1"),
    ]
    assert all(bool(record.attributes.get("mcp.session.id")) != stateless for record in audit.outcomes())


async def test_a_wrong_option_is_an_error_where_it_is_made() -> None:
    kind = mcp_audit.FastMCPAuditMiddleware if stack.FASTMCP else mcp_audit.AuditMiddleware
    with pytest.raises(SettingsError, match="levle"):
        kind(levle="request")


SERVER = """
import sys
sys.path.insert(0, {here!r})
import stack
from opentelemetry.instrumentation import mcp_audit
made = stack.server()
if stack.FASTMCP:
    made.middleware.insert(0, mcp_audit.FastMCPAuditMiddleware())
    made.run(transport="stdio", show_banner=False)
else:
    made.middleware.append(mcp_audit.AuditMiddleware())
    made.run(transport="stdio")
"""


HANDSHAKE = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


@pytest.mark.cell("middleware without hooks", transport="stdio")
def test_a_process_with_the_middleware_alone_ends_its_journal_well(tmp_path: Path) -> None:
    """By hand: the SDKs' clients end a server by a signal when it takes longer than two seconds to end."""
    directory = tmp_path / "audit"
    program = SERVER.format(here=str(Path(__file__).parent))
    env = {**os.environ, "OTEL_MCP_AUDIT_DIR": str(directory)}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as server:
        assert server.stdin is not None and server.stdout is not None
        for number, (method, params) in enumerate(
            [("initialize", HANDSHAKE), ("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}})]
        ):
            print(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}), file=server.stdin)
            assert "result" in json.loads(server.stdout.readline())
            if method == "initialize":
                print('{"jsonrpc": "2.0", "method": "notifications/initialized"}', file=server.stdin)
        server.stdin.close()
        assert server.wait(30) == 0
    records = [
        json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
        for path in directory.glob("*.jsonl")
        if path.name != "ledger.jsonl"
        for line in path.read_bytes().splitlines()
    ]
    assert [record["eventName"] for record in records] == [
        "mcp_audit.lifecycle",
        "mcp_audit.lifecycle",
        "mcp_audit.tool_call",
        "mcp_audit.lifecycle",
        "mcp_audit.lifecycle",
    ]
    ends = [item for record in records for item in record["attributes"] if item["key"] == "audit.sequence.end"]
    assert len(ends) == 1
    verify = [sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli", "verify", "--strict", str(directory)]
    done = subprocess.run(verify, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
