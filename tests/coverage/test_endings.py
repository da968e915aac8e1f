# SPDX-License-Identifier: Apache-2.0
"""Calls that end without their client, or with their process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import stack
from outcomes import TRANSPORTS
from serving import serving
from test_matrix import TOOL, Trail, check, connected, journal_records

from opentelemetry.instrumentation.mcp_audit.testing import capture_audit

pytestmark = pytest.mark.timeout(90)
HERE = Path(__file__).parent


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param.endswith("modern") and not stack.V2:
        pytest.skip(f"{stack.NAME} does not speak {stack.MODERN}")
    yield request.param


@pytest.mark.cell("client gone")
async def test_a_client_that_goes_with_a_call_in_flight(transport: str, tmp_path: Path) -> None:
    if transport == "memory-modern":
        pytest.skip("a client that calls the server's own code can cancel a call, and cannot leave it alone")
    # Where the SDK does not notice, or lets a tool finish, the call succeeds for nobody.
    finishes = transport == "http-stateful" or (not stack.CANCELS_AT_THE_END and transport != "memory")
    # A second and a half is enough to see that a POST was given up; a server that is stopped waits for one second.
    arguments = {"seconds": 1.5 if transport == "http-stateful" else 0.5 if finishes else 20}
    stack.PAUSING.clear()
    async with AsyncExitStack() as exits:
        caller, trail = await exits.enter_async_context(connected(transport, tmp_path))
        if transport.startswith("http") and transport != "http-sse":
            await hang_up(caller, transport, arguments)
        else:
            call = asyncio.ensure_future(caller.tool("pause", arguments))
            await asyncio.sleep(0)
            # The tool has begun when a later request was answered.
            await caller.tool("add", {"a": 1, "b": 1})
            if not stack.V2:
                # Tells the server nothing on 1.x, whose client would wait for the answer before it goes.
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)
            await exits.aclose()
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        found = [one for one in await trail.wait_for(1)]
        lost = [] if transport != "http-stateful" or trail.lost is None else await trail.lost.wait_for(1)
    (record,) = [one for one in found if one.get("gen_ai.tool.name") == "pause"]
    check(
        record,
        {
            **TOOL,
            "mcp_audit.outcome.detail": "ok" if finishes else "client_gone",
            "audit.outcome": "success" if finishes else "unknown",
        },
    )
    for one in lost:
        check(one, {**TOOL, **undelivered_to(record)})


def undelivered_to(record: dict[str, Any]) -> dict[str, Any]:
    """What says that the answer of a call found nobody."""
    return {
        "gen_ai.tool.name": record["gen_ai.tool.name"],
        "mcp_audit.call.id": record["mcp_audit.call.id"],
        "audit.outcome": "failure",
        "error.type": "client_gone",
        "mcp_audit.outcome.detail": None,
    }


class Events:
    """An event store: what the SDKs ask of one, as far as they do here."""

    def __init__(self) -> None:
        self.stored = 0

    async def store_event(self, stream_id: str, message: Any) -> str:
        self.stored += 1
        return str(self.stored)


async def test_an_answer_that_its_client_may_come_back_for_is_not_lost() -> None:
    stack.PAUSING.clear()
    events = Events()
    with capture_audit() as audit:
        with serving(stack.asgi_app(stack.server(), event_store=events)) as url:
            async with stack.over_http(url, {}) as caller:
                before = events.stored
                await hang_up(caller, "http-stateful", {})
                await Trail(lambda: [dict(one.attributes) for one in audit.tool_calls("pause")]).wait_for(1)
                # The answer was kept after it was recorded.
                while events.stored < before + 2:
                    await asyncio.sleep(0.01)
        assert [one.event for one in audit.records if "mcp_audit.call.id" in one.attributes] == ["mcp_audit.tool_call"]


async def hang_up(caller: stack.Caller, transport: str, arguments: dict[str, Any]) -> None:
    """Ask for ``pause`` and close the connection while it runs."""
    headers = {"accept": "application/json, text/event-stream"}
    params: dict[str, Any] = {"name": "pause", "arguments": arguments}
    if transport == "http-modern":
        headers |= {"mcp-protocol-version": stack.MODERN, "mcp-method": "tools/call", "mcp-name": "pause"}
        params["_meta"] = caller._envelope()
    if transport == "http-stateful":
        client = {"name": "raw", "version": "1"}
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}
        answer = await caller.http.post(caller.url, json=message(1, "initialize", hello), headers=headers)
        headers["mcp-session-id"] = answer.headers["mcp-session-id"]
        await caller.http.post(caller.url, json=message(None, "notifications/initialized", {}), headers=headers)
    post = asyncio.ensure_future(caller.http.post(caller.url, json=message(2, "tools/call", params), headers=headers))
    assert await asyncio.to_thread(stack.PAUSING.wait, 20)
    post.cancel()
    await asyncio.gather(post, return_exceptions=True)


def message(number: int | None, method: str, params: dict[str, Any]) -> dict[str, Any]:
    numbered = {} if number is None else {"id": number}
    return {"jsonrpc": "2.0", **numbered, "method": method, "params": params}


@contextmanager
def http_process(transport: str, directory: Path) -> Iterator[tuple[str, Callable[[], bool]]]:
    """A server process over HTTP: its URL, and whether it has ended."""
    port_file = directory.with_name("port")
    command = [sys.executable, str(HERE / "launcher.py"), str(HERE / "stack.py"), transport, str(port_file)]
    process = subprocess.Popen(command, env={**os.environ, "OTEL_MCP_AUDIT_DIR": str(directory)})
    try:
        deadline = time.monotonic() + 60
        while not port_file.exists():
            assert process.poll() is None and time.monotonic() < deadline, "the server did not start"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port_file.read_text()}/mcp", lambda: process.poll() is not None
        assert process.wait(20) == -signal.SIGKILL
    finally:
        process.kill()


@asynccontextmanager
async def process(transport: str, directory: Path) -> AsyncIterator[tuple[stack.Caller, Callable[[], bool]]]:
    """A client of a server that is a process of its own, and whether that is known to have ended."""
    modern = transport.endswith("modern")
    if transport.startswith("stdio"):
        env = {**os.environ, "OTEL_MCP_AUDIT_DIR": str(directory)}
        command = [sys.executable, str(HERE / "launcher.py"), str(HERE / "stack.py")]
        async with stack.over_stdio(command, env, modern=modern) as caller:
            yield caller, lambda: False
        return
    with http_process(transport, directory) as (url, ended):
        if transport == "http-sse":
            async with stack.over_sse(url.replace("/mcp", "/sse"), {}) as caller:
                yield caller, ended
            return
        async with stack.over_http(url, {}, modern=modern) as caller:
            yield caller, ended


@pytest.mark.cell("process killed inside a tool (abandoned)")
async def test_a_process_that_is_killed_inside_a_tool(transport: str, tmp_path: Path) -> None:
    if transport.startswith("memory"):
        pytest.skip("client and server are one process, which is the one that is killed")
    # The client's own way to say that its server is gone is not what is looked at.
    with suppress(Exception):
        async with process(transport, tmp_path / "audit") as (caller, ended):
            # Older clients over HTTP never hear of it: whoever sees the end first, the client or the process, will do.
            call = asyncio.ensure_future(caller.tool("die"))
            for _ in range(600):
                if call.done() or ended():
                    break
                await asyncio.sleep(0.05)
            call.cancel()
    command = [sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli", "adopt", str(tmp_path / "audit")]
    await asyncio.to_thread(subprocess.run, command, check=True, timeout=60, stdout=subprocess.DEVNULL)
    (record,) = [one for one in journal_records(tmp_path / "audit") if one.get("gen_ai.tool.name") == "die"]
    check(
        record,
        {
            **TOOL,
            "mcp_audit.outcome.detail": "abandoned",
            "audit.outcome": "unknown",
            "network.transport": None,
        },
    )
