# SPDX-License-Identifier: Apache-2.0
"""The Auditor's view of identity: the user's own function first, and no failure gets out."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import pytest

from opentelemetry.instrumentation.mcp_audit.identity.identity import CallerIdentity, IdentityOptions
from opentelemetry.instrumentation.mcp_audit.record.record import Actor, Invocation, Origin


def identity(identify: Callable[[Invocation], Any] | None = None, **options: Any) -> tuple[CallerIdentity, list[str]]:
    reports: list[str] = []
    made = IdentityOptions(
        identify=identify,
        keyed=lambda value: f"keyed:{len(value)}",
        os_user="owner",
        report=reports.append,
        **options,
    )
    return CallerIdentity(made), reports


def test_identify_is_asked_first() -> None:
    known = Actor(id="carol", provenance="declared")
    caller, reports = identity(lambda call: known)
    assert caller.actor(Invocation("tools/call", transport="pipe"), {"user_id": "x"}) is known
    assert reports == []


def test_identify_may_know_nobody() -> None:
    caller, reports = identity(lambda call: None)
    assert caller.actor(Invocation("tools/call", transport="pipe"), {}) == Actor(id="owner", provenance="os")
    assert reports == []


def test_identify_that_fails_is_reported_and_passed_over() -> None:
    def broken(call: Invocation) -> Actor:
        raise RuntimeError("directory is down")

    caller, reports = identity(broken)
    assert caller.actor(Invocation("tools/call", transport="pipe"), {}) == Actor(id="owner", provenance="os")
    assert reports == ["identify failed, going on without it: RuntimeError"]


def test_identify_that_returns_something_else() -> None:
    caller, reports = identity(lambda call: "carol")
    assert caller.actor(Invocation("tools/call"), {}) == Actor()
    assert reports == ["identify returned a str, not an Actor; going on without it"]


def test_a_token_that_raises_names_nobody() -> None:
    class Broken:
        @property
        def claims(self) -> Any:
            raise RuntimeError("lazy token")

    caller, reports = identity()
    call = Invocation("tools/call", transport="tcp", scope={"user": SimpleNamespace(access_token=Broken())})
    assert caller.actor(call, {}) == Actor()
    assert reports == ["the caller of a tools/call could not be told: RuntimeError"]


def test_origin() -> None:
    caller, _ = identity(trusted_proxies=(ip_network("10.0.0.0/8"),), request_id_header="X-Correlation-ID")
    call = Invocation(
        "tools/call",
        scope={
            "headers": [(b"x-correlation-id", b"c-1"), (b"x-forwarded-for", b"2001:db8::1"), (b"user-agent", b"ua")],
            "client": ("10.0.0.1", 99),
        },
    )
    assert caller.origin(call) == Origin("ua", "2001:db8::1", None, "ipv6", "c-1")


@pytest.mark.parametrize(
    ("meta", "request_id"), [({"x-request-id": "m-1"}, "m-1"), ({"x-request-id": {}}, None), ({}, None)]
)
def test_the_request_id_may_come_in_meta(meta: dict[str, Any], request_id: str | None) -> None:
    caller, _ = identity()
    assert caller.origin(Invocation("tools/call", meta=meta)) == Origin(request_id=request_id)


def test_an_exception_that_cannot_be_shown_is_named_by_its_type() -> None:
    class Unspeakable(Exception):
        def __repr__(self) -> str:
            raise RuntimeError("repr")

    def broken(call: Invocation) -> Actor:
        raise Unspeakable("AKIA")

    caller, reports = identity(broken)
    assert caller.actor(Invocation("tools/call"), {}) == Actor()
    assert reports == ["identify failed, going on without it: Unspeakable"]
