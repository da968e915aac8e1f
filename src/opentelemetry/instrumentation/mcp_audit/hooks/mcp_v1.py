# SPDX-License-Identifier: Apache-2.0
"""mcp 1.x (and fastmcp 2 and 3, which run on it): every request that has a handler passes ``Server._handle_request``.

It answers through ``message.respond``, from inside, so the outcome is journaled in a ``respond`` of ours before the
SDK's own is awaited. What never gets there (``initialize``, unknown methods, malformed params) is answered by the
session itself: see :mod:`.wire_v1`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.mcp_audit.context import (
    SCOPE_BOUND,
    SCOPE_CONTEXT,
    bound_here,
    enter_call,
)
from opentelemetry.instrumentation.mcp_audit.record.attributes import Detail
from opentelemetry.instrumentation.mcp_audit.record.record import Invocation, Outcome

from . import reasons
from .exchange import answered_nobody
from .own_span import OwnSpan
from .running import RUNNING, UNAUDITED, Running, Switch, Wrapper, leave, leave_unaudited, on_disk
from .snapshot import snapshot
from .spans import ambient_or_remote, span_of
from .stdio import on_pipe

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from opentelemetry.instrumentation.mcp_audit.call import Call


def handle_request(switch: Switch) -> Wrapper:
    """Wrapper of ``Server._handle_request(self, message, req, session, lifespan_context, raise_exceptions)``."""

    async def audited(
        wrapped: Callable[..., Awaitable[Any]], server: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if not switch.on:
            return await wrapped(*args, **kwargs)
        asked = switch.guarded("reading a request", partial(_arguments, *args, **kwargs))
        started = _begin(switch, *asked[:3]) if asked is not None else None
        if started is None:
            served = UNAUDITED.set(True)
            try:
                return await wrapped(*args, **kwargs)
            finally:
                leave_unaudited(served)
        message, respond = asked[0], asked[3]
        call, invocation = started
        running = Running(call, invocation.method, asked[2])
        own, http_span = None, None
        if not _makes_spans(server):
            if switch.own_span:
                own = switch.guarded("making a span", OwnSpan, invocation, call, switch.tracer_provider)
            if own is None:
                http_span = switch.guarded("asking the HTTP span", _http_span, invocation)
        if http_span is not None:
            call.see_span(http_span)
            running.spanned = True
        answered = False

        def end(outcome: Outcome) -> None:
            if http_span is not None:
                call.mark_span(outcome)
            if own is not None:
                switch.guarded("marking a span", own.mark, outcome)
            switch.guarded("recording a request", call.finish, outcome)

        async def answer(response: Any) -> Any:
            nonlocal answered
            if answered:
                return await respond(response)  # which says what it thinks of a second answer
            answered = True
            # The client of a cancelled request has its answer, "cancelled"; the SDK takes no second one.
            dropped = getattr(message, "cancelled", False)
            end(switch.outcome("ok", _of_response, response, running, message))
            await on_disk(call)
            try:
                written = await respond(response)
            except BaseException as error:
                if dropped:
                    raise
                # It could not be made text, or the stream is closed. An interrupted write may have got through.
                switch.guarded(
                    "recording an undelivered answer",
                    partial(call.undelivered, type(error).__name__, certain=isinstance(error, Exception)),
                )
                raise
            if not dropped and answered_nobody(invocation.scope):
                call.undelivered("client_gone")
            return written

        switch.guarded("watching for the answer", setattr, message, "respond", answer)
        token = RUNNING.set(running)
        tokens = enter_call(call)
        if own is not None:
            running.spanned = True
            switch.guarded("entering a span", own.enter)
        try:
            result = await wrapped(*args, **kwargs)
        except BaseException as error:
            # Never an await here: a cancelled scope raises again at every one of them.
            if not answered:
                answered = True
                end(switch.outcome("tool_error", _of_raise, error, running, message))
            raise
        else:
            if not answered:
                answered = True
                end(switch.outcome("client_gone", _of_silence, message))
            return result
        finally:
            if own is not None:
                switch.guarded("ending a span", own.leave)
            with suppress(AttributeError):  # the instance attribute of ours; gone if somebody put back the original
                del message.respond
            leave(token, tokens)

    return audited


def make_error_result(switch: Switch) -> Wrapper:
    """Wrapper of ``Server._make_error_result(self, error_message)``, called where the reason is still at hand.

    Inside the SDK's ``except`` the current exception is the reason; two fixed prefixes tell schema failures.
    """

    def seen(wrapped: Callable[..., Any], server: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        running = RUNNING.get()
        if running is not None and running.method == "tools/call":
            error = sys.exc_info()[1]
            text = args[0] if args else kwargs.get("error_message")
            running.saw(error, switch.guarded("telling a schema failure", _schema_failure, text, error))
        return wrapped(*args, **kwargs)

    return seen


def _schema_failure(text: Any, error: BaseException | None) -> Detail | None:
    # The prefix alone would be a tool's to forge; the exception must be the validator's, or none for a missing output.
    if not isinstance(text, str) or not (error is None or type(error).__module__.startswith("jsonschema")):
        return None
    if text.startswith("Input validation error:"):
        return "invalid_arguments"
    return "invalid_output" if text.startswith("Output validation error:") else None


def _arguments(message: Any, req: Any, session: Any, *rest: Any, **more: Any) -> tuple[Any, Any, Any, Any]:
    return message, req, session, message.respond


def _begin(switch: Switch, message: Any, request: Any, session: Any) -> tuple[Call, Invocation] | None:
    """Start the audit of a request; None when it gets no record."""
    try:
        invocation = _invocation(message, request, session)
    except Exception as error:
        # Nothing in a message can do this, only another shape of the SDK: said aloud, and recorded with what is left.
        method = str(getattr(request, "method", "unknown"))
        switch.problem(f"mcp_audit: who sent {method!r} requests cannot be told: {type(error).__name__}")
        invocation = Invocation(method, received=time.time_ns(), started=time.monotonic_ns())
    call = switch.begin(invocation)
    return None if call is None else (call, invocation)


def _makes_spans(server: Any) -> bool:
    """Whether the server makes SERVER spans itself (fastmcp 3)."""
    module = sys.modules.get("fastmcp.server.server")
    return module is not None and type(server).__module__.startswith("fastmcp") and hasattr(module, "server_span")


def _http_span(invocation: Invocation) -> Span | None:
    """The span of the HTTP request, which carries the event where nobody makes a span of the MCP request."""
    span = span_of(invocation.context) if invocation.scope is not None else None
    return span if span is not None and span.is_recording() else None


def _invocation(message: Any, request: Any, session: Any) -> Invocation:
    return invocation(
        session,
        request.method,
        _params(request.params),
        _dump(message.request_meta),
        message.request_id,
        message.message_metadata,
        (time.time_ns(), time.monotonic_ns()),
    )


def invocation(
    session: Any,
    method: str,
    params: Mapping[str, Any],
    meta: Mapping[str, Any],
    request_id: Any,
    metadata: Any,
    came: tuple[int, int],
) -> Invocation:
    """A request that a 1.x session received. ``came``: when, in nanoseconds of the wall clock and the monotonic one."""
    http: Any = getattr(metadata, "request_context", None)
    scope = getattr(http, "scope", None)
    client = session.client_params
    info = client.clientInfo if client is not None else None
    version = str(client.protocolVersion) if client is not None else None
    session_id = None
    if scope is not None:
        session_id = http.headers.get("mcp-session-id")
        # What was negotiated; the session only knows what the client asked for.
        version = http.headers.get("mcp-protocol-version") or version
        stash = scope.get(SCOPE_CONTEXT)
        context = stash if span_of(stash) is not None else ambient_or_remote(meta, stash)
        # Never the ambient bindings: they are those of the request that created the session.
        bound = scope.get(SCOPE_BOUND) or {}
    else:
        context = ambient_or_remote(meta)
        bound = bound_here()
    return Invocation(
        method=method,
        params=params,
        meta=meta,
        request_id=request_id,
        received=came[0],
        started=came[1],
        transport="tcp" if scope is not None else "pipe" if on_pipe() else None,
        session_id=session_id,
        protocol_version=version,
        client_name=info.name if info is not None else None,
        client_version=info.version if info is not None else None,
        scope=scope,
        bound=bound,
        context=context,
    )


def _params(params: Any) -> Mapping[str, Any]:
    """What stood on the wire beside ``_meta``, from the SDK's model of it."""
    if params is None:
        return {}
    if hasattr(params, "arguments") and hasattr(params, "name") and hasattr(params, "__pydantic_fields_set__"):
        # The two methods that carry content. Copied by hand: a dump could refuse a value that the tool accepts.
        given = params.__pydantic_fields_set__
        plain: dict[str, Any] = {"name": params.name}
        if "arguments" in given:
            plain["arguments"] = snapshot(params.arguments)
        for name in given - {"name", "arguments", "meta"}:
            plain[name] = _dump(getattr(params, name, None))
        return plain
    dumped = dict(_dump(params))
    dumped.pop("_meta", None)
    return dumped


