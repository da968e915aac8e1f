# SPDX-License-Identifier: Apache-2.0
"""The hook of mcp 1.x on a server made for the test: the record precedes the answer, nothing of the call changes."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import get_current_span, set_span_in_context
from recording import RecordingAuditor

from opentelemetry.instrumentation.mcp_audit.context import SCOPE_BOUND, SCOPE_CONTEXT, bind, running_call
from opentelemetry.instrumentation.mcp_audit.hooks import mcp_v1
from opentelemetry.instrumentation.mcp_audit.hooks.running import RUNNING
from opentelemetry.instrumentation.mcp_audit.record.record import Outcome


class Model:
    """Just enough of a pydantic model."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def model_dump(self, **options: Any) -> dict[str, Any]:
        assert options == {"mode": "json", "by_alias": True, "exclude_none": True}
        return {name: value for name, value in self.__dict__.items() if value is not None}


class CallParams(Model):
    @property
    def __pydantic_fields_set__(self) -> set[str]:
        return set(self.__dict__)


class Message:
    def __init__(self, scope: Any = None, headers: Any = None) -> None:
        self.request_id = 7
        self.request_meta = None
        self.cancelled = False
        self.sent: list[Any] = []
        request = SimpleNamespace(scope=scope, headers=headers or {})
        self.message_metadata = None if scope is None else SimpleNamespace(request_context=request)

    async def respond(self, response: Any) -> None:
        self.sent.append(response)


SESSION = SimpleNamespace(
    client_params=SimpleNamespace(protocolVersion="2025-06-18", clientInfo=SimpleNamespace(name="client", version="1"))
)
REQUEST = SimpleNamespace(method="tools/call", params=CallParams(name="add", arguments={"a": 1}))


def result(**fields: Any) -> Any:
    return SimpleNamespace(root=Model(**fields))


async def run(auditor: RecordingAuditor, handler: Any, message: Any, request: Any = REQUEST, **options: Any) -> Any:
    wrapper = mcp_v1.handle_request(auditor.switch(**options))
    return await wrapper(handler, SimpleNamespace(), (message, request, SESSION, None, False), {})


async def test_the_record_is_made_before_the_answer_goes_out() -> None:
    auditor, message = RecordingAuditor(), Message()
    order: list[str] = []

    async def original(response: Any) -> None:
        order.append(f"answer after {len(auditor.only.outcomes)} record")

    message.respond = original  # type: ignore[method-assign]

    async def handler(message: Any, *rest: Any) -> None:
        assert running_call() is auditor.only
        await message.respond(result(content=[1, 2], structuredContent=None))

    await run(auditor, handler, message)
    assert order == ["answer after 1 record"]
    call = auditor.only.invocation
    assert (call.method, call.params) == ("tools/call", {"name": "add", "arguments": {"a": 1}})
    assert (call.request_id, call.protocol_version, call.client_name, call.transport) == (
        7,
        "2025-06-18",
        "client",
        None,
    )
    outcome = auditor.outcome
    assert (outcome.detail, outcome.result_count) == ("ok", 2)
    assert outcome.result() == {"content": [1, 2]}
    assert running_call() is None
    assert RUNNING.get() is None


async def test_respond_is_left_as_it_was() -> None:
    auditor, message = RecordingAuditor(), Message()

    async def handler(message: Any, *rest: Any) -> None:
        await message.respond(result(content=[]))

    await run(auditor, handler, message)
    assert "respond" not in vars(message)
    assert len(message.sent) == 1


async def test_an_answer_that_cannot_be_sent_keeps_its_record() -> None:
    auditor, message = RecordingAuditor(), Message()

    async def closed(response: Any) -> None:
        raise ConnectionError("closed")

    message.respond = closed  # type: ignore[method-assign]

    async def handler(message: Any, *rest: Any) -> None:
        await message.respond(result(content=[]))

    with pytest.raises(ConnectionError):
        await run(auditor, handler, message)
    assert auditor.outcome.detail == "ok"
    assert auditor.only.not_delivered == [("ConnectionError", True)]


