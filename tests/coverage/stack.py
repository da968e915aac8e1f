# SPDX-License-Identifier: Apache-2.0
"""The MCP stack of this environment behind one face: the same server, clients and calls on each of them.

Which stack it is is told by its features. A server here has tools that succeed, fail, answer ``isError``, wait; a
resource, and a prompt.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import BaseModel

V2 = find_spec("mcp.server.runner") is not None
FASTMCP = find_spec("fastmcp") is not None
# fastmcp 3 and 4 make a span for each request themselves, fastmcp 2 does not.
FASTMCP_SPANS = FASTMCP and find_spec("fastmcp.server.telemetry") is not None
MODERN = "2026-07-28"
NAME = ("fastmcp on " if FASTMCP else "") + ("mcp 2.x" if V2 else "mcp 1.x")
# fastmcp 3 and 4 give a tool a time limit.
TOOL_TIMEOUTS = FASTMCP_SPANS
SERVER_SPANS = V2 or FASTMCP_SPANS


def _tokens_name_the_user() -> bool:
    from mcp.server.auth.provider import AccessToken

    return "claims" in AccessToken.model_fields


# Before mcp 1.27.2 the SDK's own access token has a client and no user.
TOKENS_NAME_THE_USER = _tokens_name_the_user()


def _cancels_at_the_end() -> bool:
    if V2:
        return True
    from mcp.server.lowlevel import Server

    return not FASTMCP and "cancel_scope.cancel" in inspect.getsource(Server.run)


# Whether the end of a connection cancels its calls in flight; else they finish (mcp 1.24, fastmcp 2 and 3).
CANCELS_AT_THE_END = _cancels_at_the_end()

TOKENS = {
    "alice-token": {
        "client_id": "app",
        "sub": "alice",
        "scopes": ["read"],
        "iss": "https://issuer.example",
        "jti": "token-1",
        "email": "alice@example.com",
        "tid": "acme",
        "roles": ["nurse"],
        "act": {"sub": "agent-7", "iss": "https://issuer.example"},
    },
    "bob-token": {"client_id": "app", "sub": "bob", "scopes": ["read"], "iss": "https://issuer.example"},
    "dave-token": {"client_id": "another", "sub": "dave", "scopes": ["read"], "iss": "https://issuer.example"},
    # Hers is a good token that lacks the scope which every server here asks for.
    "carol-token": {"client_id": "app", "sub": "carol", "scopes": ["nothing"], "iss": "https://issuer.example"},
}


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def rows() -> list[int]:
    """Three rows."""
    return [1, 2, 3]


def crash() -> str:
    """Fail with a KeyError."""
    raise KeyError("missing")


async def wait() -> str:
    """Wait until cancelled, or for long."""
    await asyncio.sleep(30)
    return "late"


PAUSING = threading.Event()


async def pause(seconds: float = 0.5) -> str:
    """Take long enough to be left alone in, and say that it has begun."""
    PAUSING.set()
    await asyncio.sleep(seconds)
    return "done"


def die() -> str:
    """Kill the process that serves this call."""
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


class Patient(BaseModel):
    """What :func:`untrue` promises to return."""

    age: int


def untrue() -> Patient:
    """Return something else than what was promised."""
    return {"age": "unknown"}  # type: ignore[return-value]


async def bind_inside() -> str:
    """Bind and annotate from inside the tool."""
    from opentelemetry.instrumentation import mcp_audit

    mcp_audit.bind(purpose="treatment")
    mcp_audit.annotate(resources=["patient/1"], data_classes=["phi"])
    return "bound"


def text_resource() -> str:
    """A text."""
    return "text"


def greet(name: str) -> str:
    """A prompt."""
    return f"hello {name}"


def refuse() -> Any:
    """Answer with isError, by whatever way the stack has."""
    if FASTMCP:
        from fastmcp.exceptions import ToolError

        raise ToolError("refused")
    if V2:
        from mcp_types import CallToolResult, TextContent

        return CallToolResult(content=[TextContent(type="text", text="refused")], is_error=True)
    from mcp.types import CallToolResult, TextContent

    return CallToolResult(content=[TextContent(type="text", text="refused")], isError=True)


def server(*, auth: bool = False) -> Any:
    """A new server with everything registered; ``auth``: over HTTP it wants one of :data:`TOKENS`."""
    made = bare_server("coverage", auth=auth)
    for tool in (add, rows, crash, wait, bind_inside, pause, die, untrue):
        made.tool()(tool)
    made.tool(**({} if FASTMCP else {"structured_output": False}))(refuse)
    if TOOL_TIMEOUTS:
        made.tool(name="late", timeout=0.05)(wait)
    made.resource("data://text")(text_resource)
    made.prompt()(greet)
    return made


def bare_server(name: str, *, auth: bool = False) -> Any:
    """A new server with nothing registered."""
    if FASTMCP:
        from fastmcp import FastMCP

        return FastMCP(name, auth=_fastmcp_verifier() if auth else None)
    if V2:
        from mcp.server.mcpserver import MCPServer

        return MCPServer(name, **_auth_settings(auth))
    from mcp.server.fastmcp import FastMCP as SdkFastMCP

    return SdkFastMCP(name, **_auth_settings(auth))


def _fastmcp_verifier() -> Any:
    from fastmcp.server.auth.providers.jwt import StaticTokenVerifier

    verifier = StaticTokenVerifier(TOKENS)
    # Given to it, it would itself refuse a token that lacks the scope, as if it were no good.
    verifier.required_scopes = ["read"]
    verifier.verify_token = StaticTokenVerifier(TOKENS).verify_token
    return verifier


class _Verifier:
    async def verify_token(self, token: str) -> Any:
        return None if token not in TOKENS else _access_token(token, TOKENS[token])


def _access_token(token: str, claims: dict[str, Any]) -> Any:
    from mcp.server.auth.provider import AccessToken

    common = {"token": token, "client_id": claims["client_id"], "scopes": claims["scopes"]}
    if TOKENS_NAME_THE_USER:
        rest = {name: value for name, value in claims.items() if name not in ("sub", "client_id", "scopes")}
        return AccessToken(**common, subject=claims["sub"], claims=rest)

    # Servers on such an SDK that want to know the user add it themselves, as fastmcp does.
    class TokenWithClaims(AccessToken):
        claims: dict[str, Any]

    return TokenWithClaims(**common, claims=claims)


def _auth_settings(auth: bool) -> dict[str, Any]:
    if not auth:
        return {}
    from mcp.server.auth.settings import AuthSettings

    return {
        "auth": AuthSettings(
            issuer_url="http://127.0.0.1:1", resource_server_url="http://127.0.0.1:1", required_scopes=["read"]
        ),
        "token_verifier": _Verifier(),
    }


def asgi_app(made: Any, *, stateless: bool = False, event_store: Any = None) -> Any:
    """The streamable HTTP application of a server, at ``/mcp``. With an event store clients may come back for answers."""
    if FASTMCP:
        return made.http_app(path="/mcp", stateless_http=stateless, event_store=event_store)
    if V2:
        return made.streamable_http_app(stateless_http=stateless, event_store=event_store)
    made._event_store = event_store
    made.settings.stateless_http = stateless
    return made.streamable_http_app()


def guarded_app(made: Any, transport: str = "http-stateful") -> Any:
    """The application of an HTTP transport with its check of Host and Origin on (the SDK's have it on for localhost)."""
    stateless = transport == "http-stateless"
    if not FASTMCP:
        return sse_app(made) if transport == "http-sse" else asgi_app(made, stateless=stateless)
    guard = {"host_origin_protection": True} if guards_host() else {}
    if transport == "http-sse":
        return made.http_app(path="/sse", transport="sse", **guard)
    return made.http_app(path="/mcp", stateless_http=stateless, **guard)


def guards_host() -> bool:
    """Whether the stack checks Host and Origin."""
    if not FASTMCP:
        return True
    from fastmcp.server import http

    return hasattr(http, "HostOriginGuardMiddleware")


def session_managers() -> list[Any]:
    """Every session manager of streamable HTTP in this process."""
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    return [found for found in gc.get_objects() if isinstance(found, StreamableHTTPSessionManager)]


def owns_sessions() -> bool:
    """Whether a session belongs to the client that opened it (from mcp 1.27.2)."""
    from mcp.server.auth.middleware import bearer_auth

    return hasattr(bearer_auth, "authorization_context")


def limits_bodies() -> bool:
    """Whether the SDK refuses bodies that are too large."""
    from mcp.server import streamable_http_manager, transport_security

    return any(
        hasattr(module, "RequestBodyLimitMiddleware") for module in (streamable_http_manager, transport_security)
    )


def header_server() -> Any:
    """A server of mcp 2.x whose tool ``route`` wants its argument ``region`` in the header ``Mcp-Param-Region`` too."""
    from typing import Annotated

    from pydantic import Field

    async def route(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
        return region

    # Not as a string: the SDKs look annotations up among a module's names.
    route.__annotations__ = {
        "region": Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})],
        "return": str,
    }
    made = server()
    made.tool()(route)
    return made


