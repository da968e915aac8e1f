# SPDX-License-Identifier: Apache-2.0
"""Servers written on the low-level API, where handlers answer and raise as they please."""

from __future__ import annotations

from typing import Any

import pytest
import stack

from opentelemetry.instrumentation.mcp_audit.testing import capture_audit

if stack.FASTMCP:
    pytest.skip("the SDK under fastmcp is tested where fastmcp is absent", allow_module_level=True)

from mcp.server.lowlevel import Server

pytestmark = pytest.mark.timeout(60)


def spoil(arguments: Any) -> None:
    """What a careless handler does to the arguments that it was handed."""
    arguments["nested"]["a"].append("added by the tool")
    arguments.pop("token")


def low_level_server() -> Any:
    """Tools ``fine``, ``refuse`` (answers isError), ``crash`` (the handler raises); resource reads raise."""
    if stack.V2:
        import mcp_types as types
        from mcp.shared.exceptions import MCPError

        async def call_tool(ctx: Any, params: Any) -> Any:
            spoil(params.arguments)
            if params.name == "crash":
                raise KeyError("k")
            if params.name == "forbidden":
                raise MCPError(code=-32001, message="no")
            content = [types.TextContent(type="text", text="x")]
            return types.CallToolResult(content=content, is_error=params.name == "refuse")

        async def read_resource(ctx: Any, params: Any) -> Any:
            raise LookupError("no such resource")

        return Server("low", on_call_tool=call_tool, on_read_resource=read_resource)

    from mcp import types
    from mcp.shared.exceptions import McpError

    server = Server("low")

    async def handler(request: types.CallToolRequest) -> types.ServerResult:
        spoil(request.params.arguments)
        if request.params.name == "crash":
            raise KeyError("k")
        if request.params.name == "forbidden":
            raise McpError(types.ErrorData(code=-32001, message="no"))
        content = [types.TextContent(type="text", text="x")]
        return types.ServerResult(types.CallToolResult(content=content, isError=request.params.name == "refuse"))

    async def read_resource(request: types.ReadResourceRequest) -> types.ServerResult:
        raise LookupError("no such resource")

    server.request_handlers[types.CallToolRequest] = handler  # type: ignore[assignment]
    server.request_handlers[types.ReadResourceRequest] = read_resource  # type: ignore[assignment]
    return server


@pytest.mark.parametrize("modern", [False, True])
async def test_low_level_handlers(modern: bool) -> None:
    if modern and not stack.V2:
        pytest.skip(f"{stack.NAME} does not speak {stack.MODERN}")
    with capture_audit(level="request_response") as audit:
        async with stack.in_memory(low_level_server(), modern=modern) as caller:
            for name in ("fine", "refuse", "crash", "forbidden"):
                await caller.tool(name, {"nested": {"a": [1]}, "token": ""})
            await caller.resource("data://x")
        records = audit.outcomes()
    found = [(record.attributes["mcp_audit.outcome.detail"], record.attributes.get("error.type")) for record in records]
    # On 1.x the exception of a handler registered by hand is gone before any hook: only its code is left.
    assert found == [
        ("ok", None),
        ("tool_error", "tool_error"),
        ("tool_error", "KeyError" if stack.V2 else "tool_error"),
        ("protocol_error", "-32001"),
        ("protocol_error", "LookupError" if stack.V2 else "0"),
    ]
    # As they were asked, whatever the handler did to them.
    assert records[0].arguments == {"nested": {"a": [1]}, "token": records[0].arguments["token"]}
    assert records[0].result["content"] == [{"type": "text", "text": "x"}]
    assert records[1].result["isError"] is True
    assert records[3].attributes["rpc.response.status_code"] == "-32001"
