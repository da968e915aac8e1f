# SPDX-License-Identifier: Apache-2.0
"""A server over stdio for tests that kill, starve and feed it; it knows nothing of auditing."""

from typing import Any

from mcp.server.mcpserver import MCPServer

mcp = MCPServer("faults", log_level="CRITICAL")


@mcp.tool()
def echo(value: Any) -> str:
    """The value again, as text: what a careless tool does with a secret."""
    return f"you said {value}"


@mcp.tool()
def fail(value: Any) -> str:
    """Raises with the value in its message."""
    raise RuntimeError(f"cannot use {value}")


@mcp.tool()
def size(value: Any) -> int:
    """How many members or characters."""
    return len(value)


if __name__ == "__main__":
    mcp.run()
