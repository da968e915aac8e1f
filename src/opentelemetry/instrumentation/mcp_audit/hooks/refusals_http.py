# SPDX-License-Identifier: Apache-2.0
"""See what is refused before dispatch: the status of an answer, on its way out of the ASGI callables that may refuse.

Each of them may be the outermost that we see (the guard of fastmcp, authentication, the session manager, a transport used
alone); that one watches ``send``, those inside it only say that they were reached. What is asked and what is answered
pass through unchanged; the request's body is never read.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from opentelemetry.context import get_current

from opentelemetry.instrumentation.mcp_audit.context import bound_here
from opentelemetry.instrumentation.mcp_audit.record.attributes import UNKNOWN_METHOD
from opentelemetry.instrumentation.mcp_audit.record.record import Invocation
from opentelemetry.instrumentation.mcp_audit.record.refusal import Refusal

from .exchange import SCOPE_EXCHANGE, Exchange, Layer, found
from .refused import Decision, decide, header, needs_body, refusing, session_id
from .running import Switch, Wrapper

Send = Callable[[Any], Awaitable[None]]


def guard(switch: Switch) -> Wrapper:
    """Wrapper of fastmcp's ``HostOriginGuardMiddleware.__call__(self, scope, receive, send)``."""
    return _asgi(switch, "guard")


def auth(switch: Switch) -> Wrapper:
    """Wrapper of ``RequireAuthMiddleware.__call__(self, scope, receive, send)``, the SDK's and fastmcp's."""
    return _asgi(switch, "auth")


def transport(switch: Switch) -> Wrapper:
    """Wrapper of what serves MCP over HTTP: session manager, transport."""
    return _asgi(switch, "transport")


def body_limit(switch: Switch) -> Wrapper:
    """Wrapper of ``RequestBodyLimitMiddleware.__call__(self, scope, receive, send)``, which stands around either transport.

    An application that was built before the hooks were put on holds the HTTP+SSE transport's method as it was; here it is
    still seen.
    """
    return _asgi(switch, "transport", sse=_sse_within)


def sse_post(switch: Switch) -> Wrapper:
    """Wrapper of ``SseServerTransport.handle_post_message(self, scope, receive, send)``."""
    return _asgi(switch, "transport", sse=lambda instance: instance)


