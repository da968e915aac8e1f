# SPDX-License-Identifier: Apache-2.0
"""The delegation chain of RFC 8693."""

from __future__ import annotations

from typing import Any

import pytest

from opentelemetry.instrumentation.mcp_audit.identity.chain import MAX_DEPTH, delegation_chain


@pytest.mark.parametrize(
    ("claims", "chain"),
    [
        ({}, ()),
        ({"act": None}, ()),
        ({"act": "text"}, ()),
        ({"act": {"sub": "agent"}}, ("agent",)),
        ({"act": {"sub": "agent", "iss": "https://i"}}, ("https://i|agent",)),
        ({"act": {"client_id": "app"}}, ("app",)),
        (
            {"act": {"sub": "https://service16.example.com", "act": {"sub": "https://service77.example.com"}}},
            ("https://service16.example.com", "https://service77.example.com"),
        ),
        ({"act": {"note": 1, "act": {"sub": "inner"}}}, ("inner",)),
    ],
)
def test_chain(claims: dict[str, Any], chain: tuple[str, ...]) -> None:
    assert delegation_chain(claims) == chain


def test_depth_is_bounded() -> None:
    claims: dict[str, Any] = {}
    for number in range(100):
        claims = {"act": {"sub": str(number), **claims}}
    assert delegation_chain(claims) == tuple(str(number) for number in range(99, 99 - MAX_DEPTH, -1))
