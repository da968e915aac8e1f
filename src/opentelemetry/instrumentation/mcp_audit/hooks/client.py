# SPDX-License-Identifier: Apache-2.0
"""The caller's view, for those who ask for it: what this process's own MCP clients call, read and get, and how it ended.

Its records are events of their own (``mcp_audit.client_tool_call``) with ``mcp_audit.role`` = ``client``. Server and
client share the trace: mcp 2.x sends the ids of its CLIENT span in ``_meta``, on 1.x the current ones are put there.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import get_current
from opentelemetry.trace import get_current_span

from opentelemetry import propagate
from opentelemetry.instrumentation.mcp_audit.context import bound_here, running_call
from opentelemetry.instrumentation.mcp_audit.record.record import Invocation, Outcome

from . import mcp_v1, reasons
from .running import Switch, Wrapper, on_disk
from .spans import is_valid

if TYPE_CHECKING:
    from opentelemetry.instrumentation.mcp_audit.call import Call

_METHODS: Final = frozenset({"tools/call", "resources/read", "prompts/get"})
# With these codes a client answers itself: nobody said how the request ended. The first is of 2.x, 408 of 1.x.
_TIMEOUTS: Final = frozenset({"-32001", "408"})
_CLOSED: Final = "Connection closed"

# The client's call whose request is on its way out in this context; emptied by the first span that is seen.
_SENDING: Final[ContextVar[list[Any] | None]] = ContextVar("mcp_audit.sending", default=None)


def send_request(switch: Switch) -> Wrapper:
    """Wrapper of ``ClientSession.send_request(self, request, result_type, …)``."""

    async def audited(
        wrapped: Callable[..., Awaitable[Any]], session: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        request = args[0] if args else kwargs.get("request")
        plain = getattr(request, "root", request)
        if not switch.on or getattr(plain, "method", None) not in _METHODS:
            return await wrapped(*args, **kwargs)
        invocation = switch.guarded("reading a client's request", _invocation, session, plain)
        call = None if invocation is None else switch.begin(invocation)
        if call is None:
            return await wrapped(*args, **kwargs)
        if plain is not request:
            traced = switch.guarded("sending the trace's ids", _with_trace, request)
            if traced is not None:
                args, kwargs = ((traced, *args[1:]), kwargs) if args else (args, {**kwargs, "request": traced})
        token = _SENDING.set([call])
        try:
            result = await wrapped(*args, **kwargs)
        except BaseException as error:
            _end(switch, call, switch.outcome("protocol_error", _of_raise, error, invocation.method))
            if isinstance(error, Exception):
                await on_disk(call)
            raise
        else:
            _end(switch, call, switch.outcome("ok", _of_return, result))
            await on_disk(call)
            return result
        finally:
            _leave(token)

    return audited


def inject_trace_context(switch: Switch) -> Wrapper:
    """Wrapper of ``inject_trace_context(meta)`` in mcp 2.x's dispatcher: called inside the CLIENT span it sends the ids of."""

    def seen(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        sending = _SENDING.get()
        if sending:
            # A server in the same process sends requests of its own in a copy of this context: not these.
            call = sending.pop()
            span = get_current_span()
            if is_valid(span):
                call.see_span(span)
        return wrapped(*args, **kwargs)

    return seen


def _leave(token: Any) -> None:
    try:
        _SENDING.reset(token)
    except ValueError:  # a coroutine closed at loop shutdown ends in another context; nothing is left to restore
        return


def _end(switch: Switch, call: Call, outcome: Outcome) -> None:
    switch.guarded("recording a client's request", call.finish, outcome)


def _invocation(session: Any, request: Any) -> Invocation:
    received, started = time.time_ns(), time.monotonic_ns()
    meta = mcp_v1._dump(getattr(request.params, "meta", None))
    client = getattr(session, "_client_info", None)
    version = getattr(session, "protocol_version", None)
    bound = bound_here()
    serving = running_call()
    if serving is not None and "request_id" not in bound:
        # Made by a tool: the same id as on the record of the request that the tool serves.
        bound = {**bound, "request_id": serving.request_id}
    return Invocation(
        method=request.method,
        params=mcp_v1._params(request.params),
        meta=meta if isinstance(meta, Mapping) else {},
        # mcp 1.x takes this one next; 2.x counts where nobody sees it.
        request_id=getattr(session, "_request_id", None),
        received=received,
        started=started,
        protocol_version=str(version) if version is not None else None,
        client_name=getattr(client, "name", None),
        client_version=getattr(client, "version", None),
        bound=bound,
        context=get_current(),
        role="client",
    )


def _with_trace(request: Any) -> Any:
    """mcp 1.x: the request with the current trace's ids in ``_meta`` (SEP-414), None when there are none to send."""
    carrier: dict[str, str] = {}
    if is_valid(get_current_span()):
        propagate.inject(carrier)
    params = request.root.params
    meta = mcp_v1._dump(params.meta)
    if not carrier or "traceparent" in meta:
        return None
    kind = type(params).model_fields["meta"].annotation
    made = next(one for one in (kind, *getattr(kind, "__args__", ())) if hasattr(one, "model_validate"))
    traced = params.model_copy(update={"meta": made.model_validate({**meta, **carrier})})
    return request.model_copy(update={"root": request.root.model_copy(update={"params": traced})})


def _of_return(result: Any) -> Outcome:
    def wire() -> Any:
        return mcp_v1._dump(result)

    if reasons.says_error(result):
        return reasons.of_tool_error(None, None, wire)
    kind = getattr(result, "result_type", None)
    if kind == "input_required":
        return Outcome("input_required", result=wire)
    stub = reasons.is_task_stub(getattr(result, "meta", None))
    if stub or kind == "task" or type(result).__name__ == "CreateTaskResult":
        return Outcome("task_created", result=wire)
    fields = {name: getattr(result, name, None) for name in ("content", "contents", "messages")}
    return Outcome("ok", result=wire, result_count=reasons.count(fields))


def _of_raise(error: BaseException, method: str) -> Outcome:
    if not isinstance(error, Exception):
        return reasons.cancelled(error, True)
    if not reasons.is_rpc_error(error):
        # Of the transport, or an answer that is none: what became of the request nobody knows.
        described = {"type": type(error).__name__, "message": reasons.message_of(error)}
        return Outcome("abandoned", error_type=type(error).__name__, error=described)
    outcome = reasons.of_exception(error, method, None, 0)
    if outcome.status_code in _TIMEOUTS:
        return Outcome("timeout", status_code=outcome.status_code, error=outcome.error)
    if outcome.error is not None and outcome.error.get("message") == _CLOSED:
        return Outcome("abandoned", status_code=outcome.status_code, error=outcome.error)
    return outcome
