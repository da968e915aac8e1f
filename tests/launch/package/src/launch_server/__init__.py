# SPDX-License-Identifier: Apache-2.0
"""A server as a user would write one; it knows nothing of any audit."""

from __future__ import annotations

import os

from mcp.server.mcpserver import MCPServer

server = MCPServer("launch")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def pid() -> int:
    """The process that answers."""
    return os.getpid()


def main() -> None:
    """Serve on stdin and stdout."""
    server.run(transport="stdio")
