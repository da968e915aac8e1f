# SPDX-License-Identifier: Apache-2.0
"""A call that became a task (mcp 1.x, experimental): its creation and its later result are one logical call."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import stack
from test_matrix import check

from opentelemetry.instrumentation.mcp_audit.testing import capture_audit

pytestmark = [
    pytest.mark.timeout(60),
    # Not the module as a whole: every stack has a cell for each outcome.
    pytest.mark.skipif(stack.V2 or stack.FASTMCP, reason="tasks of the SDK itself are in mcp 1.x alone"),
]


@pytest.mark.cell("task created", transport="memory")
async def test_a_task_and_its_result_share_the_call_id() -> None:
    from mcp.server.lowlevel import Server
    from mcp.shared.memory import create_connected_server_and_client_session
    from mcp.types import TASK_REQUIRED, CallToolResult, TextContent, Tool, ToolExecution

    warnings.simplefilter("ignore", DeprecationWarning)
    server: Any = Server("tasks")
    server.experimental.enable_tasks()

    @server.list_tools()
    async def tools() -> list[Tool]:
        execution = ToolExecution(taskSupport=TASK_REQUIRED)
        return [Tool(name="slow", inputSchema={"type": "object"}, execution=execution)]

    @server.call_tool()
    async def handle(name: str, arguments: dict[str, Any]) -> Any:
        async def work(task: Any) -> CallToolResult:
            return CallToolResult(content=[TextContent(type="text", text="done")])

        return await server.request_context.experimental.run_task(work)

    with capture_audit() as audit:
        async with create_connected_server_and_client_session(server) as session:
            created = await session.experimental.call_tool_as_task("slow", {})
            result = await session.experimental.get_task_result(created.task.taskId, CallToolResult)
        first, second = [record.attributes for record in audit.outcomes()]
    assert result.content[0].text == "done"
    check(first, {"mcp.method.name": "tools/call", "mcp_audit.outcome.detail": "task_created"})
    check(first, {"audit.outcome": "unknown", "mcp_audit.call.id": first["audit.record.id"]})
    check(
        second,
        {
            "mcp.method.name": "tasks/result",
            "mcp_audit.outcome.detail": "ok",
            "audit.outcome": "success",
            "mcp_audit.level": "metadata",
            "mcp_audit.call.id": first["mcp_audit.call.id"],
            "mcp_audit.task.id": first["mcp_audit.task.id"],
        },
    )
    assert str(first["mcp_audit.task.id"]).startswith("hmac-sha256:")
    assert created.task.taskId not in audit.outcomes()[0].line
