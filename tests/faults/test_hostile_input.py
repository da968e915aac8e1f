# SPDX-License-Identifier: Apache-2.0
"""Arguments that are hostile, through a real server: the call is answered as ever, the record is bounded."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from journal_files import calls
from stdio import StdioServer

DEPTH = 150  # what the SDK's own parser of requests lets through; deeper never reaches a tool


def nested(depth: int) -> Any:
    value: Any = "bottom"
    for _ in range(depth):
        value = [value]
    return value


HOSTILE: dict[str, Any] = {
    "many_keys": {f"key-{number}": number for number in range(200_000)},
    "deep": nested(DEPTH),
    "long": "y" * 10_000_000,
    "big_int": 10**400,
    "dollar": {"$cut": 1, "$enc": "x"},
    "markers": "[REDACTED:key] hmac-sha256:00000000:00",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_argument_costs_one_bounded_record(tmp_path: Path, name: str) -> None:
    with StdioServer(tmp_path) as server:
        server.call(1, "echo", {"value": "warm"})
        started = time.monotonic()
        answer = server.call(2, "size" if name in ("many_keys", "deep", "long") else "echo", {"value": HOSTILE[name]})
        took = time.monotonic() - started
    assert answer["result"]["isError"] is False
    assert took < 20
    (_, record) = calls(tmp_path)
    assert record["mcp_audit.outcome.detail"] == "ok"
    assert len(record["body"].encode()) <= 65_536
    json.loads(record["body"])
    assert all(len(line) <= 512 * 1024 for path in tmp_path.glob("*.jsonl") for line in path.open("rb"))
