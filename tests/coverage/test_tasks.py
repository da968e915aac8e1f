# SPDX-License-Identifier: Apache-2.0
"""A call that became a task: its creation and its later result are one logical call.

mcp 1.x has tasks as an experiment, fastmcp has its own: 2 and 3 with `tasks/result`, 4 as an extension (SEP-2663) whose
client polls `tasks/get` until that brings the result.
"""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asking
import pytest
import stack
import tasked
import wire
from test_matrix import Place, audited, check, connected

from opentelemetry.instrumentation.mcp_audit.testing import capture_audit

pytestmark = pytest.mark.timeout(60)
LEGACY = ["memory", "stdio", "http-sse", "http-stateful"]
MODERN = ["memory-modern", "stdio-modern", "http-modern"]


# Not the module as a whole: every stack has a cell for each outcome.
@pytest.mark.skipif(stack.V2 or stack.FASTMCP, reason="tasks of the SDK itself are in mcp 1.x alone")
@pytest.mark.parametrize("transport", LEGACY)
@pytest.mark.cell("task created")
async def test_a_task_and_its_result_share_the_call_id(transport: str, tmp_path: Path) -> None:
    from mcp.types import CallToolResult

    warnings.simplefilter("ignore", DeprecationWarning)
    async with connected(transport, tmp_path, tasked) as (caller, trail):
        created = await caller.session.experimental.call_tool_as_task("double", {"x": 4})
        result = await caller.session.experimental.get_task_result(created.task.taskId, CallToolResult)
        first, second = await trail.wait_for(2)
    assert result.content[0].text == "8"
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
    assert created.task.taskId not in str((first, second))


@pytest.mark.skipif(stack.V2 or stack.FASTMCP, reason="tasks of the SDK itself are in mcp 1.x alone")
async def test_a_task_that_fails_or_is_cancelled() -> None:
    """A poll tells it, and so does an answer without a result, for which mcp 1.x says nothing more."""
    from mcp.types import CallToolResult

    warnings.simplefilter("ignore", DeprecationWarning)
    with capture_audit() as audit:
        async with stack.in_memory(tasked.server()) as caller:
            tasks = caller.session.experimental
            failing = (await tasks.call_tool_as_task("double", {"x": -1})).task.taskId
            with pytest.raises(ValueError):  # it has no content
                await tasks.get_task_result(failing, CallToolResult)
            assert (await tasks.get_task(failing)).status == "failed"
            endless = (await tasks.call_tool_as_task("slow", {})).task.taskId
            await tasks.cancel_task(endless)
            assert (await tasks.get_task(endless)).status == "cancelled"
        records = [record.attributes for record in audit.outcomes()]
    wanted = ("mcp.method.name", "mcp_audit.outcome.detail", "audit.outcome", "error.type")
    told = [
        tuple(record.get(name) for name in wanted) for record in records if record.get("mcp_audit.initiator") is None
    ]
    assert told == [
        ("tools/call", "task_created", "unknown", None),
        ("tasks/result", "tool_error", "failure", "no_result"),
        ("tasks/get", "tool_error", "failure", "task_failed"),
        ("tools/call", "task_created", "unknown", None),
        ("tasks/cancel", "ok", "success", None),
        ("tasks/get", "cancelled", "unknown", None),
    ]


@pytest.mark.skipif(stack.V2 or stack.FASTMCP, reason="tasks of the SDK itself are in mcp 1.x alone")
async def test_what_a_task_asks() -> None:
    from mcp.types import CallToolResult

    warnings.simplefilter("ignore", DeprecationWarning)
    with wire.capture_every_method("request_response") as audit:
        async with stack.in_memory(tasked.server(), **asking.ANSWERS) as caller:
            created = await caller.session.experimental.call_tool_as_task("ask", {})
            result = await caller.session.experimental.get_task_result(created.task.taskId, CallToolResult)
        records = {record.attributes["mcp.method.name"]: record for record in audit.outcomes()}
    assert result.content[0].text == "{'age': 7}"
    asked = records["elicitation/create"]
    check(
        dict(asked.attributes),
        {
            "mcp_audit.initiator": "server",
            "mcp_audit.outcome.detail": "ok",
            "mcp_audit.call.id": records["tools/call"].attributes["audit.record.id"],
        },
    )
    assert asked.arguments["message"] == "How old?" and asked.result == {"action": "accept", "content": {"age": 7}}


