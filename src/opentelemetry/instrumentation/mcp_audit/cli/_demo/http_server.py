# SPDX-License-Identifier: Apache-2.0
"""A small MCP server over streamable HTTP with bearer tokens, without a line about auditing. Argument: the port."""

import sys

from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from pydantic import AnyHttpUrl

USERS = {
    "alice-token": AccessToken(
        token="alice-token",
        client_id="billing-app",
        scopes=["orders"],
        subject="alice",
        claims={"iss": "https://id.example", "email": "alice@example.com", "tenant_id": "acme"},
    ),
    "bob-token": AccessToken(
        token="bob-token",
        client_id="support-app",
        scopes=["orders"],
        subject="bob",
        claims={"iss": "https://id.example", "tenant_id": "globex"},
    ),
}


class StaticTokens(TokenVerifier):
    """Knows two users by their tokens; a real server asks its identity provider."""

    async def verify_token(self, token: str) -> AccessToken | None:
        return USERS.get(token)


port = int(sys.argv[1])
mcp = MCPServer(
    "crm",
    token_verifier=StaticTokens(),
    auth=AuthSettings(
        issuer_url=AnyHttpUrl("https://id.example"),
        resource_server_url=AnyHttpUrl(f"http://127.0.0.1:{port}"),
    ),
    log_level="ERROR",
)


@mcp.tool()
def search(query: str, limit: int = 10) -> list[str]:
    """Customers whose name holds the query."""
    return [name for name in ("Ada Lovelace", "Alan Turing", "Grace Hopper") if query.lower() in name.lower()][:limit]


@mcp.tool()
def delete(name: str) -> str:
    """Refuses."""
    raise PermissionError(f"{name} is under legal hold")


if __name__ == "__main__":
    mcp.run("streamable-http", port=port)
