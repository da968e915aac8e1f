# SPDX-License-Identifier: Apache-2.0
"""The hook of mcp 2.x on a runner made for the test: nothing of the call changes, one end for each."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan, use_span
from recording import RecordingAuditor

from opentelemetry.instrumentation.mcp_audit.context import SCOPE_BOUND, bind, bound_here, running_call
from opentelemetry.instrumentation.mcp_audit.hooks import mcp_v2
from opentelemetry.instrumentation.mcp_audit.hooks.running import RUNNING
from opentelemetry.instrumentation.mcp_audit.record.record import Outcome


def dctx_of(request_id: Any = 1, *, kind: str = "jsonrpc", scope: Any = None, headers: Any = None) -> Any:
    event = asyncio.Event()
    return SimpleNamespace(
        request_id=request_id,
        transport=SimpleNamespace(kind=kind, headers=headers),
        message_metadata=None if scope is None else SimpleNamespace(request_context=SimpleNamespace(scope=scope)),
        cancel_requested=event,
    )


RUNNER = SimpleNamespace(
    connection=SimpleNamespace(
        session_id="session",
        protocol_version="2025-11-25",
        client_params=SimpleNamespace(client_info=SimpleNamespace(name="client", version="1")),
    )
)
RESULT = {"content": [1]}


async def run(
    auditor: RecordingAuditor, handler: Any, dctx: Any = None, method: str = "tools/call", **options: Any
) -> Any:
    params = options.pop("params", {"name": "add", "arguments": {"a": 1}, "_meta": {"k": "v"}})
    wrapper = mcp_v2.on_request(auditor.switch())
    return await wrapper(handler, RUNNER, (dctx or dctx_of(), method, params), {})


async def test_the_invocation_and_the_answer() -> None:
    auditor = RecordingAuditor()

    async def handler(dctx: Any, method: str, params: Any) -> Any:
        assert running_call() is auditor.only
        assert params == {"name": "add", "arguments": {"a": 1}, "_meta": {"k": "v"}}
        return RESULT

    assert await run(auditor, handler) is RESULT
    call = auditor.only.invocation
    assert (call.method, call.params, call.meta) == ("tools/call", {"name": "add", "arguments": {"a": 1}}, {"k": "v"})
    assert (call.request_id, call.session_id, call.protocol_version) == (1, "session", "2025-11-25")
    assert (call.client_name, call.client_version) == ("client", "1")
    assert (call.transport, call.scope) == (None, None)
    assert call.received > 10**18 and call.started > 0
    assert auditor.outcome == Outcome("ok", result=RESULT, result_count=1)
    assert running_call() is None
    assert RUNNING.get() is None


async def test_an_exception_goes_on_unchanged() -> None:
    auditor, error = RecordingAuditor(), KeyError("k")

    async def handler(*args: Any) -> Any:
        raise error

    with pytest.raises(KeyError) as caught:
        await run(auditor, handler)
    assert caught.value is error
    assert (auditor.outcome.detail, auditor.outcome.error_type, auditor.outcome.status_code) == (
        "tool_error",
        "KeyError",
        "0",
    )


async def test_the_modern_era_answers_internal_error() -> None:
    auditor = RecordingAuditor()

    async def handler(*args: Any) -> Any:
        raise KeyError("k")

    params = {"name": "x", "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}
    with pytest.raises(KeyError):
        await run(auditor, handler, params=params)
    assert auditor.outcome.status_code == "-32603"


@pytest.mark.parametrize(
    ("kind", "asked", "detail"),
    [("jsonrpc", True, "cancelled"), ("jsonrpc", False, "client_gone"), ("direct", False, "cancelled")],
)
async def test_cancellation(kind: str, asked: bool, detail: str) -> None:
    auditor, started = RecordingAuditor(), asyncio.Event()
    dctx = dctx_of(kind=kind)
    if asked:
        dctx.cancel_requested.set()

    async def handler(*args: Any) -> Any:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(run(auditor, handler, dctx))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert auditor.outcome == Outcome(detail)  # type: ignore[arg-type]


@pytest.mark.parametrize("fails", [False, True])
async def test_a_handler_that_ends_after_the_cancel_gets_no_answer_out(fails: bool) -> None:
    auditor, dctx = RecordingAuditor(), dctx_of()

    async def handler(*args: Any) -> Any:
        dctx.cancel_requested.set()
        if fails:
            raise KeyError("k")
        return RESULT

    if fails:
        with pytest.raises(KeyError):
            await run(auditor, handler, dctx)
    else:
        assert await run(auditor, handler, dctx) is RESULT
    assert auditor.outcome == Outcome("cancelled")


async def test_the_process_is_leaving() -> None:
    auditor = RecordingAuditor()

    async def handler(*args: Any) -> Any:
        raise GeneratorExit

    with pytest.raises(GeneratorExit):
        await run(auditor, handler)
    assert auditor.outcome == Outcome("abandoned", error_type="GeneratorExit")


@pytest.mark.parametrize("params", [None, [], "text", {"_meta": 7}, {"_meta": {"traceparent": {}}}])
async def test_malformed_params_are_recorded_and_passed_on(params: Any) -> None:
    auditor, seen = RecordingAuditor(), []

    async def handler(dctx: Any, method: str, given: Any) -> Any:
        seen.append(given)
        return {}

    assert await run(auditor, handler, params=params) == {}
    assert seen == [params]
    assert auditor.only.invocation.params == {}
    assert auditor.problems == []


async def test_the_phantom_listing_of_modern_http_is_none() -> None:
    auditor = RecordingAuditor()

    async def handler(*args: Any) -> Any:
        return {"tools": []}

    await run(auditor, handler, dctx_of(headers={"mcp-method": "tools/call"}), "tools/list")
    assert auditor.calls == []
    await run(auditor, handler, dctx_of(headers={"mcp-method": "tools/list"}), "tools/list")
    await run(auditor, handler, dctx_of(headers={}), "tools/list")
    await run(auditor, handler, dctx_of(), "tools/list")
    assert len(auditor.calls) == 3


async def test_bindings_of_the_request() -> None:
    auditor = RecordingAuditor()

    async def handler(*args: Any) -> Any:
        assert bound_here()["user_id"] == "alice"
        bind(purpose="treatment")
        return {}

    await run(auditor, handler, dctx_of(scope={SCOPE_BOUND: {"user_id": "alice"}}))
    call = auditor.only
    assert call.invocation.transport == "tcp"
    assert call.bound == {"user_id": "alice", "purpose": "treatment"}
    assert dict(bound_here()) == {}


async def test_switched_off_it_is_not_there() -> None:
    auditor = RecordingAuditor()
    switch = auditor.switch()
    switch.on = False

    async def handler(*args: Any) -> Any:
        return RESULT

    assert await mcp_v2.on_request(switch)(handler, RUNNER, (dctx_of(), "tools/call", {}), {}) is RESULT
    assert auditor.calls == []


async def test_an_auditor_that_fails_costs_no_call() -> None:
    problems: list[str] = []

    def source() -> Any:
        raise RuntimeError("no auditor")

    async def handler(*args: Any) -> Any:
        return RESULT

    from opentelemetry.instrumentation.mcp_audit.hooks.running import Switch

    wrapper = mcp_v2.on_request(Switch(source, problems.append))
    for _ in range(3):
        assert await wrapper(handler, RUNNER, (dctx_of(), "tools/call", {}), {}) is RESULT
    assert problems == ["mcp_audit: requests are NOT audited: RuntimeError"]


async def test_a_changed_sdk_is_recorded_with_what_is_left() -> None:
    auditor = RecordingAuditor()

    async def handler(*args: Any) -> Any:
        return RESULT

    wrapper = mcp_v2.on_request(auditor.switch())
    assert await wrapper(handler, SimpleNamespace(connection=None), (dctx_of(), "tools/call", {}), {}) is RESULT
    assert auditor.only.invocation.method == "tools/call"
    assert auditor.outcome.detail == "ok"
    assert len(auditor.problems) == 1


async def test_the_span_is_seen_and_marked_before_it_ends() -> None:
    auditor = RecordingAuditor()
    middleware = mcp_v2.server_span(auditor.switch())
    span = TracerProvider().get_tracer("t").start_span("server")
    request = SimpleNamespace(request_id=1)
    notification = SimpleNamespace(request_id=None)

    async def sdk_middleware(ctx: Any, call_next: Any) -> Any:
        with use_span(span):
            return await call_next(ctx)

    async def inner(ctx: Any) -> Any:
        assert span.is_recording()
        return {"isError": True}

    async def handler(*args: Any) -> Any:
        await middleware(sdk_middleware, None, (notification, inner), {})
        assert auditor.only.marks == []
        result = await middleware(sdk_middleware, None, (request, inner), {})
        # A nested request's span is not this one's.
        await middleware(sdk_middleware, None, (request, inner), {})
        return result

    await run(auditor, handler)
    assert auditor.only.spans == [span]
    assert [mark.detail for mark in auditor.only.marks] == ["tool_error"]


async def test_an_unaudited_request_inside_does_not_lend_its_span() -> None:
    auditor = RecordingAuditor("tools/list")
    middleware = mcp_v2.server_span(auditor.switch())
    span = TracerProvider().get_tracer("t").start_span("list")

    async def sdk_middleware(ctx: Any, call_next: Any) -> Any:
        with use_span(span):
            return await call_next(ctx)

    async def inner(ctx: Any) -> Any:
        return {}

    async def listing(*args: Any) -> Any:
        return await middleware(sdk_middleware, None, (SimpleNamespace(request_id=1), inner), {})

    async def handler(*args: Any) -> Any:
        await run(auditor, listing, method="tools/list")
        assert RUNNING.get() is not None
        return {}

    await run(auditor, handler)
    assert auditor.only.spans == []


async def test_an_exception_with_a_hostile_cause_goes_on_unchanged() -> None:
    class Hostile(Exception):
        @property
        def __cause__(self) -> Any:
            raise LookupError("AKIA-cause")

    auditor, error = RecordingAuditor(), Hostile("original")

    async def handler(*args: Any) -> Any:
        raise error

    with pytest.raises(Hostile) as caught:
        await run(auditor, handler)
    assert caught.value is error
    assert auditor.outcome == Outcome("tool_error")
    assert auditor.problems == ["mcp_audit: how a request ended could not be told: LookupError"]


async def test_an_answer_that_cannot_be_classified_and_a_record_that_cannot_be_made() -> None:
    class Hostile(dict[str, Any]):
        def get(self, *args: Any) -> Any:
            raise LookupError("AKIA-get")

    auditor, answer = RecordingAuditor(), Hostile()
    tried: list[Outcome] = []

    def finish(outcome: Outcome) -> None:
        tried.append(outcome)
        raise KeyError("AKIA-finish")

    async def handler(*args: Any) -> Any:
        auditor.only.finish = finish  # type: ignore[method-assign]
        return answer

    assert await run(auditor, handler) is answer
    assert tried == [Outcome("ok")]
    assert auditor.problems == [
        "mcp_audit: how a request ended could not be told: LookupError",
        "mcp_audit: recording a request failed: KeyError",
    ]


async def test_a_vendor_span_that_cannot_be_asked_is_none() -> None:
    class Vendor(NonRecordingSpan):
        def get_span_context(self) -> Any:
            raise RuntimeError("vendor")

    auditor = RecordingAuditor()
    middleware = mcp_v2.server_span(auditor.switch())

    async def sdk_middleware(ctx: Any, call_next: Any) -> Any:
        with use_span(Vendor(INVALID_SPAN_CONTEXT)):
            return await call_next(ctx)

    async def inner(ctx: Any) -> Any:
        return RESULT

    async def handler(*args: Any) -> Any:
        return await middleware(sdk_middleware, None, (SimpleNamespace(request_id=1), inner), {})

    assert await run(auditor, handler) is RESULT
    assert auditor.only.spans == []
