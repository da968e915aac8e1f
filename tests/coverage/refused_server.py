# SPDX-License-Identifier: Apache-2.0
"""A server process with authentication, audited into its journal: ``refused_server.py PORT_FILE``; SIGINT ends it."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from opentelemetry.instrumentation.mcp_audit.instrumentor import McpAuditInstrumentor

if __name__ == "__main__":
    McpAuditInstrumentor().instrument()
    sys.path.insert(0, str(Path(__file__).parent))
    import stack
    import uvicorn

    app = stack.asgi_app(stack.server(auth=True))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port_file = Path(sys.argv[1])
        port_file.with_suffix(".new").write_text(str(listener.getsockname()[1]))
        port_file.with_suffix(".new").rename(port_file)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        server.run(sockets=[listener])
