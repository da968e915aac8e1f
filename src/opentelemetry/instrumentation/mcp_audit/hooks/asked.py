# SPDX-License-Identifier: Apache-2.0
"""What a server asks its client: elicitation (of the user), sampling (of the model), roots. One record each.

Both SDK generations send it through ``ServerSession.send_request`` and wait there for the answer. The record says
``mcp_audit.initiator`` = ``server`` and shares the call id of the request that runs where it is asked.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from opentelemetry.instrumentation.mcp_audit.context import bound_here, running_call
from opentelemetry.instrumentation.mcp_audit.record.record import Invocation, Outcome

from . import reasons
from .running import Switch, Wrapper, on_disk
from .stdio import on_pipe

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
        call = switch.guarded("reading what the server asks", _begin, switch, session, request)
        if call is None:
            return await wrapped(*args, **kwargs)
        try:
            result = await wrapped(*args, **kwargs)
        except BaseException as error:
            outcome = switch.outcome("protocol_error", _of_raise, error, call.invocation.method)
            switch.guarded("recording what the server asked", call.finish, outcome)
            raise
        switch.guarded("recording what the server asked", call.finish, Outcome("ok", result=partial(_wire, result)))
        await on_disk(call)
        return result

    return asked


def _begin(switch: Switch, session: Any, request: Any) -> Any:
    asked = getattr(request, "root", request)
    question = {
        "method": asked.method,
        "params": {"arguments": _asked(asked)},
        "meta": {},
        "request_id": getattr(session, "_request_id", None),
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
    dump = getattr(model, "model_dump", None)
    return model if dump is None else dump(mode="json", by_alias=True, exclude_none=True)


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