async def test_a_json_rpc_error() -> None:
    auditor, message = RecordingAuditor(), Message()
    request = SimpleNamespace(method="resources/read", params=Model(uri="data://x", _meta={"k": 1}))

    async def handler(message: Any, *rest: Any) -> None:
        await message.respond(SimpleNamespace(code=-32002, message="Resource not found", data=None))

    await run(auditor, handler, message, request)
    assert auditor.only.invocation.params == {"uri": "data://x"}
    assert (auditor.outcome.detail, auditor.outcome.status_code) == ("protocol_error", "-32002")


@pytest.mark.parametrize(
    ("raised", "text", "detail", "error_type"),
    [
        (KeyError("k"), "'k'", "tool_error", "KeyError"),
        (None, "Output validation error: none", "invalid_output", None),
        (None, "Unexpected return type from tool: int", "tool_error", None),
        # A tool cannot pass for the SDK's validator by the text of what it raises.
        (RuntimeError("Input validation error: x"), "Input validation error: x", "tool_error", "RuntimeError"),
        (
            type("ValidationError", (Exception,), {"__module__": "jsonschema.exceptions", "message": "bad"})(),
            "Input validation error: bad",
            "invalid_arguments",
            None,
        ),
    ],
)
async def test_the_reason_behind_is_error(
    raised: BaseException | None, text: str, detail: str, error_type: str | None
) -> None:
    auditor, message = RecordingAuditor(), Message()
    seen = mcp_v1.make_error_result(auditor.switch())

    async def handler(message: Any, *rest: Any) -> None:
        def make(error_message: str) -> Any:
            return result(content=[error_message], isError=True)

        if raised is None:
            answer = seen(make, None, (text,), {})
        else:
            try:
                raise raised
            except BaseException:
                answer = seen(make, None, (), {"error_message": text})
        await message.respond(answer)

    await run(auditor, handler, message)
    assert (auditor.outcome.detail, auditor.outcome.error_type) == (detail, error_type)


@pytest.mark.parametrize(("cancelled", "detail"), [(True, "cancelled"), (False, "client_gone")])
async def test_ends_without_an_answer(cancelled: bool, detail: str) -> None:
    auditor, message = RecordingAuditor(), Message()

    async def handler(message: Any, *rest: Any) -> None:
        message.cancelled = cancelled

    await run(auditor, handler, message)
    assert auditor.outcome == Outcome(detail)  # type: ignore[arg-type]


@pytest.mark.parametrize(("cancelled", "detail"), [(True, "cancelled"), (False, "client_gone")])
async def test_cancellation_goes_on(cancelled: bool, detail: str) -> None:
    auditor, message = RecordingAuditor(), Message()
    message.cancelled = cancelled

    async def handler(*args: Any) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await run(auditor, handler, message)
    assert auditor.outcome == Outcome(detail)  # type: ignore[arg-type]


async def test_an_answer_to_a_cancelled_request_is_not_what_the_client_saw() -> None:
    auditor, message = RecordingAuditor(), Message()

    async def handler(message: Any, *rest: Any) -> None:
        message.cancelled = True
        await message.respond(result(content=[]))

    await run(auditor, handler, message)
    assert auditor.outcome == Outcome("cancelled")


async def test_a_task_is_created() -> None:
    auditor, message = RecordingAuditor(), Message()

    async def handler(message: Any, *rest: Any) -> None:
        await message.respond(result(task={"taskId": "1"}))

    await run(auditor, handler, message)
    assert auditor.outcome.detail == "task_created"


async def test_http_tells_who_and_which_trace_by_the_scope_alone() -> None:
    auditor = RecordingAuditor()
    span = TracerProvider().get_tracer("t").start_span("POST")
    scope = {SCOPE_BOUND: {"user_id": "bob"}, SCOPE_CONTEXT: set_span_in_context(span)}
    message = Message(scope, {"mcp-session-id": "s-1", "mcp-protocol-version": "2025-11-25"})
    bind(user_id="the session's creator")

    async def handler(message: Any, *rest: Any) -> None:
        await message.respond(result(content=[]))

    await run(auditor, handler, message)
    call = auditor.only
    assert call.bound == {"user_id": "bob"}
    assert (call.invocation.transport, call.invocation.session_id) == ("tcp", "s-1")
    assert call.invocation.protocol_version == "2025-11-25"
    assert call.spans == [span]
    assert [mark.detail for mark in call.marks] == ["ok"]


