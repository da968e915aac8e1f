# SPDX-License-Identifier: Apache-2.0
"""100,000 refusals from one address, in process, through the SDK's own authentication into a real journal."""

from __future__ import annotations

import json
import resource
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from opentelemetry.instrumentation.mcp_audit.assembly import Extras, assemble
from opentelemetry.instrumentation.mcp_audit.hooks.install import Hooks
from opentelemetry.instrumentation.mcp_audit.integrity.verify import verify_paths
from opentelemetry.instrumentation.mcp_audit.notices import Notices
from opentelemetry.instrumentation.mcp_audit.settings import load

pytest.importorskip("mcp.server.runner", reason="one request a call, without a session: the protocol of mcp 2.x")
pytestmark = pytest.mark.timeout(240)

MODERN = "2026-07-28"
SECRET = b"sk-flood-0123456789"
REFUSED, CALLS, BATCH = 100_000, 200, 500


class _Verifier:
    async def verify_token(self, token: str) -> Any:
        from mcp.server.auth.provider import AccessToken

        return AccessToken(token=token, client_id="app", scopes=[], subject="alice") if token == "good" else None


def _app() -> Any:
    from mcp.server.auth.settings import AuthSettings
    from mcp.server.mcpserver import MCPServer

    settings: Any = {"issuer_url": "http://127.0.0.1:1", "resource_server_url": "http://127.0.0.1:1"}
    server = MCPServer("flooded", auth=AuthSettings(**settings), token_verifier=_Verifier())  # type: ignore[arg-type]

    @server.tool()
    def add(a: int, b: int) -> int:
        return a + b

    return server.streamable_http_app(json_response=True)


def _scope(headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    common = [(b"host", b"127.0.0.1:80"), (b"accept", b"application/json"), (b"content-type", b"application/json")]
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/mcp",
        "raw_path": b"/mcp",
        "query_string": b"",
        "headers": common + headers,
        "client": ("203.0.113.9", 4711),
        "server": ("127.0.0.1", 80),
    }


async def _ask(app: Any, headers: list[tuple[bytes, bytes]], body: bytes) -> int:
    status = 0

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    await app(_scope(headers), receive, send)
    return status


def _call(number: int) -> tuple[list[tuple[bytes, bytes]], bytes]:
    prefix = "io.modelcontextprotocol/"
    meta = {f"{prefix}protocolVersion": MODERN, f"{prefix}clientCapabilities": {}}
    params = {"name": "add", "arguments": {"a": number, "b": 1}, "_meta": meta}
    headers = [
        (b"authorization", b"Bearer good"),
        (b"mcp-protocol-version", MODERN.encode()),
        (b"mcp-method", b"tools/call"),
        (b"mcp-name", b"add"),
    ]
    return headers, json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}).encode()


@pytest.mark.one_python
async def test_a_hundred_thousand_refusals(tmp_path: Path) -> None:
    settings = load(
        {}, {"directory": str(tmp_path / "journal"), "keyring": str(tmp_path / "keyring"), "otel_logs": "off"}
    )
    assembled = assemble(settings, Extras(), Notices(), {})
    problems: list[str] = []
    hooks = Hooks(lambda: assembled.auditor, problems.append).install()
    bad = [(b"authorization", b"Bearer " + SECRET)]
    try:
        app = _app()
        async with app.router.lifespan_context(app):
            await _ask(app, bad, b"{}")
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            began = time.monotonic()
            sent = 1
            for number in range(CALLS):
                for _ in range(min(BATCH, REFUSED - sent)):
                    assert await _ask(app, bad, b"{}") == 401
                    sent += 1
                assert await _ask(app, *_call(number)) == 200
            took = time.monotonic() - began
        assembled.auditor.end()
        assembled.journal.close()
    finally:
        hooks.remove()
    assert (sent, problems) == (REFUSED, [])

    lines = [
        line
        for path in (tmp_path / "journal").glob("*.jsonl")
        if path.name != "ledger.jsonl"
        for line in path.read_bytes().splitlines()
    ]
    records = [json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0] for line in lines]
    events = Counter(record["eventName"] for record in records)
    counted = [_values(record) for record in records if record["eventName"] == "mcp_audit.summary"]
    own = events["mcp_audit.access_denied"]
    # Ten a minute, and a summary a minute: exact, whatever the machine took for it.
    minutes = len(counted)
    assert 1 <= minutes <= took / 60 + 2
    assert 10 <= own <= 10 * minutes
    assert own + sum(int(one["mcp_audit.summary.count"]) for one in counted) == REFUSED
    assert {(one["audit.source.id"], one["mcp_audit.decision.reason"]) for one in counted} == {
        ("203.0.113.9", "invalid_token")
    }
    # No authenticated call is missing, and each is in its order.
    arguments = [
        json.loads(record["body"]["stringValue"])["arguments"]["a"]
        for record in records
        if record["eventName"] == "mcp_audit.tool_call"
    ]
    assert arguments == list(range(CALLS))
    assert not any(SECRET in line for line in lines)
    assert verify_paths([tmp_path / "journal"]).exit_code(strict=True) == 0
    # Memory: a source and a kind are one entry, however many come (50 MB is noise of the SDK's own logging and caches).
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
    print(f"{REFUSED} refusals and {CALLS} calls in {took:.1f} s: {own} records, {minutes} summaries")


def _values(record: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in record["attributes"]}
