# SPDX-License-Identifier: Apache-2.0
"""The small hooks around dispatch: the stdio mark, the ASGI stash, the outermost tool, fastmcp 3's span."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from recording import RecordingAuditor, RecordingCall

from opentelemetry import context as otel_context
from opentelemetry.instrumentation.mcp_audit.context import SCOPE_BOUND, SCOPE_CONTEXT, bind
from opentelemetry.instrumentation.mcp_audit.hooks import fastmcp, http, spans, stdio
from opentelemetry.instrumentation.mcp_audit.hooks.running import RUNNING, Running
from opentelemetry.instrumentation.mcp_audit.record.record import Invocation


async def test_stdio_is_marked_for_its_reader_and_its_body() -> None:
    seen: list[bool] = []

    @asynccontextmanager
    async def sdk_stdio_server() -> Any:
        reader = asyncio.ensure_future(note())
        yield "streams"
        await reader

    async def note() -> None:
        seen.append(stdio.on_pipe())

    switch = RecordingAuditor().switch()
    async with stdio.stdio_server(switch)(sdk_stdio_server, None, (), {}) as streams:
        assert streams == "streams"
        assert stdio.on_pipe()
    assert seen == [True]
    assert not stdio.on_pipe()
    switch.on = False
    async with stdio.stdio_server(switch)(sdk_stdio_server, None, (), {}):
        assert not stdio.on_pipe()


async def test_stdio_that_fails_to_start_or_inside_leaves_no_mark() -> None:
    @asynccontextmanager
    async def broken() -> Any:
        raise OSError("claimed")
        yield

    @asynccontextmanager
    async def fine() -> Any:
        yield

    marked = stdio.stdio_server(RecordingAuditor().switch())
    with pytest.raises(OSError, match="claimed"):
        async with marked(broken, None, (), {}):
            pass
    assert not stdio.on_pipe()
    with pytest.raises(KeyError):
        async with marked(fine, None, (), {}):
            raise KeyError("inside")
    assert not stdio.on_pipe()


async def test_the_scope_gets_what_is_current() -> None:
    switch, scope = RecordingAuditor().switch(), {"type": "http"}
    bind(user_id="alice")
    token = otel_context.attach(otel_context.set_value("key", "value"))
    try:
        called = http.asgi_entry(switch)(lambda *args: args, None, (scope, "receive", "send"), {})
    finally:
        otel_context.detach(token)
    assert called == (scope, "receive", "send")
    assert scope[SCOPE_BOUND] == {"user_id": "alice"}  # type: ignore[comparison-overlap]
    assert otel_context.get_value("key", scope[SCOPE_CONTEXT]) == "value"  # type: ignore[arg-type]
    switch.on = False
    untouched: dict[str, Any] = {}
    http.asgi_entry(switch)(lambda **kwargs: None, None, (), {"scope": untouched})
    assert untouched == {}


@contextmanager
def running(method: str = "tools/call") -> Any:
    state = Running(RecordingCall(Invocation(method)), method)  # type: ignore[arg-type]
    token = RUNNING.set(state)
    try:
        yield state
    finally:
        RUNNING.reset(token)


async def test_only_the_outermost_tool_counts() -> None:
    seen = fastmcp.call_tool(RecordingAuditor().switch())

    async def inner() -> None:
        raise KeyError("caught by the outer tool")

    async def outer() -> None:
        with pytest.raises(KeyError):
            await seen(inner, None, (), {})
        raise ValueError("the reason")

    with running() as state:
        with pytest.raises(ValueError, match="the reason"):
            await seen(outer, None, (), {})
        assert isinstance(state.error, ValueError)
    await_outside = seen(outer, None, (), {})
    with pytest.raises(ValueError, match="the reason"):
        await await_outside


async def test_a_tool_called_by_a_prompt_is_no_reason() -> None:
    async def inner() -> None:
        raise KeyError("k")

    with running("prompts/get") as state:
        with pytest.raises(KeyError):
            await fastmcp.call_tool(RecordingAuditor().switch())(inner, None, (), {})
        assert state.error is None


def test_fastmcp_3_span_of_the_same_method_is_seen_once() -> None:
    seen = fastmcp.server_span(RecordingAuditor().switch())
    span = TracerProvider().get_tracer("t").start_span("tools/call add")

    @contextmanager
    def sdk_span(*args: Any) -> Any:
        yield span

    with running() as state:
        # fastmcp lists the tools first, on the way of the call.
        with seen(sdk_span, None, ("tools/list", "tools/list"), {}):
            pass
        assert state.call.spans == []
        with seen(sdk_span, None, ("tools/call add", "tools/call"), {}) as given:
            assert given is span
        with seen(sdk_span, None, ("tools/call add", "tools/call"), {}):
            pass
        assert state.call.spans == [span]
        assert [mark.detail for mark in state.call.marks] == ["ok"]


def test_fastmcp_3_span_of_a_failed_call() -> None:
    seen = fastmcp.server_span(RecordingAuditor().switch())
    span = TracerProvider().get_tracer("t").start_span("x")

    @contextmanager
    def sdk_span(*args: Any) -> Any:
        yield span

    with running() as state, pytest.raises(KeyError):
        with seen(sdk_span, None, ("x", "tools/call"), {}):
            raise KeyError("k")
    assert [(mark.detail, mark.error_type) for mark in state.call.marks] == [("tool_error", "KeyError")]


@pytest.mark.parametrize(
    "meta", [{}, {"traceparent": "garbage"}, {"traceparent": 7}, {"traceparent": ["x"]}, {"traceparent": "00-0-0-0"}]
)
def test_no_valid_traceparent_is_the_ambient_context(meta: dict[str, Any]) -> None:
    assert spans.ambient_or_remote(meta) is otel_context.get_current()


def test_a_valid_traceparent() -> None:
    meta = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": {"not": "text"}}
    span = spans.span_of(spans.ambient_or_remote(meta))
    assert span is not None
    assert span.get_span_context().trace_id == 0x0AF7651916CD43DD8448EB211C80319C
