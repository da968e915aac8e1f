# SPDX-License-Identifier: Apache-2.0
"""What is wrapped in the MCP SDKs, one row each. How it is put on and taken off: ``install.py``.

Nothing of an SDK is imported here, and of our own wrappers only those whose hook is put on.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from .running import Switch, Wrapper

Stack = Literal["mcp 2.x", "mcp 1.x", "mcp", "fastmcp"]


@dataclass(frozen=True, slots=True)
class Row:
    """One wrapped thing.

    ``needed``: without it requests of this stack would go unaudited, which is said aloud. ``copied``: a function that
    other modules import by name; there the name is changed too. ``client``: put on only where the caller's view is
    asked for.
    """

    module: str
    attribute: str
    wrapper: Callable[[Switch], Wrapper]
    stack: Stack
    needed: bool = False
    copied: bool = False
    client: bool = False


RUNNER: Final = "mcp.server.runner"
LOWLEVEL: Final = "mcp.server.lowlevel.server"
DISPATCHER: Final = "mcp.shared.jsonrpc_dispatcher"

AUTH: Final = "mcp.server.auth.middleware.bearer_auth"
MANAGER: Final = "mcp.server.streamable_http_manager"
MODERN: Final = "mcp.server._streamable_http_modern"
TRANSPORT: Final = "mcp.server.streamable_http"
SESSION: Final = "mcp.server.session"
TASK: Final = "mcp.server.experimental.task_context"
# What of a task asks the client; `asked.py` knows the method of each.
ASKING: Final = ("elicit", "elicit_url", "elicit_as_task", "create_message", "create_message_as_task")


def _from(module: str, name: str) -> Callable[[Switch], Wrapper]:
    """A wrapper of one of our modules, which is imported when its hook is put on: most processes need few of them."""

    def made(switch: Switch) -> Wrapper:
        wrapper: Wrapper = getattr(importlib.import_module(f".{module}", __package__), name)(switch)
        return wrapper

    return made


def _both(outer: Callable[[Switch], Wrapper], inner: Callable[[Switch], Wrapper]) -> Callable[[Switch], Wrapper]:
    """Two wrappers of one thing: it is put on and taken off as one."""

    def made(switch: Switch) -> Wrapper:
        outside, inside = outer(switch), inner(switch)

        def both(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return outside(lambda *args_, **kwargs_: inside(wrapped, instance, args_, kwargs_), instance, args, kwargs)

        return both

    return made


def _refusals(tap: str) -> Callable[[Switch], Wrapper]:
    return _from("refusals_http", tap)


ROWS: Final[tuple[Row, ...]] = (
    Row(RUNNER, "ServerRunner._on_request", _from("mcp_v2", "on_request"), "mcp 2.x", needed=True),
    Row(LOWLEVEL, "Server._handle_request", _from("mcp_v1", "handle_request"), "mcp 1.x", needed=True),
    Row("mcp.server._otel", "OpenTelemetryMiddleware.__call__", _from("mcp_v2", "server_span"), "mcp 2.x"),
    Row("mcp.server.mcpserver.server", "MCPServer.call_tool", _from("fastmcp", "call_tool"), "mcp 2.x"),
    Row(LOWLEVEL, "Server._make_error_result", _from("mcp_v1", "make_error_result"), "mcp 1.x"),
    Row("mcp.server.stdio", "stdio_server", _from("stdio", "stdio_server"), "mcp", copied=True),
    Row(
        TRANSPORT,
        "StreamableHTTPServerTransport.handle_request",
        _both(_refusals("transport"), _both(_from("delivery", "until_over"), _from("http", "asgi_entry"))),
        "mcp",
    ),
    Row(
        "mcp.server.sse",
        "SseServerTransport.handle_post_message",
        _both(_refusals("sse_post"), _from("http", "asgi_entry")),
        "mcp",
    ),
    Row(
        "mcp.server.sse",
        "SseServerTransport.connect_sse",
        _both(_refusals("sse_connect"), _from("delivery", "connection")),
        "mcp",
    ),
    Row(AUTH, "RequireAuthMiddleware.__call__", _refusals("auth"), "mcp"),
    Row(MANAGER, "StreamableHTTPASGIApp.__call__", _refusals("transport"), "mcp 2.x"),
    Row(MANAGER, "StreamableHTTPSessionManager.handle_request", _refusals("transport"), "mcp"),
    Row(MANAGER, "StreamableHTTPSessionManager._handle_stateful_request", _refusals("stateful"), "mcp"),
    Row("mcp.server.transport_security", "RequestBodyLimitMiddleware.__call__", _refusals("body_limit"), "mcp"),
    Row(MODERN, "handle_modern_request", _refusals("modern"), "mcp 2.x", copied=True),
    Row(SESSION, "ServerSession._receive_loop", _from("wire_v1", "receive_loop"), "mcp 1.x"),
    Row(DISPATCHER, "JSONRPCDispatcher._handle_request", _from("wire_v2", "handle_request"), "mcp 2.x"),
    Row(DISPATCHER, "JSONRPCDispatcher._write", _from("wire_v2", "write"), "mcp 2.x"),
    Row(SESSION, "ServerSession.send_request", _from("asked", "send_request"), "mcp"),
    *(Row(TASK, f"ServerTaskContext.{name}", _from("asked", "in_task"), "mcp 1.x") for name in ASKING),
    Row(TRANSPORT, "StreamableHTTPServerTransport._create_event_data", _from("delivery", "as_text"), "mcp"),
    Row(TRANSPORT, "StreamableHTTPServerTransport._create_json_response", _from("delivery", "as_text"), "mcp"),
    Row("mcp.server.fastmcp.server", "FastMCP.call_tool", _from("fastmcp", "call_tool"), "mcp 1.x"),
    Row("fastmcp.server.low_level", "FastMCPServerMiddleware.__call__", _from("mcp_v2", "server_span"), "fastmcp"),
    Row("fastmcp.server.server", "FastMCP.call_tool", _from("fastmcp", "call_tool"), "fastmcp"),
    Row("fastmcp.server.server", "server_span", _from("fastmcp", "server_span"), "fastmcp"),
    Row("fastmcp.server.auth.middleware", "RequireAuthMiddleware.__call__", _refusals("auth"), "fastmcp"),
    Row("fastmcp.server.http", "HostOriginGuardMiddleware.__call__", _refusals("guard"), "fastmcp"),
    Row(
        "mcp.client.session",
        "ClientSession.send_request",
        _from("client", "send_request"),
        "mcp",
        needed=True,
        client=True,
    ),
    Row(DISPATCHER, "inject_trace_context", _from("client", "inject_trace_context"), "mcp 2.x", client=True),
)
