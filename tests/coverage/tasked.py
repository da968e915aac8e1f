# SPDX-License-Identifier: Apache-2.0
"""A server whose tools are always tasks, on each stack that has tasks."""

from __future__ import annotations

from typing import Any

import anyio
import stack


async def double(x: int) -> int:
    """Twice as much, after a while."""
    await anyio.sleep(0.05)  # so that somebody has to ask for it
    if not isinstance(x, int):  # the SDK's low-level server checks nothing here
        raise TypeError(f"not a number: {x}")
    if x < 0:
        raise ValueError("negative")
    return 2 * x


def server(*, auth: bool = False) -> Any:
    """A server with that tool; that of the SDK itself has two more: ``ask``, which asks the user, and ``slow``."""
    made = stack.bare_server("tasks", auth=auth)
    if not stack.FASTMCP:
        _of_the_sdk(made._mcp_server)
        return made
    if stack.V2:
        from fastmcp_tasks import TasksExtension

        made.add_extension(TasksExtension())
    made.tool(task=True)(double)
    return made


def _of_the_sdk(low: Any) -> None:
    """Tasks of mcp 1.x, an experiment there, which its low-level server has."""
    from mcp.types import TASK_REQUIRED, CallToolResult, TextContent, Tool, ToolExecution

    low.experimental.enable_tasks()

    @low.list_tools()  # type: ignore[untyped-decorator]
    async def tools() -> list[Tool]:
        execution = ToolExecution(taskSupport=TASK_REQUIRED)
        return [
            Tool(name=name, inputSchema={"type": "object"}, execution=execution) for name in ("double", "ask", "slow")
        ]

    @low.call_tool()  # type: ignore[untyped-decorator]
    async def handle(name: str, arguments: dict[str, Any]) -> Any:
        async def work(task: Any) -> CallToolResult:
            if name == "slow":
                await anyio.sleep(30)
            if name == "ask":
                answer = await task.elicit("How old?", {"type": "object", "properties": {"age": {"type": "integer"}}})
                return CallToolResult(content=[TextContent(type="text", text=str(answer.content))])
            return CallToolResult(content=[TextContent(type="text", text=str(await double(arguments["x"])))])

        return await low.request_context.experimental.run_task(work)


if __name__ == "__main__":
    stack.serve_stdio(server())
