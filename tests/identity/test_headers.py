# SPDX-License-Identifier: Apache-2.0
"""Headers and addresses: what is believed, from whom, and that nothing malformed raises."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentelemetry.instrumentation.mcp_audit.identity.headers import (
    HeaderNames,
    Headers,
    client_of,
    read,
    source_type,
)

NAMES = HeaderNames(user="x-user")
PROXIES = (ip_network("10.0.0.0/8"), ip_network("::1/128"))


def scope(*headers: tuple[bytes, bytes], client: Any = ("192.0.2.7", 4711)) -> dict[str, Any]:
    return {"type": "http", "headers": list(headers), "client": client}


def test_nothing_without_http() -> None:
    assert read(None, NAMES) == Headers()


def test_all_that_is_read() -> None:
    found = read(
        scope(
            (b"User-Agent", b"agent/1"),
            (b"x-request-id", b" req-1 "),
            (b"x-tenant-id", b"acme"),
            (b"x-user", b"alice"),
            (b"x-forwarded-for", b"203.0.113.9"),
        ),
        NAMES,
    )
    assert found == Headers("agent/1", "req-1", "acme", "alice", "192.0.2.7", 4711)


def test_no_user_header_unless_configured() -> None:
    assert read(scope((b"x-user", b"alice"), (b"", b"bob")), HeaderNames()).user is None


def test_a_name_sent_twice_is_nobodys() -> None:
    found = read(
        scope((b"x-user", b"alice"), (b"x-user", b"root"), (b"x-tenant-id", b"a"), (b"x-tenant-id", b"b")), NAMES
    )
    assert (found.user, found.tenant_id) == (None, None)


def test_malformed_bytes_and_size() -> None:
    found = read(scope((b"user-agent", b"\xff\xfe\x00"), (b"x-request-id", b"r" * 100_000)), NAMES)
    assert found.user_agent == "\xff\xfe\x00"
    assert found.request_id == "r" * 1024


@pytest.mark.parametrize(
    ("client", "address", "port"),
    [
        (("::1", 1), "::1", 1),
        (["192.0.2.1", 2], "192.0.2.1", 2),
        (None, None, None),
        ((), None, None),
        (("", 0), None, None),
        (("/run/app.sock", None), "/run/app.sock", None),
        (("testclient", 50000), "testclient", 50000),
        (("192.0.2.1", "80"), "192.0.2.1", None),
        (("192.0.2.1", True), "192.0.2.1", None),
        ((3, 4), None, None),
    ],
)
def test_peer(client: Any, address: str | None, port: int | None) -> None:
    found = read(scope(client=client), NAMES)
    assert (found.address, found.port) == (address, port)


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        # Nobody is believed who is no trusted proxy.
        ("192.0.2.7", "203.0.113.9", ("192.0.2.7", 1)),
        ("10.0.0.1", "203.0.113.9", ("203.0.113.9", None)),
        # What the client wrote itself stands left of what the proxies saw.
        ("10.0.0.1", "127.0.0.1, 203.0.113.9", ("203.0.113.9", None)),
        ("10.0.0.1", "203.0.113.9, 10.0.0.2, 10.0.0.3", ("203.0.113.9", None)),
        ("10.0.0.1", "10.0.0.9, 10.0.0.2", ("10.0.0.9", None)),
        ("10.0.0.1", "203.0.113.9, unknown", ("10.0.0.1", 1)),
        ("10.0.0.1", "203.0.113.9, unknown, 10.0.0.2", ("10.0.0.2", None)),
        ("10.0.0.1", "", ("10.0.0.1", 1)),
        ("10.0.0.1", "203.0.113.9:5050", ("203.0.113.9", 5050)),
        ("::1", "[2001:db8::1]:5050", ("2001:db8::1", 5050)),
        ("::1", "2001:db8::1", ("2001:db8::1", None)),
        ("::ffff:10.0.0.1", "203.0.113.9", ("203.0.113.9", None)),
        (None, "203.0.113.9", (None, 1)),
    ],
)
def test_forwarded(peer: str | None, forwarded: str, client: tuple[str | None, int | None]) -> None:
    assert client_of(peer, 1, forwarded, PROXIES) == client


def test_forwarded_lines_are_one_list_in_their_order() -> None:
    found = read(
        scope((b"x-forwarded-for", b"203.0.113.1"), (b"x-forwarded-for", b"203.0.113.2"), client=("10.0.0.1", 9)),
        NAMES,
        PROXIES,
    )
    assert (found.address, found.port) == ("203.0.113.2", None)


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        (None, None),
        ("", None),
        ("192.0.2.1", "ipv4"),
        ("::ffff:192.0.2.1", "ipv4"),
        ("2001:db8::1", "ipv6"),
        ("fe80::1%eth0", "ipv6"),
        ("testclient", "hostname"),
        ("1" * 500, "hostname"),
    ],
)
def test_source_type(address: str | None, kind: str | None) -> None:
    assert source_type(address) == kind


@given(
    headers=st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=60)) | st.none() | st.integers(), max_size=8),
    client=st.none() | st.tuples(st.text(max_size=20), st.integers()) | st.integers(),
    forwarded=st.binary(max_size=80),
)
def test_nothing_raises(headers: list[Any], client: Any, forwarded: bytes) -> None:
    found = read(
        {"headers": [*headers, (b"x-forwarded-for", forwarded)], "client": client}, NAMES, (ip_network("0.0.0.0/0"),)
    )
    for value in (found.user_agent, found.request_id, found.tenant_id, found.user, found.address):
        assert value is None or (value and len(value) <= 1024)
    assert found.port is None or 0 < found.port < 65536


def test_a_flood_of_headers_is_bounded() -> None:
    found = read({"headers": [(b"x-a", b"b")] * 100_000 + [(b"x-user", b"late")], "client": None}, NAMES)
    assert found.user is None
