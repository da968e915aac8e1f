# SPDX-License-Identifier: Apache-2.0
"""What a server asks its client: elicitation (of the user), sampling (of the model), roots. One record each.

Both SDK generations send it through ``ServerSession.send_request`` and wait there for the answer; the tasks of mcp 1.x put
it in a queue instead, and wait in ``ServerTaskContext``. The record says ``mcp_audit.initiator`` = ``server`` and shares
the call id of the request that runs where it is asked.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.instrumentation.mcp_audit.context import bound_here, running_call
from opentelemetry.instrumentation.mcp_audit.record.record import Invocation, Outcome

from . import reasons
from .running import Switch, Wrapper, on_disk
from .stdio import on_pipe

if TYPE_CHECKING:
    from opentelemetry.instrumentation.mcp_audit.call import Call

# What a task can ask, by the method of `ServerTaskContext`.
IN_TASK: Final = {
    "elicit": "elicitation/create",
    "elicit_url": "elicitation/create",
    "elicit_as_task": "elicitation/create",
    "create_message": "sampling/createMessage",
    "create_message_as_task": "sampling/createMessage",
}
# What a session gives a question whose time is over, and one whose connection has ended.
_REQUEST_TIMEOUT: Final = (408, -32001)
_CONNECTION_CLOSED: Final = -32000


def send_request(switch: Switch) -> Wrapper:
    """Wrapper of ``ServerSession.send_request(self, request, result_type, …)``."""

    async def asked(
        wrapped: Callable[..., Awaitable[Any]], session: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if not switch.on:
            return await wrapped(*args, **kwargs)
        request = args[0] if args else kwargs.get("request")
        call = switch.guarded("reading what the server asks", _of_request, switch, session, request)
        return await _answered(switch, call, partial(wrapped, *args, **kwargs))

    return asked


def in_task(switch: Switch) -> Wrapper:
    """Wrapper of the methods of ``ServerTaskContext`` that ask the client (mcp 1.x), by their names in ``IN_TASK``."""

    async def asked(
        wrapped: Callable[..., Awaitable[Any]], task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if not switch.on:
            return await wrapped(*args, **kwargs)
        call = switch.guarded("reading what a task asks", _of_task, switch, wrapped, args, kwargs)
        return await _answered(switch, call, partial(wrapped, *args, **kwargs))

    return asked


async def _answered(switch: Switch, call: Call | None, ask: Callable[[], Awaitable[Any]]) -> Any:
    if call is None:
        return await ask()
    try:
        result = await ask()
    except BaseException as error:
        outcome = switch.outcome("protocol_error", _of_raise, error, call.invocation.method)
        switch.guarded("recording what the server asked", call.finish, outcome)
        raise
    switch.guarded("recording what the server asked", call.finish, Outcome("ok", result=partial(_wire, result)))
    await on_disk(call)
    return result


def _of_request(switch: Switch, session: Any, request: Any) -> Call | None:
    asked = getattr(request, "root", request)
    return _begin(switch, asked.method, _asked(asked), getattr(session, "_request_id", None))


def _of_task(switch: Switch, wrapped: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
    given = inspect.signature(wrapped).bind(*args, **kwargs).arguments
    arguments = {_camel(name): _wire(value) for name, value in given.items() if value is not None}
    return _begin(switch, IN_TASK[wrapped.__name__], arguments, None)


def _begin(switch: Switch, method: str, arguments: Mapping[str, Any], request_id: Any) -> Call | None:
    question: dict[str, Any] = {
        "method": method,
        "params": {"arguments": arguments},
        "meta": {},
        "request_id": request_id,
        "received": time.time_ns(),
        "started": time.monotonic_ns(),
        "initiator": "server",
    }
    outer = running_call()
    if outer is None:
        return switch.begin(Invocation(**question, transport="pipe" if on_pipe() else None, bound=bound_here()))
    return switch.begin(replace(outer.invocation, **question, call_id=outer.call_id, bound=outer.bound))


def _asked(asked: Any) -> Mapping[str, Any]:
    """Everything that is asked, as on the wire, without ``_meta``."""
    params = _wire(getattr(asked, "params", None))
    return {name: value for name, value in params.items() if name != "_meta"} if isinstance(params, Mapping) else {}


def _wire(model: Any) -> Any:
    if isinstance(model, list):
        return [_wire(each) for each in model]
    dump = getattr(model, "model_dump", None)
    return model if dump is None else dump(mode="json", by_alias=True, exclude_none=True)


def _camel(name: str) -> str:
    """A parameter's name as the protocol has it: ``max_tokens`` is ``maxTokens``."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _of_raise(error: BaseException, method: str) -> Outcome:
    if not isinstance(error, Exception):
        # The call around it ended, and with it the waiting for an answer.
        return reasons.cancelled(error, True)
    outcome = reasons.of_exception(error, method, None, 0)
    code = outcome.status_code
    if code is not None and int(code) in _REQUEST_TIMEOUT:
        return Outcome("timeout", status_code=code, error=outcome.error)
    if code == str(_CONNECTION_CLOSED):
        return Outcome("client_gone", status_code=code, error=outcome.error)
    return outcome
