# SPDX-License-Identifier: Apache-2.0
"""The caller's view: opt-in, records of their own kind beside the server's, in the same trace."""

from __future__ import annotations

import asyncio
import getpass
import json
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
import stack
from opentelemetry.sdk.trace import TracerProvider
from serving import serving

from opentelemetry import trace
from opentelemetry.instrumentation import mcp_audit
from opentelemetry.instrumentation.mcp_audit.instrumentor import INSTRUMENTATION
from opentelemetry.instrumentation.mcp_audit.testing import AuditCapture, Captured, capture_audit

pytestmark = pytest.mark.timeout(60)


def views(audit: AuditCapture) -> tuple[list[Captured], list[Captured]]:
    """The server's records and the client's."""
    mine = [record for record in audit.outcomes() if record.event.startswith("mcp_audit.client_")]
    return [record for record in audit.outcomes() if record not in mine], mine


def told(records: list[Captured], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(record.attributes.get(name) for name in names) for record in records]


def ids(record: Captured) -> tuple[str, str]:
    line = json.loads(record.line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
    return line.get("traceId", ""), line.get("spanId", "")


async def ask(caller: stack.Caller) -> None:
    await caller.tool("add", {"a": 1, "b": 2})
    await caller.tool("crash")
    await caller.resource("data://text")
    await caller.prompt("greet", {"name": "Ada"})
    await caller.resource("data://none")


async def test_off_by_default_nothing_is_wrapped() -> None:
    from mcp.client.session import ClientSession

    before = ClientSession.send_request
    with capture_audit() as audit:
        assert ClientSession.send_request is before
        assert not [state for state in INSTRUMENTATION.hook_states() if "client" in state.module]
        async with stack.in_memory(stack.server()) as caller:
            await ask(caller)
    assert views(audit)[1] == []
    assert len(audit.outcomes()) == 5


@pytest.mark.cell("the client's view", transport="memory")
async def test_both_views_of_the_same_calls() -> None:
    with capture_audit(client=True, level="request_response") as audit:
        async with stack.in_memory(stack.server()) as caller:
            await ask(caller)
    servers, clients = views(audit)
    assert [record.event for record in clients] == [
        "mcp_audit.client_tool_call",
        "mcp_audit.client_tool_call",
        "mcp_audit.client_resource_read",
        "mcp_audit.client_prompt_get",
        "mcp_audit.client_resource_read",
    ]
    names = ("audit.target.id", "audit.outcome", "mcp_audit.role")
    assert told(clients, *names) == [
        ("add", "success", "client"),
        ("crash", "failure", "client"),
        ("data://text", "success", "client"),
        ("greet", "success", "client"),
        ("data://none", "failure", "client"),
    ]
    assert told(servers, *names) == [(*each[:2], None) for each in told(clients, *names)]
    assert len({record.attributes["audit.record.id"] for record in audit.outcomes()}) == 10
    assert {record.attributes["audit.actor.id"] for record in clients} == {getpass.getuser()}
    assert clients[0].arguments == {"a": 1, "b": 2}
    assert clients[0].result["content"][0]["text"] == "3"
    from mcp.client.session import ClientSession

    assert not hasattr(ClientSession.send_request, "__wrapped__")


@pytest.mark.parametrize("transport", ["http-stateful", "http-stateless"])
@pytest.mark.cell("the client's view")
async def test_over_http_both_views_are_of_one_trace(transport: str) -> None:
    tracer = TracerProvider().get_tracer("test")
    app = stack.asgi_app(stack.server(), stateless=transport == "http-stateless")
    with capture_audit(client=True) as audit, serving(app) as url:
        async with stack.over_http(url, {}) as caller:
            with tracer.start_as_current_span("agent") as span:
                await caller.tool("add", {"a": 1, "b": 2})
                await caller.tool("rows")
    servers, clients = views(audit)
    assert [len(servers), len(clients)] == [2, 2]
    expected = f"{span.get_span_context().trace_id:032x}"
    assert [ids(record)[0] for record in (*servers, *clients)] == [expected] * 4
    assert told(clients, "audit.target.id", "mcp_audit.outcome.detail") == [("add", "ok"), ("rows", "ok")]


async def test_the_client_s_record_has_the_ids_of_the_sdk_s_own_span(monkeypatch: pytest.MonkeyPatch) -> None:
    if not stack.V2:
        pytest.skip("mcp 1.x makes no CLIENT span")
    from mcp.shared import _otel
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(_otel, "_tracer", provider.get_tracer("mcp-python-sdk"))
    with capture_audit(client=True) as audit:
        async with stack.in_memory(stack.server()) as caller:
            await caller.tool("add", {"a": 1, "b": 2})
    (span,) = [one for one in exporter.get_finished_spans() if one.name == "MCP send tools/call add"]
    context = span.get_span_context()
    assert context is not None
    assert ids(views(audit)[1][0]) == (f"{context.trace_id:032x}", f"{context.span_id:016x}")


async def test_without_a_span_nothing_is_added_to_the_request() -> None:
    seen: list[Any] = []

    def identify(invocation: Any) -> None:
        seen.append((invocation.role, dict(invocation.meta)))

    assert not trace.get_current_span().get_span_context().is_valid
    with capture_audit(client=True, identify=identify):
        async with stack.in_memory(stack.server()) as caller:
            await caller.tool("add", {"a": 1, "b": 2})
    assert all("traceparent" not in meta for role, meta in seen if role == "server")


@pytest.mark.cell("the client's view", transport="memory")
async def test_the_client_s_own_time_limit_and_cancel() -> None:
    with capture_audit(client=True) as audit:
        async with stack.in_memory(stack.server()) as caller:
            limit: Any = 0.3 if stack.V2 else timedelta(seconds=0.3)
            with suppress(Exception):
                await caller.session.call_tool("wait", {}, read_timeout_seconds=limit)
            call = asyncio.ensure_future(caller.tool("wait"))
            while len([record for record in audit.records]) < 1:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        clients = views(audit)[1]
    assert told(clients, "mcp_audit.outcome.detail", "audit.outcome") == [
        ("timeout", "failure"),
        ("cancelled", "unknown"),
    ]


async def test_a_tool_that_asks_another_server_shares_the_request_id() -> None:
    inner, outer = stack.server(), stack.server()

    async def relay() -> str:
        async with stack.in_memory(inner) as caller:
            await caller.tool("rows")
        return "relayed"

    outer.tool()(relay)
    with capture_audit(client=True) as audit:
        async with stack.in_memory(outer) as caller:
            await caller.tool("relay")
    servers, clients = views(audit)
    (served,) = [one for one in servers if one.attributes["audit.target.id"] == "relay"]
    (asked,) = [one for one in clients if one.attributes["audit.target.id"] == "rows"]
    assert asked.attributes["mcp_audit.request.id"] == served.attributes["mcp_audit.request.id"]
    assert asked.attributes["audit.record.id"] != asked.attributes["mcp_audit.request.id"]


async def test_turned_on_and_off_while_it_runs() -> None:
    from mcp.client.session import ClientSession

    instrumentor = mcp_audit.McpAuditInstrumentor()
    before = ClientSession.__dict__.get("send_request")
    instrumentor.instrument()
    try:
        assert ClientSession.__dict__.get("send_request") is before
        instrumentor.instrument(client=True)
        assert hasattr(ClientSession.send_request, "__wrapped__")
        instrumentor.instrument(client=False)
        assert ClientSession.__dict__.get("send_request") is before
    finally:
        instrumentor.uninstrument()
