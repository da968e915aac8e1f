# SPDX-License-Identifier: Apache-2.0
"""What a verified token says, and that hostile claims say nothing and raise nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from opentelemetry.instrumentation.mcp_audit.identity.token import Token, verified_token


def keyed(value: str) -> str:
    return f"hmac-sha256:00000000:{len(value)}"


def scope_of(**fields: Any) -> dict[str, Any]:
    return {"user": SimpleNamespace(access_token=SimpleNamespace(**fields))}


def test_no_scope_no_user_no_token() -> None:
    assert verified_token(None, keyed) is None
    assert verified_token({}, keyed) is None
    assert verified_token({"user": SimpleNamespace(display_name="x")}, keyed) is None


def test_everything_a_token_can_say() -> None:
    token = verified_token(
        scope_of(
            token="secret",
            client_id="app",
            scopes=["read", "write"],
            subject="alice",
            claims={
                "sub": "other",
                "iss": "https://issuer",
                "jti": "id-1",
                "email": "a@example.com",
                "roles": ["nurse"],
                "tid": "acme",
                "org_id": "later",
                "act": {"sub": "agent"},
            },
        ),
        keyed,
    )
    assert token == Token(
        subject="alice",
        client_id="app",
        issuer="https://issuer",
        scopes=("read", "write"),
        id="id-1",
        email="a@example.com",
        roles=("nurse",),
        tenant_id="acme",
        chain=("agent",),
    )
    assert not token.of_service


def test_a_token_of_mcp_before_subject_and_claims() -> None:
    token = verified_token(scope_of(token="secret", client_id="app", scopes=["read"]), keyed)
    assert token == Token(client_id="app", scopes=("read",), id="hmac-sha256:00000000:6")
    assert token.of_service


def test_the_subject_of_claims_is_used() -> None:
    token = verified_token(
        scope_of(token="t", client_id="app", scopes=[], claims={"sub": "bob", "scope": "a b"}), keyed
    )
    assert token is not None
    assert (token.subject, token.scopes) == ("bob", ("a", "b"))


def test_client_credentials_speak_for_a_service() -> None:
    token = verified_token(scope_of(token="t", client_id="app", scopes=[], claims={"sub": "app"}), keyed)
    assert token is not None and token.of_service


def test_hostile_claims_say_nothing() -> None:
    endless: dict[str, Any] = {"sub": "x" * 10_000}
    endless["act"] = endless
    token = verified_token(
        scope_of(
            token=b"bytes",
            client_id=["app"],
            scopes={"not": "scopes"},
            subject={"sub": "x"},
            claims={
                "sub": {"a": 1},
                "iss": True,
                "jti": [],
                "roles": [{"r": 1}, "admin", 3] * 1000,
                "tid": None,
                "act": endless,
            },
        ),
        keyed,
    )
    assert token is not None
    assert (token.subject, token.client_id, token.issuer, token.id, token.scopes) == (None, None, None, None, ())
    assert len(token.roles) <= 64
    assert token.roles[:2] == ("admin", "3")
    assert token.chain == ("x" * 1024,) * 8


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
CLAIMS = st.dictionaries(
    st.sampled_from(["sub", "iss", "jti", "email", "roles", "tid", "tenant", "act", "scope", "client_id"]), JSON
)


@given(claims=CLAIMS | JSON, subject=JSON, client_id=JSON, scopes=JSON)
def test_any_claims_are_bounded_and_never_raise(claims: Any, subject: Any, client_id: Any, scopes: Any) -> None:
    token = verified_token(
        scope_of(token="t", client_id=client_id, scopes=scopes, subject=subject, claims=claims), keyed
    )
    assert token is not None
    for value in (token.subject, token.client_id, token.issuer, token.id, token.email, token.tenant_id):
        assert value is None or (isinstance(value, str) and 0 < len(value) <= 1024)
    for values in (token.scopes, token.roles, token.chain):
        assert len(values) <= 64 and all(isinstance(value, str) for value in values)
