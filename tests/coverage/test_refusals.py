# SPDX-License-Identifier: Apache-2.0
"""What is refused before dispatch: real servers on uvicorn, raw HTTP requests, one ``access_denied`` record for each."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import stack
from serving import serving

from opentelemetry.instrumentation.mcp_audit.testing import Captured, capture_audit

if stack.V2:
    import httpx2 as httpx
else:
    import httpx

pytestmark = pytest.mark.timeout(120)

MCP = "/mcp"
SECRET = "sk-refused-0123456789abcdef"
JSON = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
MODERN = {**JSON, "mcp-protocol-version": stack.MODERN}
ALICE = {"authorization": "Bearer alice-token"}
DAVE = {"authorization": "Bearer dave-token"}  # of another client: fastmcp 2 and 3 tell the SDK no subject
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}},
}
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": stack.MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}
OVER_HTTP = ["http-sse", "http-stateful", "http-stateless", "http-modern"]
modern_only = pytest.mark.skipif(not stack.V2, reason=f"{stack.NAME} does not speak {stack.MODERN}")


@asynccontextmanager
async def raw(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url.removesuffix(MCP), timeout=20) as http:
        yield http


def serving_refusals(transport: str, made: Any) -> AbstractContextManager[str]:
    """The server over ``transport`` with its check of Host and Origin on."""
    if transport == "http-modern" and not stack.V2:
        pytest.skip(f"{stack.NAME} does not speak {stack.MODERN}")
    return serving(stack.guarded_app(made, transport))


async def ask(http: httpx.AsyncClient, transport: str, headers: Mapping[str, str]) -> httpx.Response:
    """A request as a client of ``transport`` begins, on a connection of its own: some stacks cut it after a refusal."""
    headers = {**headers, "connection": "close"}
    if transport == "http-sse":
        return await http.get("/sse", headers=headers)
    if transport == "http-modern":
        listing = {**LIST, "params": {"_meta": ENVELOPE}}
        return await http.post(MCP, json=listing, headers={**MODERN, "mcp-method": "tools/list", **headers})
    return await http.post(MCP, json=LIST if transport == "http-stateless" else INITIALIZE, headers={**JSON, **headers})


def denials(records: list[Captured]) -> list[Captured]:
    return [record for record in records if record.event == "mcp_audit.access_denied"]


def told(record: Captured) -> tuple[Any, ...]:
    get = record.attributes.get
    return (
        get("http.request.method"),
        get("http.response.status_code"),
        get("mcp_audit.decision.by"),
        get("mcp_audit.decision.reason"),
    )


async def open_session(http: httpx.AsyncClient, headers: Mapping[str, str]) -> str:
    answer = await http.post(MCP, json=INITIALIZE, headers={**JSON, **headers})
    assert answer.status_code == 200, answer.text
    session = answer.headers["mcp-session-id"]
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    await http.post(MCP, json=ready, headers={**JSON, **headers, "mcp-session-id": session})
    return str(session)


@pytest.mark.cell("HTTP 401", transport="http-stateful")
async def test_every_attribute_of_a_refused_stranger() -> None:
    with capture_audit() as audit, serving(stack.asgi_app(stack.server(auth=True))) as url:
        async with raw(url) as http:
            headers = {**JSON, "user-agent": "intruder/1", "x-request-id": "trace-7", "mcp-session-id": "guessed"}
            answer = await http.post(MCP, json=LIST, headers=headers)
    assert answer.status_code == 401
    (record,) = audit.outcomes()
    attributes = dict(record.attributes)
    record_id = attributes.pop("audit.record.id")
    assert attributes.pop("mcp_audit.call.id") == record_id
    assert isinstance(attributes.pop("client.port"), int)
    assert isinstance(attributes.pop("mcp_audit.duration_us"), int)
    assert len(str(attributes.pop("mcp_audit.policy.hash"))) == 64
    assert str(attributes.pop("mcp.session.id")).startswith("hmac-sha256:")
    assert attributes == {
        "audit.action": "EXECUTE",
        "audit.actor.id": "anonymous",
        "audit.actor.type": "user",
        "audit.outcome": "failure",
        "audit.schema.version": "1.0",
        "audit.source.id": "127.0.0.1",
        "audit.source.type": "ipv4",
        "audit.target.id": "/mcp",
        "audit.target.type": "endpoint",
        "client.address": "127.0.0.1",
        "error.type": "401",
        "http.request.method": "POST",
        "http.response.status_code": 401,
        "mcp.method.name": "unknown",
        "mcp_audit.actor.provenance": "none",
        "mcp_audit.decision": "denied",
        "mcp_audit.decision.by": "auth",
        "mcp_audit.decision.reason": "missing_token",
        "mcp_audit.level": "metadata",
        "mcp_audit.outcome.detail": "denied",
        "mcp_audit.policy.rule": "other",
        "mcp_audit.request.id": "trace-7",
        "network.transport": "tcp",
        "user_agent.original": "intruder/1",
    }
    assert record.body is None


@pytest.mark.cell("HTTP 401", transport="http-stateful")
@pytest.mark.cell("HTTP 403", transport="http-stateful")
async def test_authentication() -> None:
    with capture_audit() as audit, serving(stack.asgi_app(stack.server(auth=True))) as url:
        async with raw(url) as http:
            answers = [
                await http.post(MCP, json=LIST, headers={**JSON, "authorization": f"Bearer {SECRET}"}),
                await http.get(MCP, headers={**JSON, "authorization": f"Basic {SECRET}"}),
                await http.delete(MCP),
                await http.post(MCP, json=LIST, headers={**JSON, "authorization": "Bearer carol-token"}),
            ]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 403]
    assert [told(record) for record in denials(audit.records)] == [
        ("POST", 401, "auth", "invalid_token"),
        ("GET", 401, "auth", "missing_token"),
        ("DELETE", 401, "auth", "missing_token"),
        ("POST", 403, "auth", "insufficient_scope"),
    ]
    # Whose token lacks a scope is known: it was verified.
    carol = denials(audit.records)[3].attributes
    assert carol["audit.actor.id"] == "carol"
    assert carol["mcp_audit.actor.provenance"] == "verified"
    assert carol["mcp_audit.actor.client_id"] == "app"
    assert carol["mcp_audit.actor.scopes"] == ["nothing"]
    assert len(audit.outcomes()) == 4
    assert not any(word in record.line for record in audit.records for word in (SECRET, "carol-token"))


@pytest.mark.cell("wrong session owner (404)", transport="http-stateful")
async def test_sessions() -> None:
    if not stack.owns_sessions():
        pytest.skip(f"this {stack.NAME} knows no owner of a session")
    with capture_audit() as audit, serving(stack.asgi_app(stack.server(auth=True))) as url:
        async with raw(url) as http:
            session = await open_session(http, ALICE)
            answers = [
                await http.post(MCP, json=LIST, headers={**JSON, **ALICE, "mcp-session-id": "nobody"}),
                await http.post(MCP, json=LIST, headers={**JSON, **DAVE, "mcp-session-id": session}),
                await http.post(MCP, json=LIST, headers={**JSON, **ALICE}),
                await http.delete(MCP, headers={**DAVE, "mcp-session-id": session}),
                await http.post(MCP, json=LIST, headers={**JSON, **ALICE, "mcp-session-id": session}),
                await http.delete(MCP, headers={**ALICE, "mcp-session-id": session}),
                await http.post(MCP, json=LIST, headers={**JSON, **ALICE, "mcp-session-id": session}),
            ]
    assert [answer.status_code for answer in answers] == [404, 404, 400, 404, 200, 200, 404]
    found = denials(audit.records)
    assert [told(record) for record in found] == [
        ("POST", 404, "session", "unknown_session"),
        ("POST", 404, "session", "foreign_session"),
        ("POST", 400, "session", "missing_session"),
        ("DELETE", 404, "session", "foreign_session"),
        ("POST", 404, "session", "unknown_session"),
    ]
    actors = [record.attributes["audit.actor.id"] for record in found]
    assert actors == ["alice", "dave", "alice", "dave", "alice"]
    hashes = [record.attributes.get("mcp.session.id") for record in found]
    assert hashes[1] == hashes[3] == hashes[4] != hashes[0]
    assert hashes[2] is None
    assert not any(session in record.line for record in audit.records)


@pytest.mark.cell("request before initialize", transport="http-stateful")
async def test_a_request_without_a_session() -> None:
    """Over stateful HTTP a request before ``initialize`` is one without a session, which the transport refuses."""
    with capture_audit() as audit, serving(stack.asgi_app(stack.server())) as url:
        async with raw(url) as http:
            answer = await http.post(MCP, json=LIST, headers=JSON)
    assert answer.status_code == 400
    assert [told(record) for record in audit.outcomes()] == [("POST", 400, "session", "missing_session")]


@pytest.mark.cell("rejected HTTP request (400/405/406)", transport="http-stateful")
async def test_the_older_wire() -> None:
    """Headers, bodies and methods that the transport of up to 2025-11-25 refuses."""
    text = {**JSON, "content-type": "text/plain"}
    with capture_audit() as audit, serving(stack.asgi_app(stack.server())) as url:
        async with raw(url) as http:
            session = await open_session(http, {})
            here = {**JSON, "mcp-session-id": session}
            answers = [
                await http.post(MCP, content=b"{", headers=here),
                await http.post(MCP, content=b'{"jsonrpc": "2.0"}', headers=here),
                await http.post(MCP, json=LIST, headers={**here, "accept": "text/html"}),
                await http.post(MCP, content=b"{}", headers={**text, "mcp-session-id": session}),
                await http.get(MCP, headers={"accept": "text/html", "mcp-session-id": session}),
                await http.put(MCP, headers=here),
                await http.post(MCP, json=LIST, headers=here),
            ]
    statuses = [answer.status_code for answer in answers]
    assert statuses == [400, 400, 406, 400, 406, 405, 200]
    assert [told(record) for record in denials(audit.records)] == [
        ("POST", 400, "protocol", "parse_error"),
        ("POST", 400, "protocol", "invalid_message"),
        ("POST", 406, "protocol", "not_acceptable"),
        ("POST", 400, "protocol", "unsupported_media_type"),
        ("GET", 406, "protocol", "not_acceptable"),
        ("PUT", 405, "protocol", "method_not_allowed"),
    ]


@pytest.mark.cell("rejected HTTP request (400/405/406)", transport="http-stateful")
async def test_a_version_that_nobody_speaks() -> None:
    with capture_audit() as audit, serving(stack.asgi_app(stack.server())) as url:
        async with raw(url) as http:
            session = await open_session(http, {})
            headers = {**JSON, "mcp-session-id": session, "mcp-protocol-version": "1999-01-01"}
            answer = await http.post(MCP, json={**LIST, "params": {"_meta": ENVELOPE_1999}}, headers=headers)
    assert answer.status_code == 400
    (record,) = denials(audit.records)
    assert told(record)[1:3] == (400, "protocol")
    assert told(record)[3] in ("unsupported_version", "header_mismatch")
    assert record.attributes["mcp.protocol.version"] == "1999-01-01"


ENVELOPE_1999 = {**ENVELOPE, "io.modelcontextprotocol/protocolVersion": "1999-01-01"}


@pytest.mark.cell("second stream of a session (409)", transport="http-stateful")
async def test_a_second_stream_of_a_session() -> None:
    with capture_audit() as audit, serving(stack.asgi_app(stack.server())) as url:
        async with raw(url) as http:
            headers = {**JSON, "mcp-session-id": await open_session(http, {})}
            async with http.stream("GET", MCP, headers=headers) as first:
                assert first.status_code == 200
                second = await http.get(MCP, headers=headers)
    assert second.status_code == 409
    assert [told(record) for record in denials(audit.records)] == [("GET", 409, "session", "stream_conflict")]


@pytest.mark.cell("body too large (413)", transport="http-stateful")
async def test_a_body_that_is_too_large() -> None:
    if not stack.limits_bodies():
        pytest.skip(f"{stack.NAME} has no limit on bodies")
    large = json.dumps({**LIST, "params": {"cursor": "x" * 5_000_000}})
    with capture_audit() as audit, serving(stack.asgi_app(stack.server())) as url:
        async with raw(url) as http:
            answer = await http.post(MCP, content=large, headers=JSON)
    assert answer.status_code == 413
    assert [told(record) for record in denials(audit.records)] == [
        ("POST", 413, "transport_security", "body_too_large")
    ]


@pytest.mark.parametrize("transport", OVER_HTTP)
@pytest.mark.cell("HTTP 401")
@pytest.mark.cell("HTTP 403")
async def test_strangers_and_the_unentitled(transport: str) -> None:
    """A request without a token, and one whose token lacks the scope."""
    with capture_audit() as audit, serving_refusals(transport, stack.server(auth=True)) as url:
        async with raw(url) as http:
            statuses = [
                (await ask(http, transport, {})).status_code,
                (await ask(http, transport, {"authorization": "Bearer carol-token"})).status_code,
            ]
    assert statuses == [401, 403]
    method = "GET" if transport == "http-sse" else "POST"
    assert [told(record) for record in denials(audit.records)] == [
        (method, 401, "auth", "missing_token"),
        (method, 403, "auth", "insufficient_scope"),
    ]
    assert [record.attributes["audit.actor.id"] for record in denials(audit.records)] == ["anonymous", "carol"]
    assert len(audit.outcomes()) == 2


@pytest.mark.parametrize("transport", OVER_HTTP)
@pytest.mark.cell("bad Host or Origin (421/403)")
async def test_host_and_origin(transport: str) -> None:
    if not stack.guards_host():
        pytest.skip(f"{stack.NAME} has no guard of Host and Origin that is its own")
    with capture_audit() as audit, serving_refusals(transport, stack.server()) as url:
        async with raw(url) as http:
            statuses = [
                (await ask(http, transport, {"host": "evil.example"})).status_code,
                (await ask(http, transport, {"origin": "https://evil.example"})).status_code,
            ]
    method = "GET" if transport == "http-sse" else "POST"
    assert statuses == [421, 403]
    assert [told(record) for record in denials(audit.records)] == [
        (method, 421, "transport_security", "bad_host"),
        (method, 403, "transport_security", "bad_origin"),
    ]
    assert len(audit.outcomes()) == 2


async def test_the_guard_lets_the_others_through() -> None:
    if not stack.guards_host():
        pytest.skip(f"{stack.NAME} has no guard of Host and Origin that is its own")
    with capture_audit() as audit, serving(stack.guarded_app(stack.server())) as url:
        async with raw(url) as http:
            refused = await http.get(MCP, headers={"origin": "https://evil.example"})
            session = await open_session(http, {})
            fine = await http.post(MCP, json=LIST, headers={**JSON, "mcp-session-id": session})
    assert (refused.status_code, fine.status_code) == (403, 200)
    assert [told(record) for record in denials(audit.records)] == [("GET", 403, "transport_security", "bad_origin")]


@modern_only
@pytest.mark.cell("rejected HTTP request (400/405/406)", transport="http-modern")
async def test_the_modern_wire() -> None:
    """What 2026-07-28 refuses before dispatch, and that what it dispatches is not refused as well."""
    add = {"name": "add", "arguments": {"a": 1, "b": 2}, "_meta": ENVELOPE}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": add}
    listing = {**LIST, "params": {"_meta": ENVELOPE}}
    named = {**MODERN, "mcp-method": "tools/call", "mcp-name": "add"}
    unknown = {**listing, "method": "no/such"}
    with capture_audit() as audit, serving(stack.asgi_app(stack.server())) as url:
        async with raw(url) as http:
            answers = [
                await http.post(MCP, content=b"[", headers=MODERN),
                await http.post(MCP, content=b"[]", headers=MODERN),
                await http.post(MCP, json=call, headers={**named, "mcp-name": "crash"}),
                await http.post(MCP, json=call, headers={**named, "mcp-method": "tools/list"}),
                await http.post(MCP, json=LIST, headers={**MODERN, "mcp-method": "tools/list"}),
                await http.get(MCP, headers=MODERN),
                await http.delete(MCP, headers=MODERN),
                await http.post(MCP, json=call, headers={**named, "accept": "text/html"}),
                await http.post(MCP, content=b"{}", headers={**MODERN, "content-type": "text/plain"}),
                await http.post(MCP, json=listing, headers={**MODERN, "mcp-protocol-version": "1999-01-01"}),
                await http.post(MCP, json=unknown, headers={**MODERN, "mcp-method": "no/such"}),
                await http.post(MCP, json=call, headers=named),
            ]
    assert [answer.status_code for answer in answers] == [400, 400, 400, 400, 400, 405, 405, 406, 400, 400, 404, 200]
    assert [told(record) for record in denials(audit.records)] == [
        ("POST", 400, "protocol", "parse_error"),
        ("POST", 400, "protocol", "invalid_message"),
        ("POST", 400, "protocol", "header_mismatch"),
        ("POST", 400, "protocol", "header_mismatch"),
        ("POST", 400, "protocol", "bad_envelope"),
        ("GET", 405, "protocol", "method_not_allowed"),
        ("DELETE", 405, "protocol", "method_not_allowed"),
        ("POST", 406, "protocol", "not_acceptable"),
        ("POST", 400, "protocol", "unsupported_media_type"),
        ("POST", 400, "protocol", "header_mismatch"),
    ]
    assert denials(audit.records)[2].attributes["mcp.method.name"] == "tools/call"
    others = [record for record in audit.outcomes() if record.event != "mcp_audit.access_denied"]
    assert [(record.event, record.attributes["mcp_audit.outcome.detail"]) for record in others] == [
        ("mcp_audit.request", "unknown_method"),
        ("mcp_audit.tool_call", "ok"),
    ]


@modern_only
@pytest.mark.cell("rejected HTTP request (400/405/406)", transport="http-modern")
async def test_a_parameter_in_a_header_that_differs_from_the_body() -> None:
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "route", "arguments": {"region": "eu"}, "_meta": ENVELOPE},
    }
    headers = {**MODERN, "mcp-method": "tools/call", "mcp-name": "route"}
    with capture_audit() as audit, serving(stack.asgi_app(stack.header_server())) as url:
        async with raw(url) as http:
            bad = await http.post(MCP, json=call, headers={**headers, "mcp-param-region": "us"})
            good = await http.post(MCP, json=call, headers={**headers, "mcp-param-region": "eu"})
    assert (bad.status_code, good.status_code) == (400, 200)
    assert [told(record) for record in denials(audit.records)] == [("POST", 400, "protocol", "param_header_mismatch")]
    assert [record.attributes["audit.outcome"] for record in audit.tool_calls()] == ["success"]


@pytest.mark.cell("too many sessions (503)", transport="http-stateful")
async def test_a_session_too_many() -> None:
    with capture_audit() as audit, serving(stack.asgi_app(stack.server())) as url:
        async with raw(url) as http:
            await open_session(http, {})
            managers = [manager for manager in stack.session_managers() if hasattr(manager, "max_sessions")]
            if not managers:
                pytest.skip(f"{stack.NAME} has no limit on sessions")
            for manager in managers:
                manager.max_sessions = 1
            answer = await http.post(MCP, json=INITIALIZE, headers=JSON)
    assert answer.status_code == 503
    assert [told(record) for record in denials(audit.records)] == [("POST", 503, "session", "too_many_sessions")]


@pytest.mark.cell("HTTP 401", transport="http-sse")
@pytest.mark.cell("wrong session owner (404)", transport="http-sse")
@pytest.mark.cell("rejected HTTP request (400/405/406)", transport="http-sse")
async def test_the_http_and_sse_transport() -> None:
    if not stack.owns_sessions():
        pytest.skip(f"this {stack.NAME} knows no owner of a session")
    with capture_audit() as audit, serving(stack.sse_app(stack.server(auth=True))) as url:
        async with raw(url) as http:
            answers = [
                await http.get("/sse"),
                await http.post("/messages/", json=LIST),
                await http.post("/messages/", json=LIST, headers=ALICE),
                await http.post(f"/messages/?session_id={'0' * 32}", json=LIST, headers=ALICE),
                await http.post("/messages/?session_id=x", json=LIST, headers=ALICE),
                await http.post("/messages/", content=b"", headers={**ALICE, "content-type": "text/plain"}),
            ]
            async with http.stream("GET", "/sse", headers=ALICE) as stream:
                lines = stream.aiter_lines()
                path = next(line[6:] for line in [await anext(lines), await anext(lines)] if line.startswith("data: "))
                answers += [
                    await http.post(path, json=LIST, headers=DAVE),
                    await http.post(path, content=b"{", headers={**JSON, **ALICE}),
                    await http.post(path, json=INITIALIZE, headers=ALICE),
                ]
    assert [answer.status_code for answer in answers] == [401, 401, 400, 404, 400, 400, 404, 400, 202]
    found = denials(audit.records)
    assert [told(record) for record in found] == [
        ("GET", 401, "auth", "missing_token"),
        ("POST", 401, "auth", "missing_token"),
        ("POST", 400, "session", "missing_session"),
        ("POST", 404, "session", "unknown_session"),
        ("POST", 400, "session", "unknown_session"),
        ("POST", 400, "protocol", "unsupported_media_type"),
        ("POST", 404, "session", "foreign_session"),
        ("POST", 400, "protocol", "parse_error"),
    ]
    assert found[3].attributes["audit.target.id"] != "/sse"
    assert "0" * 32 not in found[3].line


async def test_nothing_changes_for_the_client() -> None:
    """The same requests with and without us: status, body and headers (but the date and a new session's id) are the same."""

    async def asked(url: str) -> list[tuple[int, bytes, dict[str, str]]]:
        async with raw(url) as http:
            session = await open_session(http, ALICE)
            answers = [
                await http.post(MCP, json=LIST, headers=JSON),
                await http.post(MCP, json=LIST, headers={**JSON, **ALICE, "mcp-session-id": "nobody"}),
                await http.post(MCP, content=b"{", headers={**JSON, **ALICE, "mcp-session-id": session}),
                await http.post(MCP, json=LIST, headers={**JSON, **ALICE, "mcp-session-id": session}),
            ]
        drop = ("date", "mcp-session-id")
        return [
            (one.status_code, one.content, {k: v for k, v in one.headers.items() if k not in drop}) for one in answers
        ]

    with serving(stack.asgi_app(stack.server(auth=True))) as url:
        bare = await asked(url)
    with capture_audit(), serving(stack.asgi_app(stack.server(auth=True))) as url:
        audited = await asked(url)
    assert audited == bare
    assert [status for status, _, _ in bare] in ([401, 404, 400, 200], [401, 400, 400, 200])  # mcp 1.24: the latter


@pytest.mark.cell("flood of refusals", transport="http-stateful")
async def test_a_flood_costs_no_authenticated_call_its_record() -> None:
    """Three hundred refusals over the wire, calls of an authenticated user in between (100,000 in process: tests/refusals)."""
    with capture_audit(refusals_per_minute=7) as audit, serving(stack.asgi_app(stack.server(auth=True))) as url:

        async def flood(http: httpx.AsyncClient, requests: int) -> None:
            for _ in range(requests):
                answer = await http.post(MCP, json=LIST, headers={**JSON, "authorization": f"Bearer {SECRET}"})
                assert answer.status_code == 401

        async with raw(url) as http, stack.over_http(url, ALICE) as caller:
            floods = [asyncio.ensure_future(flood(http, 100)) for _ in range(3)]
            for number in range(50):
                await caller.tool("add", {"a": number, "b": 1})
            await asyncio.gather(*floods)
    calls = audit.tool_calls("add")
    assert [call.arguments["a"] for call in calls] == list(range(50))
    assert {call.attributes["audit.outcome"] for call in calls} == {"success"}
    own = len(denials(audit.records))
    counted = sum(
        int(str(record.attributes["mcp_audit.summary.count"]))
        for record in audit.records
        if record.event == "mcp_audit.summary"
    )
    assert own + counted == 300
    assert own % 7 == 0 and own <= 21  # a window is a minute; a slow machine may see three
    assert not any(SECRET in record.line for record in audit.records)


def test_no_token_is_on_the_disk(tmp_path: Path) -> None:
    """A server process of its own with a real journal: what was refused is in it, no token anywhere in its directory."""
    port_file, journal = tmp_path / "port", tmp_path / "journal"
    script = Path(__file__).with_name("refused_server.py")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environment |= {"OTEL_MCP_AUDIT_DIR": str(journal), "OTEL_MCP_AUDIT_LEVEL": "request_response"}
    server = subprocess.Popen([sys.executable, str(script), str(port_file)], env=environment, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while not port_file.exists():
            assert server.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        headers = {**JSON, "authorization": f"Bearer {SECRET}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port_file.read_text()}", timeout=20) as http:
            statuses = [http.post(MCP, json=LIST, headers=headers).status_code for _ in range(30)]
            statuses.append(http.post(MCP, json=INITIALIZE, headers={**JSON, **ALICE}).status_code)
        server.send_signal(signal.SIGINT)
        _, stderr = server.communicate(timeout=30)
    finally:
        server.kill()
    assert statuses == [401] * 30 + [200]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    for secret in (SECRET.encode(), b"alice-token"):
        assert secret not in stderr
        assert [path for path in files if secret in path.read_bytes()] == []
    found = [
        json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
        for path in files
        if path.suffix == ".jsonl" and path.name != "ledger.jsonl"
        for line in path.read_text().splitlines()
    ]
    events = Counter(record["eventName"] for record in found)
    assert events["mcp_audit.access_denied"] == 10
    (summary,) = [record for record in found if record["eventName"] == "mcp_audit.summary"]
    assert {"key": "mcp_audit.summary.count", "value": {"intValue": "20"}} in summary["attributes"]
    verified = subprocess.run(
        [sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli", "verify", str(journal)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr
