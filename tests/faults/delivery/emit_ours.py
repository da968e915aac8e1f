# SPDX-License-Identifier: Apache-2.0
"""Ours: an audited MCP server, called by a client in the same process; each call's answer is a record."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from emitting import Tally, arguments, run


def main() -> None:
    given = arguments()
    if not given.auto:
        from opentelemetry.instrumentation.mcp_audit.instrumentor import McpAuditInstrumentor

        McpAuditInstrumentor().instrument()
        if given.script == "after_shutdown":
            from opentelemetry._logs import set_logger_provider
            from opentelemetry.sdk._logs import LoggerProvider

            set_logger_provider(LoggerProvider())
    from mcp import Client
    from mcp.server.mcpserver import MCPServer

    server = MCPServer("faults", log_level="CRITICAL")

    @server.tool()
    def work(mark: str, value: str = "") -> str:
        """Does nothing."""
        return "done"

    tally = Tally(given.tally)

    async def calls(marks: Iterable[str]) -> None:
        async with Client(server) as client:
            for mark in marks:
                value = "\ud800" if given.script == "poison" and "poison" in mark else "x" * given.size
                await client.call_tool("work", {"mark": mark, "value": value})
                tally.add(mark)

    run(lambda marks: asyncio.run(calls(marks)), given)


main()