def sse_app(made: Any) -> Any:
    """The HTTP+SSE application of a server (protocol 2024-11-05), at ``/sse``."""
    return made.http_app(path="/sse", transport="sse") if FASTMCP else made.sse_app()


class Caller:
    """One client connection. Every call returns the answer, or the exception that the client got for it."""

    def __init__(self, session: Any, http: Any = None, url: str = "", client: Any = None) -> None:
        self.session = session
        # What an application holds: on 2.x it answers an `input_required` and asks again, which its session does not.
        self.client = client or session
        self.http = http
        self.url = url

    async def tool(self, name: str, arguments: dict[str, Any] | None = None) -> Any:
        return await _answer(self.session.call_tool(name, arguments or {}))

    async def resource(self, uri: str) -> Any:
        from pydantic import AnyUrl

        return await _answer(self.session.read_resource(uri if V2 else AnyUrl(uri)))

    async def prompt(self, name: str, arguments: dict[str, str]) -> Any:
        return await _answer(self.session.get_prompt(name, arguments))

    async def unknown_method(self) -> Any:
        """Send a method that no server has (2.x clients can)."""
        if self.http is None or self.session.protocol_version != MODERN:
            return await _answer(self.session._dispatcher.send_raw_request("no/such", {"_meta": self._envelope()}))
        # Modern HTTP wants the method in a header too, which the client sets for methods it knows.
        return await self.http.post(
            self.url,
            json={"jsonrpc": "2.0", "id": 77, "method": "no/such", "params": {"_meta": self._envelope()}},
            headers={
                "accept": "application/json, text/event-stream",
                "mcp-protocol-version": MODERN,
                "mcp-method": "no/such",
            },
        )

    def _envelope(self) -> dict[str, Any]:
        if self.session.protocol_version != MODERN:
            return {}
        prefix = "io.modelcontextprotocol/"
        return {prefix + "protocolVersion": MODERN, prefix + "clientCapabilities": {}}

    async def cancelled_tool(self, in_flight: Callable[[], Awaitable[None]]) -> None:
        """Call ``wait`` and cancel it, once ``in_flight`` returns, as this generation of clients does."""
        call, ids = self._begin("wait", {})
        await asyncio.sleep(0)  # the call is sent before any other one
        await in_flight()
        await self._cancel(call, ids)

    async def given_up(
        self, name: str, arguments: dict[str, Any], seconds: float, started: Callable[[], bool] | None
    ) -> Any:
        """Call a tool and cancel it ``seconds`` after it has ``started``, None: after it was asked.

        Returns the answer if there was one, else None.
        """
        call, ids = self._begin(name, arguments)
        await asyncio.sleep(0)
        while started is not None and not started() and not call.done():
            await asyncio.sleep(0.002)
        await asyncio.sleep(seconds)
        if call.done():
            return call.result()
        return await self._cancel(call, ids)

    def _begin(self, name: str, arguments: dict[str, Any]) -> tuple[asyncio.Future[Any], list[Any]]:
        """Start a call; the list gets the id that the 1.x client gives its request, which it takes without a pause."""
        ids: list[Any] = []

        async def call() -> Any:
            ids.append(getattr(self.session, "_request_id", None))
            return await self.tool(name, arguments)

        return asyncio.ensure_future(call()), ids

    async def _cancel(self, call: asyncio.Future[Any], ids: list[Any]) -> Any:
        """Cancel a call in flight; the answer that came all the same, None without one."""
        if V2:
            call.cancel()
            (answer,) = await asyncio.gather(call, return_exceptions=True)
            return None if isinstance(answer, BaseException) else answer
        # The 1.x client sends nothing of its own accord, and takes the server's word for the end of the call.
        from mcp.types import CancelledNotification, CancelledNotificationParams, ClientNotification

        params = CancelledNotificationParams(requestId=ids[0], reason="enough")
        notification = CancelledNotification(method="notifications/cancelled", params=params)
        await self.session.send_notification(ClientNotification(notification))
        answer = await call
        return None if isinstance(answer, Exception) else answer