def _dump(model: Any) -> Any:
    """The wire form of one of the SDK's models. A value that JSON cannot say stays what it is; nothing raises."""
    if model is None:
        return {}
    dump = getattr(model, "model_dump", None)
    if dump is None:
        return model
    try:
        return dump(mode="json", by_alias=True, exclude_none=True)
    except (ValueError, TypeError, RecursionError):  # pydantic's serialisation errors are ValueErrors
        return dict(model)


def _of_silence(message: Any) -> Outcome:
    # Cancelled by the client: the SDK answered for the handler, which ends without a response.
    return Outcome("cancelled" if message.cancelled else "client_gone")


def _of_response(response: Any, running: Running, message: Any) -> Outcome:
    """The outcome of what is handed to ``respond``: ``ErrorData``, or a ``ServerResult`` around the result's model."""
    if message.cancelled:
        # A response that meets a cancelled request is dropped by the SDK; the client was told of the cancel.
        return Outcome("cancelled")
    root = getattr(response, "root", None)
    if root is None:
        code = getattr(response, "code", None)
        if not isinstance(code, int):
            return Outcome("ok")
        return reasons.of_rpc_error(
            code, str(response.message), getattr(response, "data", None), running.method, running.error
        )
    # Made only when the level keeps results.
    wire = partial(_dump, root)
    if getattr(root, "isError", None) is True:
        return reasons.of_tool_error(running.error, running.detail, wire)
    if running.method == "tools/call" and getattr(root, "task", None) is not None:
        return Outcome("task_created", result=wire)
    if reasons.is_task_stub(getattr(root, "meta", None)):
        return Outcome("task_created", result=wire)
    return Outcome("ok", result=wire, result_count=_count(root))


def _count(root: Any) -> int | None:
    # The fields of the model are a mapping already; no dump is needed to count.
    return reasons.count(root.__dict__)


def _of_raise(error: BaseException, running: Running, message: Any) -> Outcome:
    if isinstance(error, Exception):
        return reasons.of_exception(error, running.method, running.error, 0)
    return reasons.cancelled(error, bool(message.cancelled))
