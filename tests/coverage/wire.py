# SPDX-License-Identifier: Apache-2.0
"""Raw JSON-RPC for the tests of this folder: what no well-behaved client sends, and trails with every method in them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import stack

from opentelemetry.instrumentation.mcp_audit.auditor import Auditor
from opentelemetry.instrumentation.mcp_audit.instrumentor import INSTRUMENTATION
from opentelemetry.instrumentation.mcp_audit.policy.model import Policy, Rule
from opentelemetry.instrumentation.mcp_audit.record.attributes import Level
from opentelemetry.instrumentation.mcp_audit.testing import AuditCapture, capture_audit


@contextmanager
def capture_every_method(level: Level = "metadata") -> Iterator[AuditCapture]:
    """``capture_audit`` under a policy that has one rule: every method at ``level``."""
    with capture_audit() as audit:
        inner = INSTRUMENTATION.substitute(None)
        assert inner is not None
        everything = Policy((Rule("everything", level),))
        INSTRUMENTATION.substitute(Auditor(replace(inner.parts, policy=everything)))
        yield audit


async def send_raw(caller: stack.Caller, method: str, params: dict[str, Any]) -> None:
    """Send a request as it is, past the client's models; on mcp 1.x the answer is not waited for."""
    if stack.V2:
        envelope = caller._envelope()
        params = {**params, "_meta": envelope} if envelope else params
        if envelope and caller.http is not None:
            # Past the client's own headers as well, which name the tool.
            headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": stack.MODERN}
            request = {"jsonrpc": "2.0", "id": "raw-1", "method": method, "params": params}
            await caller.http.post(caller.url, json=request, headers={**headers, "mcp-method": method})
            return
        await asyncio.gather(caller.session._dispatcher.send_raw_request(method, params), return_exceptions=True)
        return
    from mcp.shared.message import SessionMessage
    from mcp.types import JSONRPCMessage, JSONRPCRequest

    request = JSONRPCRequest(jsonrpc="2.0", id="raw-1", method=method, params=params)
    await caller.session._write_stream.send(SessionMessage(JSONRPCMessage(request)))


class Process:
    """An audited stdio server, spoken to in lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def send(self, *messages: Any) -> None:
        assert self.process.stdin is not None
        for message in messages:
            line = message if isinstance(message, str) else json.dumps(message)
            self.process.stdin.write(line.encode() + b"\n")
        await self.process.stdin.drain()

    async def answer(self, request_id: Any) -> dict[str, Any]:
        """The answer with this id; everything before it is skipped."""
        assert self.process.stdout is not None
        while True:
            line = await asyncio.wait_for(self.process.stdout.readline(), 60)
            assert line, "the server ended"
            message: dict[str, Any] = json.loads(line)
            if message.get("id") == request_id and "method" not in message:
                return message


class SseSession:
    """A session of an HTTP+SSE server: requests are posted, answers come as events of one stream."""

    def __init__(self, http: Any, url: str, data: AsyncIterator[str]) -> None:
        self._http, self._url, self._data = http, url, data

    async def send(self, *messages: Any) -> None:
        for message in messages:
            assert (await self._http.post(self._url, json=message)).status_code == 202

    async def answer(self, request_id: Any) -> dict[str, Any]:
        """The answer with this id; everything before it is skipped."""
        while True:
            message: dict[str, Any] = json.loads(await asyncio.wait_for(anext(self._data), 20))
            if message.get("id") == request_id and "method" not in message:
                return message


@asynccontextmanager
async def sse_session(url: str) -> AsyncIterator[SseSession]:
    """A new session with the server at ``url``, as yet without ``initialize``."""
    if stack.V2:
        import httpx2 as httpx
    else:
        import httpx
    async with (
        httpx.AsyncClient(timeout=30, verify=False, base_url=url) as http,  # nothing is encrypted
        http.stream("GET", url) as events,
    ):
        data = (line.removeprefix("data: ") async for line in events.aiter_lines() if line.startswith("data: "))
        endpoint = await asyncio.wait_for(anext(data), 20)
        yield SseSession(http, str(httpx.URL(url).join(endpoint)), data)


async def initialize(peer: Process | SseSession) -> None:
    """Open the session, as the protocols before 2026-07-28 want it."""
    await peer.send(INITIALIZE)
    await peer.answer("init")
    await peer.send({"jsonrpc": "2.0", "method": "notifications/initialized"})


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": "init",
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}},
}


def call(request_id: Any, name: str, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
    """A ``tools/call`` message."""
    params = {"name": name, "arguments": arguments or {}}
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}


def modern_call(request_id: Any, name: str, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
    """A ``tools/call`` message of 2026-07-28, which needs no ``initialize``."""
    prefix = "io.modelcontextprotocol/"
    message = call(request_id, name, arguments)
    message["params"]["_meta"] = {prefix + "protocolVersion": stack.MODERN, prefix + "clientCapabilities": {}}
    return message


@asynccontextmanager
async def stdio_process(directory: Path, script: Path | None = None) -> AsyncIterator[Process]:
    """Start ``script`` (default: the server of ``stack.py``) audited to ``directory``."""
    here = Path(__file__).parent
    path = [str(here), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(here / "launcher.py"),
        str(script or here / "stack.py"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "OTEL_MCP_AUDIT_DIR": str(directory), "PYTHONPATH": os.pathsep.join(path)},
    )
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
