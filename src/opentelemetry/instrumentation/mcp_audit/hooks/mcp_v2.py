# SPDX-License-Identifier: Apache-2.0
"""mcp 2.x (and fastmcp 4, which runs on it): every request of every transport passes ``ServerRunner._on_request``.

It gets raw params and returns the final wire mapping or raises, whichever way the request came in (stdio, in memory,
stateful, stateless and 2026-07-28 HTTP). Its outcome is journaled before it returns, which precedes the write.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import get_current_span

from opentelemetry.instrumentation.mcp_audit.context import SCOPE_BOUND, bound_here, enter_call
from opentelemetry.instrumentation.mcp_audit.record.record import Invocation, Outcome

from . import reasons
from .reasons import is_mapping
from .running import RUNNING, UNAUDITED, Running, Switch, Wrapper, leave, leave_unaudited, on_disk
from .snapshot import snapshot
from .spans import ambient_or_remote, is_valid
from .stdio import on_pipe

if TYPE_CHECKING:
    from opentelemetry.instrumentation.mcp_audit.call import Call

# The reserved `_meta` key under which 2026-07-28 requests carry their protocol version. Their unmapped exceptions
# become "internal error" on the wire, those of the handshake era code 0.
_ENVELOPE: Final = "io.modelcontextprotocol/protocolVersion"
_OK: Final = Outcome("ok")


class Exchange:
    """One request on a stream, from its dispatch to the write of its answer.

    ``reached``: whether it got to the runner, where it is audited. ``call``: its audited call, if it has one.
    """

    __slots__ = ("call", "reached", "request_id")

    def __init__(self, request_id: Any) -> None:
        self.request_id = request_id
        self.reached = False
        self.call: Call | None = None


EXCHANGE: Final[ContextVar[Exchange | None]] = ContextVar("mcp_audit.exchange", default=None)


def on_request(switch: Switch) -> Wrapper:
    """Wrapper of ``ServerRunner._on_request(self, dctx, method, params) -> dict``."""

    async def audited(
        wrapped: Callable[..., Awaitable[Any]], runner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if not switch.on:
            return await wrapped(*args, **kwargs)
        asked = args if len(args) == 3 else switch.guarded("reading a request", partial(_arguments, *args, **kwargs))
        dctx, method, params = asked or (None, "", None)
        exchange = EXCHANGE.get()
        # A tool may be another server's client in this very task: that request is not this exchange's.
        if exchange is not None and (exchange.reached or dctx is None or dctx.request_id != exchange.request_id):
            exchange = None
        if exchange is not None:
            exchange.reached = True
        call = _begin(switch, runner, dctx, method, params) if asked else None
        if call is None:
            # Its span is not that of an audited request around it, and what its tool does was asked for by a client.
            outer, served = RUNNING.set(None), UNAUDITED.set(True)
            try:
                return await wrapped(*args, **kwargs)
            finally:
                leave(outer)
                leave_unaudited(served)
        if exchange is not None:
            exchange.call = call
        running = Running(call, method, dctx)
        token = RUNNING.set(running)
        tokens = enter_call(call)
        try:
            result = await wrapped(*args, **kwargs)
        except BaseException as error:
            outcome = switch.outcome("tool_error", _of_raise, error, running, dctx, params)
            switch.guarded("recording a request", call.finish, outcome)
            if isinstance(error, Exception):
                # It becomes an answer. Never an await for a cancellation, which would be raised again at every one.
                await on_disk(call)
            raise
        else:
            switch.guarded("recording a request", call.finish, switch.outcome("ok", _of_end, result, running, dctx))
            await on_disk(call)
            return result
        finally:
            leave(token, tokens)

    return audited


def server_span(switch: Switch) -> Wrapper:
    """Wrapper of ``OpenTelemetryMiddleware.__call__`` and ``FastMCPServerMiddleware.__call__(self, ctx, call_next)``.

    Inside ``call_next`` the current span is the SERVER span that the middleware made; it is seen there, and marked
    before it ends. The server's middleware list is left alone.
    """

    async def spanned(
        wrapped: Callable[..., Awaitable[Any]], middleware: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        running = RUNNING.get()
        # A notification has no id; it can run inside a call's context when it is sent in process by a tool.
        if (
            running is None
            or running.spanned
            or kwargs
            or len(args) != 2
            or getattr(args[0], "request_id", None) is None
        ):
            return await wrapped(*args, **kwargs)
        running.spanned = True
        ctx, call_next = args
        call = running.call

        async def marked(inner: Any) -> Any:
            span = get_current_span()
            if not is_valid(span):
                return await call_next(inner)
            call.see_span(span)
            try:
                result = await call_next(inner)
            except BaseException as error:
                call.mark_span(switch.outcome("tool_error", _of_raise, error, running, None, None))
                raise
            call.mark_span(_OK if _is_plain(result) else switch.outcome("ok", _of_return, result, running))
            return result

        return await wrapped(ctx, marked)

    return spanned


def _arguments(dctx: Any, method: str, params: Mapping[str, Any] | None = None) -> tuple[Any, str, Any]:
    return dctx, method, params


def _begin(switch: Switch, runner: Any, dctx: Any, method: str, params: Any) -> Call | None:
    """Start the audit of a request; None when it gets no record."""
    try:
        if dctx.request_id is None or _is_phantom(dctx, method):
            return None
        invocation = _invocation(runner.connection, dctx, method, params)
    except Exception as error:
        # Nothing in a message can do this, only another shape of the SDK: said aloud, and recorded with what is left.
        switch.problem(f"mcp_audit: who sent {method!r} requests cannot be told: {type(error).__name__}")
        invocation = Invocation(method, received=time.time_ns(), started=time.monotonic_ns())
    return switch.begin(invocation)


def _is_phantom(dctx: Any, method: str) -> bool:
    """Whether the SDK itself makes this request while it handles another one.

    2026-07-28 HTTP lists the tools before a call, under the call's own request id, to check headers against a schema.
    The ``mcp-method`` header names the request that the client really sent.
    """
    if method != "tools/list":
        return False
    headers = dctx.transport.headers
    sent = headers.get("mcp-method") if headers is not None else None
    return sent is not None and sent != method


def _invocation(connection: Any, dctx: Any, method: str, params: Any) -> Invocation:
    made = loose_invocation(dctx, method, params, (time.time_ns(), time.monotonic_ns()))
    client = connection.client_params
    client = client.client_info if client is not None else None
    made.session_id = connection.session_id
    made.protocol_version = connection.protocol_version
    if client is not None:
        made.client_name, made.client_version = client.name, client.version
    return made


def loose_invocation(dctx: Any, method: str, params: Any, came: tuple[int, int]) -> Invocation:
    """A request without what its connection knows. ``came``: when, in nanoseconds of wall and monotonic clock."""
    meta: Any = None
    plain: Mapping[str, Any] = {}
    if is_mapping(params):
        meta = params.get("_meta")
        plain = {name: snapshot(value) for name, value in params.items() if name != "_meta"}
    if not is_mapping(meta):
        meta = {}
    request = getattr(dctx.message_metadata, "request_context", None)
    scope = getattr(request, "scope", None)
    transport = None
    bound = None
    if scope is not None:
        transport = "tcp"
        bound = scope.get(SCOPE_BOUND)
    elif on_pipe():
        transport = "pipe"
    return Invocation(
        method=method,
        params=plain,
        meta=meta,
        request_id=dctx.request_id,
        received=came[0],
        started=came[1],
        transport=transport,  # type: ignore[arg-type]
        scope=scope,
        bound=bound if bound is not None else bound_here(),
        context=ambient_or_remote(meta),
    )


def _is_plain(result: Any) -> bool:
    """Whether an answer is a success like most: known without looking into it."""
    return type(result) is dict and not result.get("isError") and "resultType" not in result and "task" not in result


def _of_end(result: Any, running: Running, dctx: Any) -> Outcome:
    # The SDK never answers a request that its client cancelled, even when the handler would not be stopped.
    if dctx.cancel_requested.is_set():
        return Outcome("cancelled")
    if _is_plain(result):
        return Outcome("ok", result=result, result_count=reasons.count(result))
    return _of_return(result, running)


def _of_return(result: Any, running: Running) -> Outcome:
    if not is_mapping(result):
        # A middleware may answer with the SDK's model; on its way out it becomes the mapping that is classified last.
        failed = getattr(result, "is_error", None) is True
        return reasons.of_tool_error(running.error, running.detail, None) if failed else Outcome("ok")
    return reasons.of_result(result, running.method, running.error, running.detail)


def _of_raise(error: BaseException, running: Running, dctx: Any, params: Any) -> Outcome:
    if isinstance(error, Exception) and not (dctx is not None and dctx.cancel_requested.is_set()):
        return reasons.of_exception(error, running.method, running.error, _unmapped_code(params))
    return Outcome("cancelled") if isinstance(error, Exception) else reasons.cancelled(error, _by_client(dctx))


def _by_client(dctx: Any) -> bool:
    """Whether the client asked for the end: it said so, or it is the very task that was cancelled (in process)."""
    if dctx is None:
        return True
    return bool(dctx.cancel_requested.is_set()) or dctx.transport.kind == "direct"


def _unmapped_code(params: Any) -> int:
    meta = params.get("_meta") if isinstance(params, Mapping) else None
    return reasons.INTERNAL_ERROR if isinstance(meta, Mapping) and _ENVELOPE in meta else 0
