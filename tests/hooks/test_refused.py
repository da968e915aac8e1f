# SPDX-License-Identifier: Apache-2.0
"""Which answers are refusals, who decided and why: every branch, without an SDK."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from opentelemetry.instrumentation.mcp_audit.hooks.exchange import Exchange, Layer, dispatched
from opentelemetry.instrumentation.mcp_audit.hooks.refused import decide, header, needs_body, refusing, session_id

JSON = {"content-type": "application/json; charset=utf-8"}


def exchange(layer: Layer = "transport", headers: dict[str, str] | None = None, **known: Any) -> Exchange:
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    found = Exchange({"type": "http", "headers": pairs, "query_string": known.pop("query", b"")}, layer)
    for name, value in known.items():
        setattr(found, name, value)
    return found


def error(code: int, message: str = "no") -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}).encode()


@pytest.mark.parametrize(
    ("layer", "refused", "not_refused"),
    [
        ("auth", [401, 403], [200, 307, 400, 404, 421, 500]),
        ("guard", [403, 421], [200, 401, 404, 405, 503]),
        ("transport", [400, 401, 403, 404, 405, 406, 409, 413, 415, 421, 429, 503], [200, 202, 307, 500, 502]),
    ],
)
def test_which_statuses_are_refusals(layer: Layer, refused: list[int], not_refused: list[int]) -> None:
    assert [status for status in refused + not_refused if refusing(exchange(layer), status)] == refused
    reached = exchange(layer)
    dispatched({"mcp_audit.exchange": reached})
    assert not any(refusing(reached, status) for status in refused)


def test_dispatch_without_http() -> None:
    dispatched(None)
    dispatched({})


def test_when_the_answers_body_is_needed() -> None:
    assert [status for status in (400, 401, 403, 404, 421) if needs_body(exchange(), status)] == [400]
    assert [status for status in (403, 421) if needs_body(exchange("guard"), status)] == [403]


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        (None, "missing_token"),
        ("Basic abc", "missing_token"),
        ("Bearer", "missing_token"),
        ("bEaReR abc", "invalid_token"),
    ],
)
def test_authentication(authorization: str | None, reason: str) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    assert decide(exchange("auth", headers), 401, b"") == ("auth", reason)
    assert decide(exchange("auth", headers), 403, b"") == ("auth", "insufficient_scope")


def test_fastmcps_guard_stands_around_the_applications_own_routes() -> None:
    assert decide(exchange("guard"), 403, b"Forbidden Origin") == ("transport_security", "bad_origin")
    assert decide(exchange("guard"), 403, b"not yours") is None
    assert decide(exchange("guard"), 421, b"") == ("transport_security", "bad_host")


@pytest.mark.parametrize(
    ("status", "decision"),
    [
        (403, ("transport_security", "bad_origin")),
        (405, ("protocol", "method_not_allowed")),
        (406, ("protocol", "not_acceptable")),
        (409, ("session", "stream_conflict")),
        (413, ("transport_security", "body_too_large")),
        (415, ("protocol", "unsupported_media_type")),
        (418, ("protocol", "http_418")),
        (421, ("transport_security", "bad_host")),
        (503, ("session", "too_many_sessions")),
    ],
)
def test_by_status(status: int, decision: tuple[str, str]) -> None:
    assert decide(exchange(), status, b"") == decision


@pytest.mark.parametrize(
    ("body", "modern", "reason"),
    [
        (error(-32700), True, "parse_error"),
        (error(-32700), False, "parse_error"),
        (error(-32600), True, "invalid_message"),
        (error(-32602), True, "bad_envelope"),
        (error(-32602), False, "invalid_message"),
        (error(-32020, "Mcp-Method header does not match"), True, "header_mismatch"),
        (error(-32020, "Mcp-Param-Region header is missing"), True, "param_header_mismatch"),
        (error(-32021), True, "missing_capability"),
        (error(-32022), True, "unsupported_version"),
        (error(-32600), False, "unsupported_version"),
        (error(-1), False, "invalid_message"),
        (b"Invalid Content-Type header", False, "invalid_message"),
        (b"{", False, "invalid_message"),
        (b"[]", False, "invalid_message"),
        (b'{"error": 1}', False, "invalid_message"),
        (b'{"error": {"code": true}}', False, "invalid_message"),
        (b"[" * 10_000, False, "invalid_message"),
        (error(-32700, "x" * 20_000), False, "invalid_message"),
    ],
)
def test_bad_requests(body: bytes, modern: bool, reason: str) -> None:
    assert decide(exchange(headers=JSON, modern=modern), 400, body) == ("protocol", reason)


def test_bad_requests_of_a_server_with_sessions() -> None:
    manager = SimpleNamespace(_server_instances={})
    known = {**JSON, "mcp-session-id": "s"}
    assert decide(exchange(headers=JSON, manager=manager), 400, error(-32600)) == ("session", "missing_session")
    assert decide(exchange(headers=known, manager=manager), 400, error(-32600)) == ("protocol", "unsupported_version")
    assert decide(exchange(headers=known, manager=manager), 400, b"No valid session") == ("session", "unknown_session")
    plain = {"content-type": "text/plain"}
    assert decide(exchange(headers=plain, manager=manager), 400, b"no") == ("protocol", "unsupported_media_type")


def test_whose_session_it_is() -> None:
    instances = {"there": SimpleNamespace(_terminated=False), "ended": SimpleNamespace(_terminated=True)}
    manager = SimpleNamespace(_server_instances=instances)

    def reason(named: str) -> Any:
        return decide(exchange(headers={"mcp-session-id": named}, manager=manager), 404, b"")

    assert reason("there") == ("session", "foreign_session")
    assert reason("ended") == reason("never") == ("session", "unknown_session")
    assert decide(exchange(headers={"mcp-session-id": "there"}), 404, b"") == ("session", "unknown_session")
    assert decide(exchange(manager=manager), 404, b"") == ("session", "unknown_session")


def test_the_older_http_and_sse_transport() -> None:
    there = UUID("00000000-0000-4000-8000-000000000001")
    sse = SimpleNamespace(_read_stream_writers={there: object()})

    def reason(query: bytes, status: int, headers: dict[str, str] = JSON) -> Any:
        return decide(exchange(headers=headers, sse=sse, query=query), status, b"")

    assert reason(b"session_id=" + there.hex.encode(), 404) == ("session", "foreign_session")
    assert reason(b"session_id=" + b"0" * 32, 404) == ("session", "unknown_session")
    assert reason(b"session_id=x", 404) == ("session", "unknown_session")
    assert reason(b"session_id=x", 400) == ("session", "unknown_session")
    assert reason(b"", 400) == ("session", "missing_session")
    assert reason(b"session_id=" + there.hex.encode(), 400) == ("protocol", "parse_error")
    assert reason(b"", 400, {}) == ("protocol", "unsupported_media_type")
    assert session_id(exchange(sse=sse, query=b"session_id=a&session_id=b")) == "a"
    assert session_id(exchange(headers={"mcp-session-id": "h"}, sse=sse)) is None


def test_headers_of_a_server_with_a_scope_of_its_own_making() -> None:
    assert header({}, b"x") is None
    assert header({"headers": None}, b"x") is None
    assert header({"headers": [(b"x", "text")]}, b"x") is None
    assert header({"headers": [(b"x", b"\xff"), (b"x", b"2")]}, b"x") == "\xff"
