# SPDX-License-Identifier: Apache-2.0
"""Whatever happens to a request beside its handler: refused before it, cut off in it, or its answer lost after it."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import asking
import pytest
import stack
import unsayable
import wire
from serving import serving
from test_matrix import Trail, check, connected, journal_records, skip_unspoken

from opentelemetry.instrumentation.mcp_audit.testing import capture_audit

pytestmark = pytest.mark.timeout(120)
# Tools of asking.py, and what each asks the client.
ASKED = {"ask_user": "elicitation/create", "ask_model": "sampling/createMessage"}


@pytest.mark.cell("request before initialize", transport="stdio")
async def test_a_request_before_initialize(tmp_path: Path) -> None:
    async with wire.stdio_process(tmp_path) as server:
        await server.send(wire.call(1, "add", {"a": 1, "b": 2}))
        assert (await server.answer(1))["error"]["code"] == -32602
        (early,) = await Trail(lambda: journal_records(tmp_path)).wait_for(1)
        await wire.initialize(server)
        await server.send(wire.call(2, "add", {"a": 1, "b": 2}))
        assert "result" in await server.answer(2)
        _, served = await Trail(lambda: journal_records(tmp_path)).wait_for(2)
    check(early, {"gen_ai.tool.name": "add", "mcp_audit.outcome.detail": "invalid_params", "error.type": "-32602"})
    check(
        early, {"network.transport": "pipe", "jsonrpc.request.id": "1", "mcp_audit.call.id": early["audit.record.id"]}
    )
    check(served, {"gen_ai.tool.name": "add", "mcp_audit.outcome.detail": "ok", "mcp_audit.client.name": "raw"})


@pytest.mark.cell("request before initialize", transport="http-sse")
async def test_a_request_before_initialize_over_sse() -> None:
    with capture_audit() as audit, serving(stack.sse_app(stack.server())) as url:
        trail = Trail(lambda: [dict(record.attributes) for record in audit.outcomes()])
        async with wire.sse_session(url.replace("/mcp", "/sse")) as session:
            await session.send(wire.call(1, "add", {"a": 1, "b": 2}))
            assert (await session.answer(1))["error"]["code"] == -32602
            (early,) = await trail.wait_for(1)
            await wire.initialize(session)
            await session.send(wire.call(2, "add", {"a": 1, "b": 2}))
            assert "result" in await session.answer(2)
            _, served = await trail.wait_for(2)
    check(early, {"gen_ai.tool.name": "add", "mcp_audit.outcome.detail": "invalid_params", "error.type": "-32602"})
    check(early, {"network.transport": "tcp", "client.address": "127.0.0.1", "jsonrpc.request.id": "1"})
    check(served, {"gen_ai.tool.name": "add", "mcp_audit.outcome.detail": "ok", "mcp_audit.client.name": "raw"})


async def test_initialize_is_recorded_where_a_rule_asks_for_it() -> None:
    with capture_audit() as audit:
        async with stack.in_memory(stack.server()) as caller:
            await caller.tool("rows")
        assert [record.attributes["mcp.method.name"] for record in audit.outcomes()] == ["tools/call"]
    with wire.capture_every_method() as audit:
        async with stack.in_memory(stack.server()) as caller:
            await caller.tool("rows")
        records = [record.attributes for record in audit.outcomes()]
    told = [(record["mcp.method.name"], record["mcp_audit.outcome.detail"]) for record in records]
    assert told[0] == ("initialize", "ok")
    # Clients list the tools after a first call, to know its schema.
    assert told.count(("initialize", "ok")) == 1 and told.count(("tools/call", "ok")) == 1
    check(records[0], {"audit.action": "READ", "audit.outcome": "success", "mcp_audit.level": "metadata"})


@pytest.mark.skipif(not stack.V2, reason="mcp 1.x has one protocol era")
@pytest.mark.cell("request of another protocol era", transport="stdio")
@pytest.mark.cell("request of another protocol era", transport="stdio-modern")
async def test_requests_of_the_other_era(tmp_path: Path) -> None:
    enveloped = wire.modern_call(2, "add", {"a": 1, "b": 2})
    async with wire.stdio_process(tmp_path / "legacy") as server:
        await wire.initialize(server)
        await server.send(enveloped)
        assert (await server.answer(2))["error"]["code"] == -32600
    (refused,) = await Trail(lambda: journal_records(tmp_path / "legacy")).wait_for(1)
    check(
        refused,
        {
            "mcp.method.name": "tools/call",
            "gen_ai.tool.name": "add",
            "mcp_audit.outcome.detail": "protocol_error",
            "error.type": "-32600",
            "rpc.response.status_code": "-32600",
            "jsonrpc.request.id": "2",
            "network.transport": "pipe",
        },
    )
    async with wire.stdio_process(tmp_path / "modern") as server:
        await server.send(enveloped)
        await server.answer(2)
        await server.send(wire.call(3, "add", {"a": 1, "b": 2}))
        assert "error" in await server.answer(3)
        await server.send(wire.INITIALIZE)
        assert "error" in await server.answer("init")
    served, missing = await Trail(lambda: journal_records(tmp_path / "modern")).wait_for(2)
    check(served, {"jsonrpc.request.id": "2", "mcp_audit.outcome.detail": "ok"})
    # `initialize` is housekeeping, in whichever era: no rule asks for it.
    check(missing, {"jsonrpc.request.id": "3", "mcp_audit.outcome.detail": "invalid_params", "error.type": "-32602"})


@pytest.mark.cell("end of input with calls in flight", transport="stdio")
async def test_the_end_of_input_with_calls_in_flight(tmp_path: Path) -> None:
    if not stack.CANCELS_AT_THE_END:
        pytest.skip("the stack lets calls finish when its client is gone: such a call succeeds, for nobody")
    async with wire.stdio_process(tmp_path) as server:
        await wire.initialize(server)
        await server.send(wire.call(1, "wait"), wire.call(2, "add", {"a": 1, "b": 1}))
        await server.answer(2)
        assert server.process.stdin is not None
        server.process.stdin.close()
        await asyncio.wait_for(server.process.wait(), 20)
    records = {record["gen_ai.tool.name"]: record for record in journal_records(tmp_path)}
    assert set(records) == {"wait", "add"}
    check(
        records["wait"],
        {"mcp_audit.outcome.detail": "client_gone", "audit.outcome": "unknown", "error.type": None},
    )


@pytest.mark.cell("client timeout", transport="memory")
async def test_a_client_that_stops_waiting() -> None:
    """1.x clients tell nobody: the call goes on until the connection ends; 2.x clients cancel what they gave up."""
    with capture_audit() as audit:
        async with stack.in_memory(stack.server()) as caller:
            if stack.V2:
                gave_up = caller.session.call_tool("wait", {}, read_timeout_seconds=0.05)
            else:
                from datetime import timedelta

                gave_up = caller.session.call_tool("wait", {}, read_timeout_seconds=timedelta(seconds=0.05))
            (error,) = await asyncio.gather(gave_up, return_exceptions=True)
            assert isinstance(error, Exception)
            await caller.tool("add", {"a": 1, "b": 1})
            trail = Trail(lambda: [dict(record.attributes) for record in audit.outcomes()])
            records = await trail.wait_for(2 if stack.V2 else 1)
    waited = [record for record in records if record["gen_ai.tool.name"] == "wait"]
    assert [record["mcp_audit.outcome.detail"] for record in waited] == (["cancelled"] if stack.V2 else [])
    ended = [record.attributes for record in audit.tool_calls("wait")]
    assert len(ended) == 1
    assert ended[0]["mcp_audit.outcome.detail"] == ("cancelled" if stack.V2 else "client_gone")


def all_records(directory: Path) -> list[dict[str, Any]]:
    """Event name and attributes of every record with a call id, in the order of the journal."""
    found = []
    for path in sorted(directory.rglob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            record = json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
            attributes = {item["key"]: next(iter(item["value"].values())) for item in record["attributes"]}
            if "mcp_audit.call.id" in attributes:
                found.append({"event": record["eventName"], **attributes})
    return found


@pytest.mark.parametrize("transport", ["stdio", "stdio-modern"])
@pytest.mark.cell("undeliverable or unserialisable response")
async def test_an_answer_that_is_no_text_is_undelivered(transport: str, tmp_path: Path) -> None:
    skip_unspoken(transport)
    call = wire.modern_call if transport == "stdio-modern" else wire.call
    async with wire.stdio_process(tmp_path / "audit", Path(str(unsayable.__file__))) as server:
        if transport == "stdio":
            await wire.initialize(server)
        await server.send(call(1, "add", {"a": 1, "b": 1}))
        await server.answer(1)
        await server.send(call(2, "unsayable"))
        await Trail(lambda: journal_records(tmp_path / "audit")).wait_for(2)
        # The SDK's writer is broken now, and says so once its reader has come to an end too.
        assert server.process.stdin is not None and server.process.stdout is not None
        server.process.stdin.close()
        assert await asyncio.wait_for(server.process.stdout.read(), 20) == b""
        await asyncio.wait_for(server.process.wait(), 20)
    served, outcome, lost = all_records(tmp_path / "audit")
    check(served, {"event": "mcp_audit.tool_call", "gen_ai.tool.name": "add", "mcp_audit.outcome.detail": "ok"})
    check(outcome, {"event": "mcp_audit.tool_call", "gen_ai.tool.name": "unsayable", "mcp_audit.outcome.detail": "ok"})
    check(
        lost,
        {
            "event": "mcp_audit.undelivered",
            "gen_ai.tool.name": "unsayable",
            "mcp.method.name": "tools/call",
            "mcp_audit.call.id": outcome["mcp_audit.call.id"],
            "jsonrpc.request.id": "2",
            "audit.outcome": "failure",
            "error.type": "PydanticSerializationError",
            "network.transport": "pipe",
            "mcp_audit.outcome.detail": None,
        },
    )
    assert lost["audit.record.id"] != outcome["audit.record.id"]


@pytest.mark.parametrize("transport", ["http-sse", "http-stateful", "http-stateless"])
@pytest.mark.cell("undeliverable or unserialisable response")
async def test_an_answer_over_http_that_is_no_text_is_undelivered(transport: str) -> None:
    made = unsayable.server()
    app = (
        stack.sse_app(made)
        if transport == "http-sse"
        else stack.asgi_app(made, stateless=transport == "http-stateless")
    )
    with capture_audit() as audit, serving(app) as url:
        way = stack.over_sse(url.replace("/mcp", "/sse"), {}) if transport == "http-sse" else stack.over_http(url, {})
        async with way as caller:
            # Some clients hear that there is no answer, others wait for it.
            call = asyncio.ensure_future(caller.tool("unsayable"))
            lost = Trail(
                lambda: [dict(one.attributes) for one in audit.records if one.event == "mcp_audit.undelivered"]
            )
            (undelivered,) = await lost.wait_for(1)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
    (outcome,) = [record.attributes for record in audit.tool_calls("unsayable")]
    check(outcome, {"mcp_audit.outcome.detail": "ok"})
    check(
        undelivered,
        {
            "gen_ai.tool.name": "unsayable",
            "mcp_audit.call.id": outcome["mcp_audit.call.id"],
            "audit.outcome": "failure",
            "error.type": "PydanticSerializationError",
            "network.transport": "tcp",
        },
    )


@pytest.mark.parametrize("transport", ["memory", "stdio", "http-sse", "http-stateful"])
@pytest.mark.cell("server-initiated elicitation or sampling")
async def test_what_the_server_asks(transport: str, tmp_path: Path) -> None:
    async with connected(transport, tmp_path, asking, **asking.ANSWERS) as (caller, trail):
        for number, (tool, method) in enumerate(ASKED.items()):
            await caller.tool(tool)
            *_, asked, call = await trail.wait_for(2 * number + 2)
            check(
                asked,
                {
                    "mcp.method.name": method,
                    "audit.action": "EXECUTE",
                    "audit.target.id": method,
                    "mcp_audit.initiator": "server",
                    "audit.outcome": "success",
                    "mcp_audit.outcome.detail": "ok",
                    "mcp_audit.level": "metadata",
                    "mcp_audit.call.id": call["audit.record.id"],
                },
            )
            check(call, {"gen_ai.tool.name": tool, "mcp_audit.initiator": None, "mcp_audit.outcome.detail": "ok"})
            assert asked["audit.record.id"] != call["audit.record.id"]


async def test_the_content_of_what_the_server_asks() -> None:
    """Kept where a rule names the method, whatever the rule of the call says."""
    for level in ("request", "request_response"):
        with capture_audit(level=level) as audit:
            async with stack.in_memory(asking.server(), **asking.ANSWERS) as caller:
                await caller.tool("ask_user")
            asked, _ = audit.outcomes()
        assert (asked.body, asked.event) == (None, "mcp_audit.request")
    with wire.capture_every_method("request_response") as audit:
        async with stack.in_memory(asking.server(), **asking.ANSWERS) as caller:
            await caller.tool("ask_user")
        (asked,) = [each for each in audit.outcomes() if each.attributes["mcp.method.name"] == "elicitation/create"]
    assert asked.arguments["message"] == "How old?"
    assert asked.result == {"action": "accept", "content": {"age": 7}}


@pytest.mark.skipif(stack.NAME != "mcp 2.x", reason="rounds are asked for by MCPServer on mcp 2.x")
@pytest.mark.parametrize("transport", ["memory-modern", "stdio-modern", "http-modern"])
@pytest.mark.cell("input_required round")
async def test_rounds_are_one_logical_call(transport: str, tmp_path: Path) -> None:
    async with connected(transport, tmp_path, asking, **asking.ANSWERS) as (caller, trail):
        await caller.client.call_tool("ask_in_rounds", {})
        first, second = await trail.wait_for(2)
    check(first, {"mcp_audit.outcome.detail": "input_required", "audit.outcome": "unknown"})
    check(second, {"mcp_audit.outcome.detail": "ok", "audit.outcome": "success"})
    assert first["mcp_audit.call.id"] == second["mcp_audit.call.id"] == first["audit.record.id"]
    assert first["mcp_audit.state.issued"] == second["mcp_audit.state.given"]
    assert str(first["mcp_audit.state.issued"]).startswith("hmac-sha256:")
    assert second["audit.record.id"] != first["audit.record.id"]


async def stubborn() -> str:
    """Go on although cancelled."""
    stack.PAUSING.set()
    with anyio.CancelScope(shield=True):
        await anyio.sleep(0.1)
    return "done"


async def test_a_tool_that_does_not_heed_its_cancel() -> None:
    """Its client was told of the cancel, so nothing is undelivered."""
    made = stack.server()
    made.tool()(stubborn)
    stack.PAUSING.clear()
    with capture_audit() as audit:
        # On 1.x the second answer ends the session, audited or not.
        with suppress(Exception):
            async with stack.in_memory(made) as caller:
                await caller.given_up("stubborn", {}, 0, stack.PAUSING.is_set)
        await Trail(lambda: [dict(one.attributes) for one in audit.outcomes()]).wait_for(1)
        told = [(one.event, one.attributes.get("mcp_audit.outcome.detail")) for one in audit.records]
    assert [each for each in told if each[0] != "mcp_audit.lifecycle"] == [("mcp_audit.tool_call", "cancelled")]
