# SPDX-License-Identifier: Apache-2.0
"""A small MCP server over stdio that knows nothing of auditing; ``otel-mcp-audit demo`` starts and kills it."""

import sys

from mcp.server.mcpserver import MCPServer

mcp = MCPServer("orders")

ORDERS = {"A-17": 120, "B-04": 75}


@mcp.tool()
def total(order_id: str) -> int:
    """The sum of an order."""
    return ORDERS[order_id]


@mcp.tool()
def connect(host: str, password: str) -> str:
    """Pretend to open a connection; the answer repeats its arguments, as careless tools do."""
    return f"connected to {host} with {password}"


@mcp.resource("orders://{order_id}")
def order(order_id: str) -> str:
    """One order."""
    return f"{order_id}: {ORDERS[order_id]}"


if __name__ == "__main__":
    print("orders server is up", file=sys.stderr)
    mcp.run()
