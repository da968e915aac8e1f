# SPDX-License-Identifier: Apache-2.0
"""Counted once or not at all: calls in process, servers behind servers, repeated requests, batches, notifications."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

import pytest
import stack
import wire
from serving import serving
from test_matrix import Trail, check, journal_records

from opentelemetry.instrumentation import mcp_audit
from opentelemetry.instrumentation.mcp_audit.testing import capture_audit

pytestmark = pytest.mark.timeout(120)

IN_PROCESS = pytest.mark.skipif(
    stack.FASTMCP and not hasattr(__import__("fastmcp").FastMCP, "call_tool"),
    reason="fastmcp 2 has no public way to call a tool in process",
)


@IN_PROCESS
@pytest.mark.cell("call in process", transport="memory")
async def test_a_call_in_process_is_recorded_as_such() -> None:
    with capture_audit() as audit:
        made = stack.server()
        mcp_audit.bind(user_id="job-7")
        await made.call_tool("add", {"a": 1, "b": 2})
        with pytest.raises(Exception, match="missing|crash"):
            await made.call_tool("crash", {})
        fine, crashed = audit.outcomes()
    check(
        fine.attributes,
        {
            "mcp.method.name": "tools/call",
            "gen_ai.tool.name": "add",
            "mcp_audit.initiator": "process",
            "mcp_audit.outcome.detail": "ok",
            "audit.outcome": "success",
            "mcp_audit.level": "request",
            "audit.actor.id": "job-7",
            "mcp_audit.actor.provenance": "declared",
            "network.transport": None,
            "mcp.session.id": None,
            "jsonrpc.request.id": None,
            "mcp.protocol.version": None,
        },
    )
    assert fine.arguments == {"a": 1, "b": 2}
    check(crashed.attributes, {"gen_ai.tool.name": "crash", "mcp_audit.outcome.detail": "tool_error"})
    check(crashed.attributes, {"mcp_audit.initiator": "process", "error.type": "KeyError"})


@IN_PROCESS
@pytest.mark.cell("no phantom and no duplicate", transport="memory")
async def test_a_call_in_process_inside_a_request_is_that_requests() -> None:
    with capture_audit() as audit:
        made = stack.server()

        async def outer() -> str:
            await made.call_tool("add", {"a": 1, "b": 2})
            return "done"

        made.tool()(outer)
        async with stack.in_memory(made) as caller:
            await caller.tool("outer")
        await made.call_tool("outer", {})
        records = [record.attributes for record in audit.outcomes()]
    told = [(record["gen_ai.tool.name"], record.get("mcp_audit.initiator")) for record in records]
    assert told == [("outer", None), ("outer", "process")]


@pytest.mark.cell("no phantom and no duplicate", transport="stdio")
async def test_a_client_that_asks_twice_is_counted_twice(tmp_path: Path) -> None:
    async with wire.stdio_process(tmp_path) as server:
        await wire.initialize(server)
        for _ in range(2):
            # The same id again, as a client that tries again may send it.
            await server.send(wire.call(1, "add", {"a": 1, "b": 1}))
            await server.answer(1)
        first, second = await Trail(lambda: journal_records(tmp_path)).wait_for(2)
    assert first["jsonrpc.request.id"] == second["jsonrpc.request.id"] == "1"
    assert first["audit.record.id"] != second["audit.record.id"]
    assert first["mcp_audit.call.id"] != second["mcp_audit.call.id"]


@pytest.mark.cell("no phantom and no duplicate", transport="stdio")
async def test_batches_and_notifications_and_noise_are_no_requests(tmp_path: Path) -> None:
    """No supported SDK accepts a JSON-RPC batch: nothing in it is served, and nothing is recorded."""
    batch = [wire.call(1, "add", {"a": 1, "b": 1}), wire.call(2, "add", {"a": 2, "b": 2})]
    async with wire.stdio_process(tmp_path) as server:
        await wire.initialize(server)
        await server.send(
            batch,
            "no json",
            {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"},
            {"jsonrpc": "2.0", "method": "notifications/no_such", "params": {}},
            {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "nobody's"}},
            {"jsonrpc": "2.0", "id": "nobody's", "result": {}},
            wire.call(3, "add", {"a": 3, "b": 3}),
        )
        assert "result" in await server.answer(3)
        (record,) = await Trail(lambda: journal_records(tmp_path)).wait_for(1)
    check(record, {"jsonrpc.request.id": "3", "mcp_audit.outcome.detail": "ok"})


@pytest.mark.skipif(not stack.V2, reason=f"{stack.NAME} does not speak {stack.MODERN}")
@pytest.mark.cell("no phantom and no duplicate", transport="http-modern")
async def test_the_listing_of_modern_http_is_no_request() -> None:
    with wire.capture_every_method() as audit, serving(stack.asgi_app(stack.server())) as url:
        async with stack.over_http(url, {}, modern=True) as caller:
            await caller.tool("add", {"a": 1, "b": 2})
            before = len(audit.outcomes())
            await caller.tool("add", {"a": 1, "b": 2})
        told = [record.attributes["mcp.method.name"] for record in audit.outcomes()]
    # A client lists the tools once, after its first call; the server's own listing, at every call, is nobody's request.
    assert told[before:] == ["tools/call"]
    assert told.count("tools/list") <= 1


@pytest.mark.skipif(not stack.FASTMCP, reason="proxies are fastmcp's")
@pytest.mark.cell("proxied call", transport="memory")
async def test_a_proxy_is_two_requests() -> None:
    from fastmcp import FastMCP

    if hasattr(FastMCP, "as_proxy"):
        proxy = FastMCP.as_proxy(stack.server())
    else:
        from fastmcp.server import create_proxy

        proxy = create_proxy(stack.server())
    with capture_audit() as audit:
        async with stack.in_memory(proxy) as caller:
            await caller.tool("add", {"a": 1, "b": 2})
        records = [record.attributes for record in audit.outcomes()]
    # The one behind ends first. Both are requests on a wire of their own, with ids of their own.
    assert [record["gen_ai.tool.name"] for record in records] == ["add", "add"]
    assert len({record["mcp_audit.call.id"] for record in records}) == 2
    assert {record.get("mcp_audit.initiator") for record in records} == {None}


@pytest.mark.skipif(not stack.FASTMCP, reason="mounts are fastmcp's")
@pytest.mark.cell("mounted call in process", transport="memory")
async def test_a_mounted_call_in_process_is_counted_once() -> None:
    from fastmcp import FastMCP

    if not hasattr(FastMCP, "call_tool"):
        pytest.skip("fastmcp 2 has no public way to call a tool in process")
    parent = FastMCP("parent")
    named = "namespace" if "namespace" in inspect.signature(parent.mount).parameters else "prefix"
    parent.mount(stack.server(), **{named: "child"})
    with capture_audit() as audit:
        await parent.call_tool("child_add", {"a": 1, "b": 2})
        (record,) = audit.outcomes()
    check(record.attributes, {"gen_ai.tool.name": "child_add", "mcp_audit.initiator": "process"})


@pytest.mark.cell("no phantom and no duplicate", transport="memory")
async def test_in_flight_together_each_has_its_own_record() -> None:
    with capture_audit() as audit:
        async with stack.in_memory(stack.server()) as caller:
            calls = (wire.send_raw(caller, f"no/such-{number}", {}) for number in range(5))
            await asyncio.gather(*calls, *(caller.tool("add", {"a": number, "b": 1}) for number in range(5)))
            trail = Trail(lambda: [dict(record.attributes) for record in audit.outcomes()])
            records = await trail.wait_for(10)
    told = sorted((str(record.get("gen_ai.tool.name")), record["mcp_audit.outcome.detail"]) for record in records)
    assert told == [("None", "unknown_method")] * 5 + [("add", "ok")] * 5
