# SPDX-License-Identifier: Apache-2.0
"""How to test that your tools leave the records you want: ``pytest examples/test_capture_audit.py``."""

from fastmcp_server import mcp
from mcp import Client

from opentelemetry.instrumentation import mcp_audit
from opentelemetry.instrumentation.mcp_audit.testing import capture_audit


async def test_search_is_audited() -> None:
    with capture_audit() as audit:
        mcp_audit.bind(user_id="test-user")
        async with Client(mcp) as client:
            await client.call_tool("datahub_search", {"query": "customers", "limit": 10})

    (call,) = audit.tool_calls()
    assert call.attributes["gen_ai.tool.name"] == "datahub_search"
    assert call.attributes["user.id"] == "test-user"
    assert call.attributes["audit.outcome"] == "success"
    assert call.arguments == {"query": "customers", "limit": 10}