async def _answer(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except Exception as error:
        return error


@asynccontextmanager
async def in_memory(made: Any, *, modern: bool = False, **client: Any) -> AsyncIterator[Caller]:
    """A client and the server in this process. ``client``: what it answers when it is asked, as for all below."""
    low = _lowlevel(made)
    if V2:
        from mcp.client import Client

        async with Client(low, mode="auto" if modern else "legacy", **client) as connected:
            yield Caller(connected.session, client=connected)
    else:
        from mcp.shared.memory import create_connected_server_and_client_session

        async with AsyncExitStack() as exits:
            if FASTMCP:
                await exits.enter_async_context(made._lifespan_manager())
            yield Caller(await exits.enter_async_context(create_connected_server_and_client_session(low, **client)))


def _lowlevel(made: Any) -> Any:
    for name in ("_mcp_server", "_lowlevel_server"):
        if hasattr(made, name):
            return getattr(made, name)
    return made


@asynccontextmanager
async def over_http(url: str, headers: dict[str, str], *, modern: bool = False, **client: Any) -> AsyncIterator[Caller]:
    """A client of a server at ``url``. ``Caller.http.headers`` can be changed between calls.

    Nothing is verified because nothing is encrypted: to load the certificates costs more than the calls.
    """
    from mcp.client.streamable_http import streamable_http_client

    if V2:
        import httpx2 as httpx
        from mcp.client import Client

        async with httpx.AsyncClient(headers=headers, timeout=30, verify=False) as http:
            transport = streamable_http_client(url, http_client=http)
            async with Client(transport, mode=MODERN if modern else "legacy", **client) as connected:
                yield Caller(connected.session, http, url, connected)
    else:
        import httpx
        from mcp import ClientSession

        async with (
            httpx.AsyncClient(headers=headers, timeout=30, verify=False) as http,
            streamable_http_client(url, http_client=http) as (read, write, _),
            ClientSession(read, write, read_timeout_seconds=timedelta(seconds=30), **client) as session,
        ):
            await session.initialize()
            yield Caller(session, http, url)


@asynccontextmanager
async def over_sse(url: str, headers: dict[str, str], **client: Any) -> AsyncIterator[Caller]:
    """A client of the HTTP+SSE transport of a server."""
    from mcp.client.sse import sse_client

    if V2:
        from mcp.client import Client

        async with Client(sse_client(url, headers=headers), mode="legacy", **client) as connected:
            yield Caller(connected.session, client=connected)
    else:
        from mcp import ClientSession

        async with sse_client(url, headers=headers) as (read, write), ClientSession(read, write, **client) as session:
            await session.initialize()
            yield Caller(session)


@asynccontextmanager
async def over_stdio(
    command: list[str], env: dict[str, str], *, modern: bool = False, **client: Any
) -> AsyncIterator[Caller]:
    """A client of a server process on its stdin and stdout."""
    from mcp.client.stdio import StdioServerParameters, stdio_client

    parameters = StdioServerParameters(command=command[0], args=command[1:], env=env)
    if V2:
        from mcp.client import Client

        async with Client(stdio_client(parameters), mode=MODERN if modern else "legacy", **client) as connected:
            yield Caller(connected.session, client=connected)
    else:
        from mcp import ClientSession

        async with stdio_client(parameters) as (read, write), ClientSession(read, write, **client) as session:
            await session.initialize()
            yield Caller(session)


def run_stdio() -> None:
    """Serve on stdin and stdout (this file is also the server process's main script)."""
    serve_stdio(server())


def serve_stdio(made: Any) -> None:
    """Serve on stdin and stdout until the client is gone."""
    if FASTMCP:
        made.run(transport="stdio", show_banner=False)
    else:
        made.run(transport="stdio")


def serve_http(made: Any, transport: str, port_file: Path) -> None:
    """Serve over HTTP as a process of its own, on a free port that is told in ``port_file`` once it is open."""
    import uvicorn

    app = sse_app(made) if transport == "http-sse" else asgi_app(made, stateless=transport == "http-stateless")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port_file.with_suffix(".new").write_text(str(listener.getsockname()[1]))
        port_file.with_suffix(".new").rename(port_file)
        config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    if len(sys.argv) == 4:
        # launcher.py stack.py TRANSPORT PORT_FILE
        serve_http(server(), sys.argv[2], Path(sys.argv[3]))
    else:
        run_stdio()
