# SPDX-License-Identifier: Apache-2.0
"""``fastmcp run fast.py``."""

from fastmcp import FastMCP

mcp = FastMCP("launch")


@mcp.tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b
