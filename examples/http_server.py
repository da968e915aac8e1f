# SPDX-License-Identifier: Apache-2.0
"""Streamable HTTP with bearer tokens (mcp 2.x), and a middleware that tells the trail why somebody asks.

The log record and the span event on the console, beside the journal:

OTEL_TRACES_EXPORTER=console OTEL_LOGS_EXPORTER=console OTEL_METRICS_EXPORTER=none \
    opentelemetry-instrument python examples/http_server.py

curl -s http://127.0.0.1:8000/mcp -H 'authorization: Bearer nurse-token' -H 'x-purpose: treatment' \
    -H 'content-type: application/json' -H 'accept: application/json, text/event-stream' \
    -H 'mcp-protocol-version: 2025-06-18' \
    -d '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_chart","arguments":{"patient":"p-100"}}}'
"""

from typing import Any

import uvicorn
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from pydantic import AnyHttpUrl

from opentelemetry.instrumentation import mcp_audit


class OneNurse(TokenVerifier):
    """A real server asks its identity provider here."""

    async def verify_token(self, token: str) -> AccessToken | None:
        if token != "nurse-token":
            return None
        return AccessToken(
            token=token,
            client_id="ward-app",
            scopes=["charts"],
            subject="nurse-joy",
            claims={"iss": "https://id.example"},
        )


mcp = MCPServer(
    "charts",
    token_verifier=OneNurse(),
    auth=AuthSettings(
        issuer_url=AnyHttpUrl("https://id.example"), resource_server_url=AnyHttpUrl("http://127.0.0.1:8000")
    ),
)


@mcp.tool()
def read_chart(patient: str) -> str:
    """A chart."""
    mcp_audit.annotate(data_subject=patient, data_classes=["phi"])
    return "blood pressure 120/80"


class Purpose:
    """ASGI middleware: binds the caller's stated purpose for what this request does."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        purpose = dict(scope.get("headers", ())).get(b"x-purpose")
        if purpose is not None:
            mcp_audit.bind(purpose=purpose.decode("latin-1"))
        await self.app(scope, receive, send)


if __name__ == "__main__":
    uvicorn.run(Purpose(mcp.streamable_http_app(stateless_http=True)), port=8000, log_level="warning")
