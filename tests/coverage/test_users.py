# SPDX-License-Identifier: Apache-2.0
"""Who made a request is told by that request, whoever created the session it came on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest
import stack
from serving import serving

from opentelemetry.instrumentation import mcp_audit
from opentelemetry.instrumentation.mcp_audit.testing import capture_audit

pytestmark = pytest.mark.timeout(60)

Scope = MutableMapping[str, Any]


class BindUser:
    """ASGI middleware of an application that knows its users by a header."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            user = headers.get(b"x-user", b"").decode()
            if user:
                mcp_audit.bind(user_id=user, tenant_id=f"{user}-tenant")
        await self.app(scope, receive, send)


def told(record: Any) -> tuple[Any, ...]:
    names = ("audit.actor.id", "mcp_audit.actor.provenance", "mcp_audit.tenant.id")
    return tuple(record.attributes.get(name) for name in names)


async def test_two_users_on_one_session_are_told_apart() -> None:
    app = BindUser(stack.asgi_app(stack.server()))
    with capture_audit() as audit, serving(app) as url:
        async with stack.over_http(url, {"x-user": "alice"}) as caller:
            await caller.tool("add", {"a": 1, "b": 1})
            caller.http.headers["x-user"] = "bob"
            await caller.tool("add", {"a": 2, "b": 2})
            del caller.http.headers["x-user"]
            await caller.tool("add", {"a": 3, "b": 3})
            caller.http.headers["x-user"] = "alice"
            await caller.tool("add", {"a": 4, "b": 4})
        records = audit.outcomes()
    assert [told(record) for record in records] == [
        ("alice", "declared", "alice-tenant"),
        ("bob", "declared", "bob-tenant"),
        ("anonymous", "none", None),
        ("alice", "declared", "alice-tenant"),
    ]
    assert len({record.attributes["mcp.session.id"] for record in records}) == 1


@pytest.mark.parametrize("kind", ["stateful", "stateless", "modern"])
async def test_two_users_with_tokens(kind: str) -> None:
    if kind == "modern" and not stack.V2:
        pytest.skip(f"{stack.NAME} does not speak {stack.MODERN}")
    app = stack.asgi_app(stack.server(auth=True), stateless=kind == "stateless")
    with capture_audit() as audit, serving(app) as url:
        for user in ("alice", "bob"):
            headers = {"authorization": f"Bearer {user}-token"}
            async with stack.over_http(url, headers, modern=kind == "modern") as caller:
                await caller.tool("add", {"a": 1, "b": 1})
        records = audit.outcomes()
    assert [record.attributes["audit.actor.id"] for record in records] == ["alice", "bob"]
    assert {record.attributes["mcp_audit.actor.provenance"] for record in records} == {"verified"}
    # Bob's token has no id of its own: a keyed hash stands for it, never the token.
    assert str(records[1].attributes["mcp_audit.actor.token.id"]).startswith("hmac-sha256:")
    assert not any("-token" in record.line for record in records)


async def test_a_binding_does_not_replace_a_verified_user() -> None:
    app = BindUser(stack.asgi_app(stack.server(auth=True)))
    with capture_audit() as audit, serving(app) as url:
        headers = {"authorization": "Bearer bob-token", "x-user": "mallory"}
        async with stack.over_http(url, headers) as caller:
            await caller.tool("add", {"a": 1, "b": 1})
        (record,) = audit.outcomes()
    assert told(record) == ("bob", "verified", "mallory-tenant")


@pytest.mark.skipif(stack.TOKENS_NAME_THE_USER, reason="the SDK's access token names the user")
async def test_a_token_that_names_no_user_is_its_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    from mcp.server.auth.provider import AccessToken

    async def verify_token(self: Any, token: str) -> Any:
        return AccessToken(token=token, client_id="app", scopes=["read"])

    monkeypatch.setattr(stack._Verifier, "verify_token", verify_token)
    with capture_audit() as audit, serving(stack.asgi_app(stack.server(auth=True))) as url:
        async with stack.over_http(url, {"authorization": "Bearer any"}) as caller:
            await caller.tool("add", {"a": 1, "b": 1})
        (record,) = audit.outcomes()
    assert told(record) == ("app", "verified", None)
    assert record.attributes["audit.actor.type"] == "service"