async def test_http_without_a_binding_has_none() -> None:
    auditor = RecordingAuditor()
    bind(user_id="the session's creator")

    async def handler(message: Any, *rest: Any) -> None:
        await message.respond(result(content=[]))

    await run(auditor, handler, Message({}))
    assert auditor.only.bound == {}
    assert auditor.only.spans == []


async def test_no_record_no_change() -> None:
    auditor, message = RecordingAuditor("tools/call"), Message()

    async def handler(given: Any, *rest: Any) -> str:
        assert "respond" not in vars(given)
        return "unchanged"

    assert await run(auditor, handler, message) == "unchanged"
    assert auditor.calls == []


def test_a_model_that_refuses_to_be_dumped() -> None:
    class Refusing:
        def model_dump(self, **options: Any) -> Any:
            raise ValueError("surrogates not allowed")

        def __iter__(self) -> Any:
            return iter([("uri", "\ud800")])

    assert mcp_v1._dump(Refusing()) == {"uri": "\ud800"}
    assert mcp_v1._dump(None) == {}


class Refusing(SpanProcessor):
    """A vendor's span processor that is broken at one end."""

    def __init__(self, at: str) -> None:
        self.at = at

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        if self.at == "start":
            raise RuntimeError("AKIA-start")

    def on_end(self, span: Any) -> None:
        if self.at == "end":
            raise RuntimeError("AKIA-end")


@pytest.mark.parametrize(("at", "what"), [("start", "making a span"), ("end", "ending a span")])
async def test_a_span_processor_that_raises_costs_no_call(at: str, what: str) -> None:
    provider = TracerProvider()
    provider.add_span_processor(Refusing(at))
    auditor, message = RecordingAuditor(), Message()

    async def handler(message: Any, *rest: Any) -> None:
        await message.respond(result(content=[]))

    wrapper = mcp_v1.handle_request(auditor.switch(own_span=True, tracer_provider=provider))
    await wrapper(handler, object(), (message, REQUEST, SESSION, None, False), {})
    assert len(message.sent) == 1
    assert auditor.outcome.detail == "ok"
    assert auditor.problems == [f"mcp_audit: {what} failed: RuntimeError"]
    assert not get_current_span().get_span_context().is_valid


async def test_the_own_span_bounds_what_the_client_names() -> None:
    exported = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    auditor, message, name = RecordingAuditor(), Message(), "a\n\x1b" + "b" * 500
    request = SimpleNamespace(method="tools/call", params=CallParams(name=name, arguments={}))

    async def handler(message: Any, *rest: Any) -> None:
        await message.respond(result(content=[]))

    wrapper = mcp_v1.handle_request(auditor.switch(own_span=True, tracer_provider=provider))
    await wrapper(handler, object(), (message, request, SESSION, None, False), {})
    (span,) = exported.get_finished_spans()
    assert span.name == "tools/call a" + "b" * 125
    assert span.attributes is not None
    assert span.attributes["gen_ai.tool.name"] == name[:128]
    assert auditor.only.invocation.params["name"] == name


async def test_an_answer_that_cannot_be_classified_goes_out() -> None:
    class Hostile:
        @property
        def root(self) -> Any:
            raise LookupError("AKIA-root")

    auditor, message, hostile = RecordingAuditor(), Message(), Hostile()

    async def handler(message: Any, *rest: Any) -> None:
        await message.respond(hostile)

    await run(auditor, handler, message)
    assert message.sent == [hostile]
    assert auditor.outcome == Outcome("ok")
    assert auditor.problems == ["mcp_audit: how a request ended could not be told: LookupError"]


async def test_another_shape_of_the_sdk_is_passed_through() -> None:
    auditor = RecordingAuditor()

    async def handler(*args: Any) -> str:
        return "done"

    assert await mcp_v1.handle_request(auditor.switch())(handler, object(), ("only",), {}) == "done"
    assert auditor.calls == []
    assert auditor.problems == ["mcp_audit: reading a request failed: TypeError"]
