# SPDX-License-Identifier: Apache-2.0
"""Why a tool call failed (mcp 2.x ``MCPServer`` and fastmcp 4), and the span that fastmcp 3 makes inside dispatch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from opentelemetry.trace import Span

from opentelemetry.instrumentation.mcp_audit.record.attributes import Detail
from opentelemetry.instrumentation.mcp_audit.record.record import Outcome

from . import in_process, reasons
from .running import RUNNING, UNAUDITED, Running, Switch, Wrapper
from .spans import is_valid


def call_tool(switch: Switch) -> Wrapper:
    """Wrapper of ``MCPServer.call_tool`` and ``FastMCP.call_tool``: what the outermost one of a request raised.

    fastmcp calls itself once more for every request, and tools call other tools in process; what those raise may be
    caught and is no reason for the answer. A call that no request is behind is audited here: :mod:`.in_process`.
    """

    async def seen(
        wrapped: Callable[..., Awaitable[Any]], server: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        running = RUNNING.get()
        if running is None and switch.on and not UNAUDITED.get():
            return await in_process.audited(switch, wrapped, args, kwargs)
        if running is None or running.inside_tool or running.method != "tools/call":
            return await wrapped(*args, **kwargs)
        running.inside_tool = True
        try:
            return await wrapped(*args, **kwargs)
        except Exception as error:
            running.saw(error)
            raise
        finally:
            running.inside_tool = False

    return seen


def server_span(switch: Switch) -> Wrapper:
    """Wrapper of ``server_span(name, method, …)`` in ``fastmcp.server.server``: a context manager that yields the span.

    fastmcp 3 opens and ends its SERVER span inside dispatch, where no outer hook sees it. In fastmcp 4 the span was
    seen before and this does nothing.
    """

    def seen(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        manager = wrapped(*args, **kwargs)
        running = RUNNING.get()
        # fastmcp lists its tools on the way of a call: that span is of another method.
        if running is None or running.spanned or running.method not in (*args[1:2], kwargs.get("method")):
            return manager
        running.spanned = True
        return _Seen(manager, running, switch)

    return seen


class _Seen(AbstractContextManager[Span]):
    """fastmcp's context manager of a span, which is marked before the span ends."""

    def __init__(self, manager: Any, running: Running, switch: Switch) -> None:
        self._manager = manager
        self._running = running
        self._switch = switch

    def __enter__(self) -> Span:
        span: Span = self._manager.__enter__()
        if is_valid(span):
            self._running.call.see_span(span)
        return span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any:
        fallback: Detail = "ok" if error is None else "tool_error"
        self._running.call.mark_span(self._switch.outcome(fallback, _outcome, error, self._running.method))
        return self._manager.__exit__(kind, error, trace)


def _outcome(error: BaseException | None, method: str) -> Outcome:
    if error is None:
        return Outcome("ok")
    if not isinstance(error, Exception):
        return reasons.cancelled(error, True)
    if method == "tools/call":
        # What a tool raises becomes an `isError` answer further out.
        return reasons.of_tool_error(error, None, None)
    return reasons.of_exception(error, method, None, 0)
