# SPDX-License-Identifier: Apache-2.0
"""A server built on the SDK's high-level class (mcp 2.x). Nothing about auditing; run it under audit:

otel-mcp-audit run -- python examples/fastmcp_server.py
"""

from mcp.server.mcpserver import MCPServer

mcp = MCPServer("datahub")


@mcp.tool()
def datahub_search(query: str, entity_type: str = "DATASET", limit: int = 10) -> list[str]:
    """Entities whose name holds the query."""
    return [f"{entity_type}:{query}:{number}" for number in range(limit)][:5]


@mcp.resource("datahub://{entity}")
def entity(entity: str) -> str:
    """One entity."""
    return f"description of {entity}"


if __name__ == "__main__":
    mcp.run()