def sse_connect(switch: Switch) -> Wrapper:
    """Wrapper of ``SseServerTransport.connect_sse(self, scope, receive, send) -> async context manager``."""

    def watched(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        entered = _enter(args, kwargs, "transport") if switch.on else None
        if entered is None:
            return wrapped(*args, **kwargs)
        exchange, watched_arguments = entered
        exchange.sse = instance
        if watched_arguments is None:
            return wrapped(*args, **kwargs)
        scope, receive, send = watched_arguments
        return wrapped(scope, receive, _Watched(switch, exchange, send))

    return watched


def stateful(switch: Switch) -> Wrapper:
    """Wrapper of ``StreamableHTTPSessionManager._handle_stateful_request(self, scope, receive, send)``."""

    def seen(wrapped: Callable[..., Any], manager: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        exchange = found(args[0] if args else kwargs.get("scope")) if switch.on else None
        if exchange is not None:
            exchange.manager = manager
        return wrapped(*args, **kwargs)

    return seen


def modern(switch: Switch) -> Wrapper:
    """Wrapper of ``handle_modern_request(app, …, scope, receive, send)``, which serves 2026-07-28."""

    def seen(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        exchange = found(args[-3] if len(args) >= 3 else kwargs.get("scope")) if switch.on else None
        if exchange is not None:
            exchange.modern = True
        return wrapped(*args, **kwargs)

    return seen


def _asgi(switch: Switch, layer: Layer, *, sse: Callable[[Any], Any] | None = None) -> Wrapper:
    def watched(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        entered = _enter(args, kwargs, layer) if switch.on else None
        if entered is None:
            return wrapped(*args, **kwargs)
        exchange, watched_arguments = entered
        if sse is not None and exchange.sse is None:
            exchange.sse = sse(instance)
        if watched_arguments is None:
            return wrapped(*args, **kwargs)
        scope, receive, send = watched_arguments
        return wrapped(scope, receive, _Watched(switch, exchange, send))

    return watched


def _sse_within(limit: Any) -> Any:
    within = getattr(getattr(limit, "app", None), "__self__", None)
    return within if hasattr(within, "_read_stream_writers") else None


def _enter(
    args: tuple[Any, ...], kwargs: dict[str, Any], layer: Layer
) -> tuple[Exchange, tuple[MutableMapping[str, Any], Any, Send] | None] | None:
    """The exchange of this HTTP request, and the call's arguments if this is where it is seen first; None for no HTTP."""
    scope: Any = args[0] if args else kwargs.get("scope")
    exchange = found(scope)
    if exchange is not None:
        exchange.layer, exchange.scope = layer, scope
        return exchange, None
    if not isinstance(scope, MutableMapping) or scope.get("type") != "http":
        return None
    if kwargs or len(args) != 3:
        if len(args) + len(kwargs) != 3 or not kwargs.keys() <= {"scope", "receive", "send"}:
            return None  # a mistake, which the application's own function tells best
        names = ("scope", "receive", "send")
        args = (*args, *(kwargs[name] for name in names[len(args) :]))
    exchange = scope[SCOPE_EXCHANGE] = Exchange(scope, layer)
    return exchange, (scope, args[1], args[2])


class _Watched:
    """``send``, with the answer's beginning looked at before it goes out; to whoever compares it, it is ``send``."""

    __slots__ = ("_exchange", "_send", "_switch")

    def __init__(self, switch: Switch, exchange: Exchange, send: Send) -> None:
        self._switch = switch
        self._exchange = exchange
        self._send = send

    def __call__(self, message: Any) -> Awaitable[None]:
        exchange = self._exchange
        if not exchange.settled:
            status = message.get("status") if type(message) is dict else None
            if type(status) is int and status < 400:
                exchange.settled = True  # like most
            else:
                self._switch.guarded("looking at an answer", _look, self._switch, exchange, message)
        return self._send(message)

    def __eq__(self, other: object) -> bool:
        return bool(self._send == other)

    def __hash__(self) -> int:
        return hash(self._send)


def _look(switch: Switch, exchange: Exchange, message: Any) -> None:
    if message["type"] == "http.response.start":
        status = int(message["status"])
        if not refusing(exchange, status):
            exchange.settled = True
        elif needs_body(exchange, status):
            exchange.status = status
        else:
            _refused(switch, exchange, status, b"")
    elif exchange.status is not None:
        body = message.get("body", b"")
        _refused(switch, exchange, exchange.status, body if isinstance(body, bytes) else b"")


def _refused(switch: Switch, exchange: Exchange, status: int, body: bytes) -> None:
    exchange.settled = True
    # Before the auditor is asked: the first one is only built then.
    duration = time.monotonic_ns() - exchange.started
    try:
        decision = decide(exchange, status, body)
    except Exception as error:  # an SDK of another shape: it was refused all the same
        switch.problem(f"mcp_audit: why a request was refused could not be told: {type(error).__name__}")
        decision = Decision("protocol", f"http_{status}")
    if decision is None:
        return
    scope = exchange.scope
    # The method as a header names it: modern requests have to, and the body is not ours to read.
    invocation = Invocation(
        header(scope, b"mcp-method") or UNKNOWN_METHOD,
        received=exchange.received,
        started=exchange.started,
        transport="tcp",
        session_id=session_id(exchange),
        protocol_version=header(scope, b"mcp-protocol-version"),
        scope=scope,
        bound=bound_here(),
        context=get_current(),
    )
    switch.refuse(Refusal(invocation, status, decision.by, decision.reason, duration))
