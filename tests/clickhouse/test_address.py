# SPDX-License-Identifier: Apache-2.0
"""What a URL of ClickHouse means, and that its password is in nothing that is shown."""

from __future__ import annotations

import pytest

from opentelemetry.instrumentation.mcp_audit.clickhouse.address import Address, address

NONE: dict[str, str] = {}


def test_all_of_it() -> None:
    made = address("clickhouse://ada:p%40ss%2F%3Aword@db.example:8124/audit?secure=true&table=other", NONE)
    assert made == Address("db.example", 8124, True, "ada", "p@ss/:word", "audit", "other")
    assert made.name == "clickhouses://ada@db.example:8124/audit"
    assert "p@ss" not in repr(made) + made.name


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("clickhouse://db", Address("db", 8123, False, "default", "", "default", "mcp_audit")),
        ("clickhouses://db/audit", Address("db", 8443, True, "default", "", "audit", "mcp_audit")),
        ("clickhouse://db/audit?secure=1", Address("db", 8443, True, "default", "", "audit", "mcp_audit")),
        ("clickhouse://[::1]:9/audit", Address("::1", 9, False, "default", "", "audit", "mcp_audit")),
    ],
)
def test_defaults(url: str, expected: Address) -> None:
    assert address(url, NONE) == expected


def test_user_and_password_from_the_environment_where_the_url_has_none() -> None:
    environ = {"CLICKHOUSE_USER": "auditor", "CLICKHOUSE_PASSWORD": "secret"}
    made = address("clickhouse://db/audit", environ)
    assert (made.user, made.password) == ("auditor", "secret")
    made = address("clickhouse://ada@db/audit", environ)
    assert (made.user, made.password) == ("ada", "secret")
    made = address("clickhouse://ada:own@db/audit", environ)
    assert (made.user, made.password) == ("ada", "own")


@pytest.mark.parametrize(
    "url",
    [
        "clickhouse://ada:topsecret@db:port/audit",
        "clickhouse:///audit",
        "clickhouse://ada:topsecret@db/audit?compress=1",
        "clickhouse://ada:topsecret@db/audit?secure=perhaps",
        "clickhouses://ada:topsecret@db/audit?secure=false",
    ],
)
def test_what_is_none_is_refused_without_the_password(url: str) -> None:
    with pytest.raises(ValueError, match="secure") as said:
        address(url, NONE)
    assert "topsecret" not in str(said.value)
