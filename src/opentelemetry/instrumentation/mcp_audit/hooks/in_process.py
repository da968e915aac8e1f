# SPDX-License-Identifier: Apache-2.0
"""A tool called by code of the server's own process, ``await server.call_tool(…)``, on no wire: one record.

It says ``mcp_audit.initiator`` = ``process`` and has no transport, session or request id. What is called while a
client's request runs belongs to that request and has no record of its own.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from opentelemetry.instrumentation.mcp_audit.context import bound_here, enter_call
from opentelemetry.instrumentation.mcp_audit.record.record import Invocation, Outcome

from . import reasons
from .running import RUNNING, UNAUDITED, Running, Switch, leave, leave_unaudited, on_disk
from .snapshot import snapshot
from .spans import ambient_or_remote


async def audited(
    switch: Switch, wrapped: Callable[..., Awaitable[Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Call a server's ``call_tool`` that no request of a client is behind."""
    call = switch.guarded("reading a call in process", _begin, switch, args, kwargs)
    if call is None:
        served = UNAUDITED.set(True)
        try:
            return await wrapped(*args, **kwargs)
        finally:
            leave_unaudited(served)
    running = Running(call, "tools/call")
    running.inside_tool = True
    token, tokens = RUNNING.set(running), enter_call(call)
    try:
        result = await wrapped(*args, **kwargs)
    except BaseException as error:
        switch.guarded("recording a call in process", call.finish, switch.outcome("tool_error", _of_raise, error))
        raise
    else:
        switch.guarded("recording a call in process", call.finish, switch.outcome("ok", _of_result, result))
        await on_disk(call)
        return result
    finally:
        leave(token, tokens)


def _begin(switch: Switch, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = args[0] if args else kwargs.get("name")
    arguments = args[1] if len(args) > 1 else kwargs.get("arguments")
    return switch.begin(
        Invocation(
            "tools/call",
            {"name": name, "arguments": snapshot(arguments if arguments is not None else {})},
            received=time.time_ns(),
            started=time.monotonic_ns(),
            bound=bound_here(),
            context=ambient_or_remote({}),
            initiator="process",
        )
    )


def _of_result(result: Any) -> Outcome:
    wire = partial(_wire, result)
    if getattr(result, "is_error", getattr(result, "isError", None)) is True:
        return reasons.of_tool_error(None, None, wire)
    if isinstance(result, tuple) and len(result) == 2:
        result = result[1]  # mcp 1.x: content and what is structured
    structured = getattr(result, "structured_content", result)
    if not isinstance(structured, Mapping):
        return Outcome("ok", result=wire)
    return Outcome("ok", result=wire, result_count=reasons.count({"structuredContent": structured}))


def _wire(result: Any) -> Any:
    """What was returned, as plain as its models make it."""
    dump = getattr(result, "model_dump", None)
    if dump is not None:
        return dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(result, (list, tuple)):
        return [_wire(item) for item in result]
    content = getattr(result, "content", None)
    if content is None:
        return result
    return {"content": _wire(content), "structuredContent": getattr(result, "structured_content", None)}


def _of_raise(error: BaseException) -> Outcome:
    if not isinstance(error, Exception):
        return reasons.cancelled(error, True)
    return reasons.of_tool_error(error, None, None)
