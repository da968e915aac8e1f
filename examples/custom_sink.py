# SPDX-License-Identifier: Apache-2.0
"""A sink of your own, an identity of your own, and what a tool adds to its record.

python examples/custom_sink.py
"""

import asyncio
import sys

from mcp import Client
from mcp.server.mcpserver import MCPServer

from opentelemetry.instrumentation import mcp_audit


class Alarm:
    """Shouts when something fails. Gets every record after it is in the journal."""

    def write(self, entry: mcp_audit.Entry) -> None:
        attributes = entry.record.attributes
        if attributes["audit.outcome"] == "failure":
            print(f"ALARM: {attributes['audit.actor.id']}: {attributes['error.type']}", file=sys.stderr)

    def close(self) -> None:
        pass


def identify(invocation: mcp_audit.Invocation) -> mcp_audit.Actor | None:
    """Who asks, from what only this deployment knows."""
    return mcp_audit.Actor(id="batch-7", type="service", provenance="declared")


server = MCPServer("patients", log_level="ERROR")


@server.tool()
def read_chart(patient: str) -> str:
    """A chart."""
    mcp_audit.annotate(resources=[f"chart/{patient}"], data_subject=patient, data_classes=["phi"], purpose="treatment")
    if patient == "unknown":
        raise LookupError("no such patient")
    return "blood pressure 120/80"


async def main() -> None:
    mcp_audit.McpAuditInstrumentor().instrument(
        # A slow sink gets a thread; a file in the shape of the how-to needs none.
        sinks=[mcp_audit.QueuedSink(Alarm()), mcp_audit.FileSink("audit.seed.jsonl", format="seed")],
        identify=identify,
    )
    async with Client(server) as client:
        await client.call_tool("read_chart", {"patient": "p-100"})
        await client.call_tool("read_chart", {"patient": "unknown"})
    print(open("audit.seed.jsonl", encoding="utf-8").read())


if __name__ == "__main__":
    asyncio.run(main())
