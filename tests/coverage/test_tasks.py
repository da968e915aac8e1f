# SPDX-License-Identifier: Apache-2.0
"""A call that became a task: its creation and its later result are one logical call.

mcp 1.x has tasks as an experiment, fastmcp has its own: 2 and 3 with `tasks/result`, 4 as an extension (SEP-2663) whose
client polls `tasks/get` until that brings the result.
"""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
import stack
from test_matrix import check

from opentelemetry.instrumentation.mcp_audit.testing import capture_audit

pytestmark = pytest.mark.timeout(60)


# Not the module as a whole: every stack has a cell for each outcome.
@pytest.mark.skipif(stack.V2 or stack.FASTMCP, reason="tasks of the SDK itself are in mcp 1.x alone")
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


def served() -> Any:
    """A server of fastmcp's with one tool, always a task."""
    from fastmcp import FastMCP

    server: Any = FastMCP("tasks")
    if stack.V2:
        from fastmcp_tasks import TasksExtension

        server.add_extension(TasksExtension())

    @server.tool(task=True)
    async def double(x: int) -> int:
        await anyio.sleep(0.05)  # so that somebody has to ask for it
        if x < 0:
            raise ValueError("negative")
        return 2 * x

    return server


async def audited(start: Callable[[Any, int], Awaitable[Any]]) -> tuple[list[str], list[list[Any]]]:
    """One task that ends well and one that fails: what the client got, and what the trail says, task by task."""
    from fastmcp import Client

    got, wanted = [], ("mcp.method.name", "mcp_audit.outcome.detail", "audit.outcome")
    with capture_audit() as audit:
        async with Client(served()) as client:
            for x in (4, -1):
                task = await start(client, x)
                try:
                    got.append(str((await task.result()).data))
                except Exception as error:
                    got.append(type(error).__name__)
        records = [record.attributes for record in audit.outcomes()]
    assert len({record["mcp_audit.task.id"] for record in records}) == 2
    calls = list(dict.fromkeys(str(record["mcp_audit.call.id"]) for record in records))
    told = [[tuple(r.get(n) for n in wanted) for r in records if r["mcp_audit.call.id"] == one] for one in calls]
    return got, told


@pytest.mark.skipif(not stack.FASTMCP or stack.V2, reason="tasks of fastmcp 2 and 3")
@pytest.mark.cell("task created", transport="memory")
async def test_a_task_of_fastmcp_2_and_3() -> None:
    got, told = await audited(lambda client, x: client.call_tool("double", {"x": x}, task=True))
    created = ("tools/call", "task_created", "unknown")
    assert got == ["8", "ToolError"]
    assert told == [
        [created, ("tasks/result", "ok", "success")],
        [created, ("tasks/result", "tool_error", "failure")],
    ]


@pytest.mark.skipif(not (stack.FASTMCP and stack.V2), reason="2026-07-28 has no such tasks in the SDK, fastmcp 4 has")
@pytest.mark.cell("task created", transport="memory-modern")
async def test_a_task_of_fastmcp_4() -> None:
    """However often its client asked, one record says what became of the task."""
    from fastmcp_tasks import call_tool_task

    got, told = await audited(lambda client, x: call_tool_task(client, "double", {"x": x}))
    created = ("tools/call", "task_created", "unknown")
    assert got == ["8", "ToolError"]
    assert told == [[created, ("tasks/get", "ok", "success")], [created, ("tasks/get", "tool_error", "failure")]]
