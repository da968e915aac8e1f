# SPDX-License-Identifier: Apache-2.0
"""What the explicit middlewares do with one request: the same steps as the hooks, at the place where a middleware stands.

Nothing is wrapped here. Where a hook has taken the request already (``RUNNING`` says so) a middleware passes it on, so
that both together make one record.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import get_current_span

from opentelemetry.instrumentation.mcp_audit.context import SCOPE_BOUND, bound_here, enter_call
from opentelemetry.instrumentation.mcp_audit.record.record import Invocation, Outcome

from . import mcp_v1, mcp_v2, reasons
from .reasons import is_mapping
from .running import RUNNING, Running, Switch, leave, on_disk
from .snapshot import snapshot
from .spans import ambient_or_remote, is_valid

if TYPE_CHECKING:
    from opentelemetry.instrumentation.mcp_audit.call import Call

CallNext = Callable[[Any], Awaitable[Any]]
# From an exception or an answer to the outcome; None: the request was answered.
Classify = Callable[[Any, "BaseException | None", Running], Outcome]


async def of_mcp(switch: Switch, context: Any, call_next: CallNext) -> Any:
    """One message at a middleware of mcp 2.x: ``context`` is the SDK's ``ServerRequestContext``."""
    if not switch.on or context.request_id is None:
        return await call_next(context)
    # One object a request; the SDK keeps it to itself, as it does with how a cancel came about.
    dctx = getattr(context.session, "_request_outbound", None)
    if _is_taken(dctx if dctx is not None else context.session, context.request_id):
        return await call_next(context)
    call = _begin(switch, context.method, _of_mcp_context, context, dctx)
    if call is None:
        return await call_next(context)

    def classify(result: Any, error: BaseException | None, running: Running) -> Outcome:
        if error is not None:
            return mcp_v2._of_raise(error, running, dctx, context.params)
        if dctx is None:
            return mcp_v2._of_return(result, running)
        return mcp_v2._of_end(result, running, dctx)

    running = Running(call, context.method, dctx if dctx is not None else context.session)
    return await _audited(switch, running, classify, context, call_next)


async def of_fastmcp(switch: Switch, context: Any, call_next: CallNext) -> Any:
    """One message at a middleware of fastmcp: ``context`` is its ``MiddlewareContext``."""
    if not switch.on or context.type != "request" or context.method is None:
        return await call_next(context)
    asked = switch.guarded("reading a request", _request_context, context)
    session = getattr(asked, "session", None)
    dctx = getattr(session, "_request_outbound", None)
    of = dctx if dctx is not None else session
    request_id = getattr(asked, "request_id", None)
    # Without a request of its own (`server.call_tool()` in process) it belongs to whatever runs here.
    taken = RUNNING.get() is not None if of is None else _is_taken(of, request_id)
    call = None if taken else _begin(switch, context.method, _of_fastmcp_context, context, asked, dctx)
    if call is None:
        return await call_next(context)

    def classify(result: Any, error: BaseException | None, running: Running) -> Outcome:
        if error is not None:
            return _of_fastmcp_error(error, running, dctx)
        return _of_fastmcp_answer(result, running.method)

    return await _audited(switch, Running(call, context.method, of), classify, context, call_next)


def _is_taken(of: object, request_id: object) -> bool:
    """Whether a hook, or a middleware further out, is recording this very request."""
    running = RUNNING.get()
    if running is None or running.of is not of:
        return False
    # The object of mcp 2.x is a request's own; the session of 1.x needs the id beside it.
    return str(running.call.invocation.request_id) == str(request_id)


def _begin(switch: Switch, method: str, describe: Callable[..., Invocation], *arguments: Any) -> Call | None:
    try:
        invocation = describe(*arguments)
    except Exception as error:  # another shape of the SDK: said aloud, and recorded with what is left
        switch.problem(f"mcp_audit: who sent {method!r} requests cannot be told: {type(error).__name__}")
        invocation = Invocation(method, received=time.time_ns(), started=time.monotonic_ns())
    return switch.begin(invocation)


async def _audited(switch: Switch, running: Running, classify: Classify, context: Any, call_next: CallNext) -> Any:
    """Run the rest of the chain and journal how it ended, before the answer goes on."""
    call = running.call
    span = get_current_span()
    spanned = not running.spanned and is_valid(span)
    if spanned:
        running.spanned = True
        call.see_span(span)

    def end(outcome: Outcome) -> None:
        if spanned:
            call.mark_span(outcome)
        switch.guarded("recording a request", call.finish, outcome)

    token = RUNNING.set(running)
    tokens = enter_call(call)
    try:
        result = await call_next(context)
    except BaseException as error:
        end(switch.outcome("tool_error", classify, None, error, running))
        if isinstance(error, Exception):
            # It becomes an answer. Never an await for a cancellation, which would be raised again at every one.
            await on_disk(call)
        raise
    else:
        end(switch.outcome("ok", classify, result, None, running))
        await on_disk(call)
        return result
    finally:
        leave(token, tokens)


