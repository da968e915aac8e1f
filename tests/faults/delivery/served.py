# SPDX-License-Identifier: Apache-2.0
"""The MCP server that the server rows start: over HTTP as ``served:app``, over stdio as a program.

It knows nothing of auditing. On the stock side its tool emits a log record by the global LoggerProvider, as a server
does whose author writes an audit trail with OpenTelemetry alone.
"""

import os
import time

from mcp.server.mcpserver import MCPServer
from opentelemetry._logs import LogRecord, get_logger

STOCK = os.environ.get("FAULTS_SIDE") == "stock"
mcp = MCPServer("faults", log_level="CRITICAL")


@mcp.tool()
def work(mark: str) -> str:
    """Does nothing."""
    if STOCK:
        record = LogRecord(
            timestamp=time.time_ns(), event_name="tool_call", body="x" * 200, attributes={"audit.record.id": mark}
        )
        get_logger("faults").emit(record)
    return "done"


app = mcp.streamable_http_app(stateless_http=True, json_response=True)

if __name__ == "__main__":
    mcp.run()
