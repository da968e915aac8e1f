# SPDX-License-Identifier: Apache-2.0
"""The record shares the ids of the server's own span, which carries the event before it ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import stack
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from serving import serving

from opentelemetry import trace
from opentelemetry.instrumentation.mcp_audit.testing import capture_audit

pytestmark = pytest.mark.timeout(60)

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Iterator[InMemorySpanExporter]:
    exporter.clear()
    yield exporter
    exporter.clear()


def server_spans(exporter: InMemorySpanExporter, method: str = "tools/call") -> list[ReadableSpan]:
    return [
        span
        for span in exporter.get_finished_spans()
        if span.kind is SpanKind.SERVER and (span.attributes or {}).get("mcp.method.name") == method
    ]


def ids_of(line: str) -> tuple[str, str]:
    import json

    record = json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
    return record.get("traceId", ""), record.get("spanId", "")


def ids(span: ReadableSpan) -> tuple[str, str]:
    context = span.get_span_context()
    assert context is not None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def check_event(span: ReadableSpan, record: Any) -> None:
    (event,) = [event for event in span.events if event.name == "mcp_audit.tool_call"]
    assert dict(event.attributes or {}) == {
        "audit.record.id": record.attributes["audit.record.id"],
        "audit.outcome": record.attributes["audit.outcome"],
        "mcp_audit.outcome.detail": record.attributes["mcp_audit.outcome.detail"],
        "mcp_audit.decision": record.attributes["mcp_audit.decision"],
    }


CALLS = [("add", {"a": 1, "b": 2}), ("crash", {}), ("add", {"a": "many", "b": 2}), ("no_such_tool", {})]


@pytest.mark.skipif(not stack.SERVER_SPANS, reason=f"{stack.NAME} makes no server span of its own")
@pytest.mark.parametrize("modern", [False, True])
@pytest.mark.parametrize(("tool", "arguments"), CALLS)
async def test_the_servers_own_span_is_used(
    spans: InMemorySpanExporter, modern: bool, tool: str, arguments: dict[str, Any]
) -> None:
    if modern and not stack.V2:
        pytest.skip(f"{stack.NAME} does not speak {stack.MODERN}")
    with capture_audit() as audit:
        async with stack.in_memory(stack.server(), modern=modern) as caller:
            await caller.tool(tool, arguments)
        (record,) = audit.outcomes()
    (span,) = server_spans(spans)
    assert ids_of(record.line) == ids(span)
    check_event(span, record)


@pytest.mark.skipif(stack.SERVER_SPANS, reason=f"{stack.NAME} makes a server span itself")
async def test_own_span_on_request(spans: InMemorySpanExporter) -> None:
    with capture_audit(own_span=True) as audit:
        async with stack.in_memory(stack.server()) as caller:
            await caller.tool("add", {"a": 1, "b": 2})
            await caller.tool("crash")
        records = audit.outcomes()
    first, second = server_spans(spans)
    assert [first.name, second.name] == ["tools/call add", "tools/call crash"]
    assert [ids_of(record.line) for record in records] == [ids(first), ids(second)]
    assert (first.attributes or {})["gen_ai.tool.name"] == "add"
    assert (second.attributes or {})["error.type"] == "KeyError"
    for span, record in zip((first, second), records, strict=True):
        check_event(span, record)


@pytest.mark.skipif(stack.SERVER_SPANS, reason=f"{stack.NAME} makes a server span itself")
async def test_no_span_is_made_unasked(spans: InMemorySpanExporter) -> None:
    with capture_audit() as audit:
        async with stack.in_memory(stack.server()) as caller:
            await caller.tool("add", {"a": 1, "b": 2})
        (record,) = audit.outcomes()
    assert spans.get_finished_spans() == ()
    assert ids_of(record.line) == ("", "")


class HttpSpans:
    """One SERVER span for each POST, as an HTTP instrumentation makes."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        with trace.get_tracer("http").start_as_current_span("POST", kind=SpanKind.SERVER):
            await self.app(scope, receive, send)


@pytest.mark.skipif(stack.SERVER_SPANS, reason=f"{stack.NAME} makes a server span itself")
async def test_the_span_of_the_right_http_request(spans: InMemorySpanExporter) -> None:
    with capture_audit() as audit, serving(HttpSpans(stack.asgi_app(stack.server()))) as url:
        async with stack.over_http(url, {}) as caller:
            await caller.tool("add", {"a": 1, "b": 2})
            await caller.tool("add", {"a": 3, "b": 4})
        records = audit.outcomes()
    marked = [span for span in spans.get_finished_spans() if span.events]
    assert [ids_of(record.line) for record in records] == [ids(span) for span in marked]
    assert len(marked) == 2
    for span, record in zip(marked, records, strict=True):
        check_event(span, record)


@pytest.mark.skipif(not stack.SERVER_SPANS, reason=f"{stack.NAME} makes no server span of its own")
@pytest.mark.parametrize("modern", [False, True])
async def test_the_servers_own_span_goes_before_that_of_http(spans: InMemorySpanExporter, modern: bool) -> None:
    if modern and not stack.V2:
        pytest.skip(f"{stack.NAME} does not speak {stack.MODERN}")
    with capture_audit() as audit, serving(HttpSpans(stack.asgi_app(stack.server()))) as url:
        async with stack.over_http(url, {}, modern=modern) as caller:
            await caller.tool("add", {"a": 1, "b": 2})
        (record,) = audit.outcomes()
    (span,) = server_spans(spans)
    assert ids_of(record.line) == ids(span)
    check_event(span, record)


async def test_the_callers_trace_is_joined(spans: InMemorySpanExporter) -> None:
    with capture_audit() as audit:
        async with stack.in_memory(stack.server()) as caller:
            await caller.session.call_tool("add", {"a": 1, "b": 2}, meta={"traceparent": TRACEPARENT})
        (record,) = audit.outcomes()
    trace_id, span_id = ids_of(record.line)
    if stack.V2:
        # The 2.x client puts its own span between.
        assert ids(server_spans(spans)[0]) == (trace_id, span_id)
    else:
        assert trace_id == TRACEPARENT.split("-")[1]
