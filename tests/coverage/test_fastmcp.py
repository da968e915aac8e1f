# SPDX-License-Identifier: Apache-2.0
"""What only fastmcp does: servers inside servers, tools calling tools, tool timeouts, refusals by its middleware."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import suppress
from typing import Any

import pytest
import stack
from pydantic import BaseModel

from opentelemetry.instrumentation.mcp_audit.testing import capture_audit

if not stack.FASTMCP:
    pytest.skip("fastmcp is not installed here", allow_module_level=True)

from fastmcp import Client, FastMCP
from fastmcp.server.middleware import Middleware

pytestmark = pytest.mark.timeout(60)


class Patient(BaseModel):
    """What a tool promises to return."""

    age: int


async def details(server: FastMCP, *calls: tuple[str, dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Call the tools one after the other; tool name, detail and error type of each record."""
    with capture_audit() as audit:
        async with Client(server) as client:
            for name, arguments in calls:
                # The client checks what it gets too, and raises for what the server let through.
                await asyncio.gather(client.call_tool(name, arguments, raise_on_error=False), return_exceptions=True)
        records = [record.attributes for record in audit.outcomes()]
    names = ("gen_ai.tool.name", "mcp_audit.outcome.detail", "error.type")
    return [tuple(record.get(name) for name in names) for record in records]


async def test_a_mounted_server_counts_once() -> None:
    child, parent = FastMCP("child"), FastMCP("parent")

    @child.tool
    def crash() -> str:
        raise KeyError("k")

    @child.tool
    def fine() -> str:
        return "fine"

    parent.mount(child, "child") if "prefix" in inspect.signature(parent.mount).parameters else parent.mount(
        child, namespace="child"
    )
    assert await details(parent, ("child_fine", {}), ("child_crash", {})) == [
        ("child_fine", "ok", None),
        ("child_crash", "tool_error", "KeyError"),
    ]


async def test_a_tool_that_calls_a_tool_counts_once_and_has_its_own_reason() -> None:
    server = FastMCP("nested")

    @server.tool
    def inner() -> str:
        raise KeyError("inner")

    async def call_inner() -> None:
        if hasattr(server, "call_tool"):
            await server.call_tool("inner", {})
        else:
            await (await server.get_tool("inner")).run({})

    @server.tool
    async def recovers() -> str:
        try:
            await call_inner()
        except Exception:
            return "recovered"
        return "never"

    @server.tool
    async def gives_up() -> str:
        with suppress(Exception):
            await call_inner()
        raise LookupError("own reason")

    assert await details(server, ("recovers", {}), ("gives_up", {})) == [
        ("recovers", "ok", None),
        ("gives_up", "tool_error", "LookupError"),
    ]


@pytest.mark.skipif(
    "timeout" not in inspect.signature(FastMCP.tool).parameters, reason="fastmcp 2 tools have no timeout"
)
async def test_a_tool_timeout() -> None:
    server = FastMCP("slow")

    @server.tool(timeout=0.05)
    async def slow() -> str:
        await asyncio.sleep(30)
        return "late"

    assert await details(server, ("slow", {})) == [("slow", "timeout", "timeout")]


async def test_a_refusal_is_a_decision() -> None:
    exceptions = pytest.importorskip("fastmcp.exceptions")
    if not hasattr(exceptions, "AuthorizationError"):
        pytest.skip("fastmcp 2 has no AuthorizationError")

    class Refusing(Middleware):
        async def on_call_tool(self, context: Any, call_next: Any) -> Any:
            raise exceptions.AuthorizationError("not for you")

    server = FastMCP("closed")
    server.add_middleware(Refusing())

    @server.tool
    def secret() -> str:
        return "secret"

    with capture_audit() as audit:
        async with Client(server) as client:
            await client.call_tool("secret", {}, raise_on_error=False)
        (record,) = [record.attributes for record in audit.outcomes()]
    assert record["mcp_audit.outcome.detail"] == "denied"
    assert record["mcp_audit.decision"] == "denied"
    assert record["audit.outcome"] == "failure"
    assert record["mcp_audit.decision.by"] == "server"
    assert record["mcp_audit.decision.reason"] == "AuthorizationError"


async def test_a_tool_with_bad_output() -> None:
    server = FastMCP("typed")

    @server.tool
    def patient() -> Patient:
        return {"age": "unknown"}  # type: ignore[return-value]

    ((name, detail, _),) = await details(server, ("patient", {}))
    # fastmcp 4 validates no output on the server.
    assert (name, detail) == ("patient", "ok" if stack.V2 else "invalid_output")
