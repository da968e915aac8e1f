# SPDX-License-Identifier: Apache-2.0
"""Secrets planted in a real server's calls are nowhere in what the audit writes: journal, side files, stderr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from journal_files import calls
from stdio import StdioServer

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSIsImFkbWluIjp0cnVlfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"
AWS = "AKIAIOSFODNN7EXAMPLE"
CARD = "4111 1111 1111 1111"
PASSWORD = "correct-horse-battery"

PLANTED: dict[str, tuple[Any, str]] = {
    "under a name": ({"db": {"password": PASSWORD}}, PASSWORD),
    "under a name, deep in lists": ([[{"x": [{"apiKey": PASSWORD}]}]], PASSWORD),
    "as a number": ({"ssn": 123456789}, "123456789"),
    "a token in prose": (f"please use {JWT} for this", JWT),
    "a cloud key in a URL": (f"https://s3.example/?key={AWS}&x=1", AWS),
    "a card": (f"charge {CARD} today", CARD),
    "JSON in a string": ('{"client_secret": "' + PASSWORD + '"}', PASSWORD),
    "userinfo of a URL": (f"postgres://admin:{PASSWORD}@db/x", PASSWORD),
}


@pytest.mark.parametrize("level", ["request", "request_response", "metadata"])
@pytest.mark.parametrize("tool", ["echo", "fail"])
def test_planted_secrets_are_nowhere_on_the_disk(tmp_path: Path, tool: str, level: str) -> None:
    with StdioServer(tmp_path, {"OTEL_MCP_AUDIT_LEVEL": level}) as server:
        for number, (value, secret) in enumerate(PLANTED.values(), 1):
            answer = server.call(number, tool, {"value": value})
            if tool == "echo":
                # The call itself is not touched: the client gets its own secret back.
                assert secret in str(answer["result"]["content"][0]["text"]).replace("\\", "")
    records = calls(tmp_path)
    assert [record["mcp_audit.outcome.detail"] for record in records] == [
        "ok" if tool == "echo" else "tool_error" for _ in PLANTED
    ]
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for name, (_, secret) in PLANTED.items():
        for path, content in written.items():
            assert secret.encode() not in content, f"{name}: {path.name}"
    if level != "metadata":
        assert all(record["mcp_audit.redactions"] for record in records)


def test_a_secret_as_the_name_of_a_tool(tmp_path: Path) -> None:
    with StdioServer(tmp_path) as server:
        server.call(1, JWT, {"value": 1})
    (record,) = calls(tmp_path)
    assert record["gen_ai.tool.name"] == "[REDACTED:jwt]"
    assert JWT.encode() not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
