# SPDX-License-Identifier: Apache-2.0
"""The order in which answers to "who" are believed."""

from __future__ import annotations

from typing import Any

import pytest

from opentelemetry.instrumentation.mcp_audit.identity.actor import resolve
from opentelemetry.instrumentation.mcp_audit.identity.headers import Headers
from opentelemetry.instrumentation.mcp_audit.identity.token import Token
from opentelemetry.instrumentation.mcp_audit.record.record import Actor

USER_TOKEN = Token(subject="alice", client_id="app", issuer="https://i", scopes=("read",), id="t1")
CLIENT_TOKEN = Token(client_id="app", id="t2")
BOUND = {"user_id": "bound", "tenant_id": "bound-tenant", "user_email": "b@example.com", "user_roles": ("x",)}
HEADERS = Headers(user="header", tenant_id="header-tenant")


@pytest.mark.parametrize(
    ("token", "bound", "headers", "on_pipe", "expected"),
    [
        (USER_TOKEN, BOUND, HEADERS, True, ("alice", "user", "verified")),
        (CLIENT_TOKEN, BOUND, HEADERS, True, ("bound", "user", "declared")),
        (None, BOUND, HEADERS, True, ("bound", "user", "declared")),
        (CLIENT_TOKEN, {}, HEADERS, True, ("header", "user", "declared")),
        (CLIENT_TOKEN, {}, Headers(), True, ("app", "service", "verified")),
        (Token(subject="app", client_id="app"), {}, Headers(), False, ("app", "service", "verified")),
        (None, {}, Headers(), True, ("owner", "user", "os")),
        (None, {}, Headers(), False, ("anonymous", "user", "none")),
        (Token(), {}, Headers(), False, ("anonymous", "user", "none")),
        (None, {"user_id": {"hostile": 1}}, Headers(), False, ("anonymous", "user", "none")),
    ],
)
def test_order(
    token: Token | None, bound: dict[str, Any], headers: Headers, on_pipe: bool, expected: tuple[str, str, str]
) -> None:
    actor = resolve(token, bound, headers, on_pipe=on_pipe, os_user="owner")
    assert (actor.id, actor.type, actor.provenance) == expected


def test_no_os_user_is_nobody() -> None:
    assert resolve(None, {}, Headers(), on_pipe=True, os_user=None) == Actor()


def test_facts_of_the_token_come_along_with_a_declared_user() -> None:
    actor = resolve(CLIENT_TOKEN, BOUND, HEADERS, on_pipe=False, os_user=None)
    assert actor == Actor(
        id="bound",
        type="user",
        provenance="declared",
        email="b@example.com",
        roles=("x",),
        tenant_id="bound-tenant",
        client_id="app",
        token_id="t2",
    )


def test_the_tokens_description_wins() -> None:
    token = Token(subject="alice", email="a@example.com", roles=("nurse",), tenant_id="acme", chain=("agent",))
    actor = resolve(token, BOUND, HEADERS, on_pipe=False, os_user=None)
    assert (actor.email, actor.roles, actor.tenant_id, actor.chain) == (
        "a@example.com",
        ("nurse",),
        "acme",
        ("agent",),
    )


def test_the_tenant_header_is_the_last_word() -> None:
    assert resolve(None, {}, HEADERS, on_pipe=False, os_user=None).tenant_id == "header-tenant"


def test_a_tenant_header_does_not_stand_beside_a_verified_actor() -> None:
    header = Headers(tenant_id="victim-corp")

    def tenant(token: Token, bound: dict[str, Any]) -> str | None:
        return resolve(token, bound, header, on_pipe=False, os_user=None).tenant_id

    assert tenant(USER_TOKEN, {}) is None
    assert tenant(CLIENT_TOKEN, {}) is None
    assert tenant(USER_TOKEN, {"tenant_id": "bound-tenant"}) == "bound-tenant"
    assert tenant(Token(subject="alice", tenant_id="acme"), {}) == "acme"
    assert tenant(CLIENT_TOKEN, {"user_id": "bob"}) == "victim-corp"
