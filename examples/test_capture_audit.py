# SPDX-License-Identifier: Apache-2.0
"""How to test that your tools leave the records you want: ``pytest examples/test_capture_audit.py``."""

import asyncio

from mcp import Client
from mcp.server.mcpserver import MCPServer

from opentelemetry.instrumentation import mcp_audit
from opentelemetry.instrumentation.mcp_audit.testing import capture_audit

server = MCPServer("datahub", log_level="ERROR")


@server.tool()
def datahub_search(query: str, limit: int = 10) -> list[str]:
    """Entities whose name holds the query."""
    return [f"{query}:{number}" for number in range(limit)]


async def search() -> None:
    mcp_audit.bind(user_id="test-user")
    async with Client(server) as client:
        await client.call_tool("datahub_search", {"query": "customers", "limit": 10})


def test_search_is_audited() -> None:
    with capture_audit() as audit:
        asyncio.run(search())

    (call,) = audit.tool_calls()
    assert call.attributes["gen_ai.tool.name"] == "datahub_search"
    assert call.attributes["user.id"] == "test-user"
    assert call.attributes["audit.outcome"] == "success"
    assert call.attributes["mcp_audit.result.count"] == 10
    assert call.arguments == {"query": "customers", "limit": 10}