@pytest.mark.skipif(stack.V2 or stack.FASTMCP, reason="tasks of the SDK itself are in mcp 1.x alone")
async def test_why_a_task_failed_is_redacted() -> None:
    from mcp.types import CallToolResult

    secret = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
    warnings.simplefilter("ignore", DeprecationWarning)
    with wire.capture_every_method("request_response") as audit:
        async with stack.in_memory(tasked.server()) as caller:
            tasks = caller.session.experimental
            task = (await tasks.call_tool_as_task("double", {"x": secret})).task.taskId
            with pytest.raises(ValueError):
                await tasks.get_task_result(task, CallToolResult)
            assert secret in str((await tasks.get_task(task)).statusMessage)
        assert [record.line.count(secret) for record in audit.records if secret in record.line] == []
        (told,) = [one for one in audit.outcomes() if one.attributes.get("error.type") == "task_failed"]
    assert "[REDACTED:jwt]" in told.line


def client_of(place: Place) -> Any:
    """Fastmcp's own client, which knows its tasks."""
    from fastmcp import Client
    from fastmcp.client.transports import StdioTransport

    if place.command:
        return Client(StdioTransport(place.command[0], list(place.command[1:]), env=dict(place.env)))
    return Client(place.url, auth="alice-token") if place.url else Client(place.made)


async def two_tasks(
    transport: str, tmp_path: Path, start: Callable[[Any, int], Awaitable[Any]]
) -> tuple[list[str], list[list[Any]]]:
    """One task that ends well and one that fails: what the client got, and what the trail says, task by task."""
    got, wanted = [], ("mcp.method.name", "mcp_audit.outcome.detail", "audit.outcome")
    with audited(transport, tmp_path, tasked) as (place, trail):
        async with client_of(place) as client:
            for x in (4, -1):
                task = await start(client, x)
                try:
                    got.append(str((await task.result()).data))
                except Exception as error:
                    got.append(type(error).__name__)
        records = await trail.wait_for(4)
    assert len({record["mcp_audit.task.id"] for record in records}) == 2
    calls = list(dict.fromkeys(str(record["mcp_audit.call.id"]) for record in records))
    told = [[tuple(r.get(n) for n in wanted) for r in records if r["mcp_audit.call.id"] == one] for one in calls]
    return got, told


@pytest.mark.skipif(not stack.FASTMCP or stack.V2, reason="tasks of fastmcp 2 and 3")
@pytest.mark.parametrize("transport", LEGACY)
@pytest.mark.cell("task created")
async def test_a_task_of_fastmcp_2_and_3(transport: str, tmp_path: Path) -> None:
    got, told = await two_tasks(transport, tmp_path, lambda client, x: client.call_tool("double", {"x": x}, task=True))
    created = ("tools/call", "task_created", "unknown")
    assert got == ["8", "ToolError"]
    assert told == [
        [created, ("tasks/result", "ok", "success")],
        [created, ("tasks/result", "tool_error", "failure")],
    ]


@pytest.mark.skipif(not (stack.FASTMCP and stack.V2), reason="2026-07-28 has no such tasks in the SDK, fastmcp 4 has")
@pytest.mark.parametrize("transport", MODERN)
@pytest.mark.cell("task created")
async def test_a_task_of_fastmcp_4(transport: str, tmp_path: Path) -> None:
    """However often its client asked, one record says what became of the task."""
    from fastmcp_tasks import call_tool_task

    got, told = await two_tasks(transport, tmp_path, lambda client, x: call_tool_task(client, "double", {"x": x}))
    created = ("tools/call", "task_created", "unknown")
    assert got == ["8", "ToolError"]
    assert told == [[created, ("tasks/get", "ok", "success")], [created, ("tasks/get", "tool_error", "failure")]]