def _of_mcp_context(context: Any, dctx: Any) -> Invocation:
    connection = getattr(context.session, "_connection", None)
    if dctx is not None and connection is not None:
        return mcp_v2._invocation(connection, dctx, context.method, context.params)
    # What the SDK promises of it: all but the session's id.
    params = context.params if is_mapping(context.params) else {}
    meta = params.get("_meta")
    plain = {name: snapshot(value) for name, value in params.items() if name != "_meta"}
    client = context.session.client_params
    return _invocation(
        context.method,
        plain,
        meta if is_mapping(meta) else {},
        context.request_id,
        getattr(context.request, "scope", None),
        client.client_info if client is not None else None,
        context.protocol_version,
    )


def _request_context(context: Any) -> Any:
    """The SDK's context of the request, in whatever fastmcp has put it; None for a call that passes no wire."""
    return None if context.fastmcp_context is None else context.fastmcp_context.request_context


def _of_fastmcp_context(context: Any, asked: Any, dctx: Any) -> Invocation:
    if asked is None:
        return _invocation(context.method, _message_params(context.message), {}, None, None, None, None)
    meta = mcp_v1._dump(asked.meta)
    client = getattr(asked.session, "client_params", None)
    http = asked.request
    scope = getattr(http, "scope", None)
    version = getattr(asked, "protocol_version", None)
    if scope is not None:
        version = http.headers.get("mcp-protocol-version") or version
    invocation = _invocation(
        context.method,
        _message_params(context.message),
        meta if is_mapping(meta) else {},
        asked.request_id,
        scope,
        (getattr(client, "client_info", None) or getattr(client, "clientInfo", None)) if client is not None else None,
        version or (getattr(client, "protocol_version", None) or getattr(client, "protocolVersion", None)),
    )
    if scope is not None:
        invocation.session_id = http.headers.get("mcp-session-id")
        if dctx is None:
            # On mcp 1.x what is bound here was bound to the request that created the session.
            invocation.bound = scope.get(SCOPE_BOUND) or {}
    elif getattr(context.fastmcp_context, "transport", None) == "stdio":
        invocation.transport = "pipe"
    return invocation


def _invocation(
    method: str,
    params: Mapping[str, Any],
    meta: Mapping[str, Any],
    request_id: str | int | None,
    scope: Mapping[str, Any] | None,
    client: Any,
    version: Any,
) -> Invocation:
    bound = scope.get(SCOPE_BOUND) if scope is not None else None
    return Invocation(
        method=method,
        params=params,
        meta=meta,
        request_id=request_id,
        received=time.time_ns(),
        started=time.monotonic_ns(),
        transport="tcp" if scope is not None else None,
        protocol_version=str(version) if version is not None else None,
        client_name=client.name if client is not None else None,
        client_version=client.version if client is not None else None,
        scope=scope,
        bound=bound if bound is not None else bound_here(),
        context=ambient_or_remote(meta),
    )


def _message_params(message: Any) -> Mapping[str, Any]:
    """The params of what fastmcp hands to its middleware: they themselves, or a request around them."""
    if message is None:
        return {}
    if is_mapping(message):
        params = message.get("params", message) if "method" in message else message
        return {name: snapshot(value) for name, value in params.items() if name != "_meta"} if params else {}
    params = message.params if hasattr(message, "method") and hasattr(message, "params") else message
    return mcp_v1._params(params)


def _of_fastmcp_error(error: BaseException, running: Running, dctx: Any) -> Outcome:
    if not isinstance(error, Exception):
        # fastmcp 2 and 3 do not tell a middleware who ended the task.
        return reasons.cancelled(error, dctx is None or mcp_v2._by_client(dctx))
    if running.method == "tools/call" and not reasons.is_rpc_error(error):
        # What a tool raises becomes an `isError` answer further out.
        return reasons.of_tool_error(error, None, None)
    return reasons.of_exception(error, running.method, None, 0)


def _of_fastmcp_answer(result: Any, method: str) -> Outcome:
    """The outcome of what fastmcp's handlers return: its own types, before they become the protocol's."""
    if is_mapping(result):
        return reasons.of_result(result, method, None, None)
    if getattr(result, "input_required", None) is not None:
        return Outcome("input_required")
    if reasons.says_error(result):
        return reasons.of_tool_error(None, None, lambda: mcp_v1._dump(result))
    if type(result).__name__ == "CreateTaskResult":
        return Outcome("task_created", result=lambda: mcp_v1._dump(result))
    if isinstance(result, (list, tuple)):
        return Outcome("ok", result=lambda: [mcp_v1._dump(item) for item in result], result_count=len(result))
    fields = {name: getattr(result, own, None) for own, name in _FIELDS.items()}
    return Outcome("ok", result=lambda: _wire(result, fields), result_count=reasons.count(fields))


def _wire(result: Any, fields: Mapping[str, Any]) -> Any:
    """fastmcp's result as it will be on the wire, as far as its fields say."""
    told = {
        name: [mcp_v1._dump(item) for item in value] if isinstance(value, (list, tuple)) else value
        for name, value in fields.items()
        if value is not None
    }
    return told or mcp_v1._dump(result)


# What fastmcp calls the parts of its results, and the protocol.
_FIELDS: Final = {
    "content": "content",
    "structured_content": "structuredContent",
    "contents": "contents",
    "messages": "messages",
}
