# SPDX-License-Identifier: Apache-2.0
"""``kill -9`` of ``otel-mcp-audit ship`` at random, under load, against an endpoint that keeps what it acknowledged.

A few in CI; ``MCP_AUDIT_TEST_SHIP_KILLS=100 pytest tests/delivery/test_kills.py`` does a hundred.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from delivering import ids, write
from endpoint import Endpoint, Reply, Request, endpoint
from journals import journal, record

KILLS = int(os.environ.get("MCP_AUDIT_TEST_SHIP_KILLS", "6"))
SEED = int(os.environ.get("MCP_AUDIT_TEST_SEED", "20261124"))
SHIP = [sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli", "ship"]


def ship(directory: Path, other: Endpoint, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*SHIP, "--endpoint", other.url, *more, str(directory)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Small state files are written often; so are requests.
        env={**os.environ, "OTEL_MCP_AUDIT_DIR": str(directory)},
    )


@pytest.mark.timeout(60 + 15 * KILLS)
def test_nothing_is_lost_however_often_it_is_killed(tmp_path: Path) -> None:
    chance = random.Random(SEED)

    def sometimes(request: Request) -> Reply | None:
        # Acknowledged, and the answer lost; or slow; or not acknowledged.
        dice = chance.random()
        if dice < 0.1:
            return Reply(close=True, body=b"", keep=True)
        return Reply(503, b"") if dice < 0.2 else Reply(after=chance.random() * 0.02)

    with endpoint(sometimes) as other:
        stop = threading.Event()
        server = threading.Thread(target=_serve, args=(tmp_path, stop), daemon=True)
        server.start()
        for _ in range(KILLS):
            seen = len(other.requests)
            process = ship(tmp_path, other)
            deadline = time.monotonic() + 30
            while len(other.requests) == seen and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(chance.random() * 0.3)
            process.kill()
            process.communicate()
        stop.set()
        server.join(30)
        expected = ids(tmp_path)
        other.script = lambda request: None
        last = ship(tmp_path, other, "--once")
        assert last.wait(60) == 0
        assert set(other.kept) == set(expected)
        assert len(expected) == len(set(expected)) > KILLS
        before = len(other.requests)
        assert ship(tmp_path, other, "--once").wait(60) == 0
        assert len(other.requests) == before


def _serve(directory: Path, stop: threading.Event) -> None:
    """A server under load, which rotates."""
    made = journal(directory, segment_bytes=64 * 1024)
    while not stop.is_set():
        made.append(record(size=200))
        time.sleep(0.001)
    made.close()


def test_once_ends_when_all_is_delivered_and_sigterm_ends_it_before(tmp_path: Path) -> None:
    expected = write(tmp_path, 30)
    with endpoint(lambda request: Reply(503, b"")) as other:
        process = ship(tmp_path, other, "--once")
        deadline = time.monotonic() + 30
        while not other.requests and time.monotonic() < deadline:
            time.sleep(0.01)
        process.terminate()
        assert process.wait(10) == 1
        assert "AUDIT RECORDS ARE NOT DELIVERED NOW: HTTP 503" in process.communicate()[1]
        other.script = lambda request: None
        process = ship(tmp_path, other, "--once")
        assert process.wait(30) == 0
        assert sorted(other.kept) == sorted(expected)


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "OTEL_MCP_AUDIT_OTLP_ENDPOINT: not set"),
        ({"OTEL_MCP_AUDIT_OTLP_ENDPOINT": "nonsense"}, "OTEL_MCP_AUDIT_OTLP_ENDPOINT: 'nonsense' is no URL"),
        (
            {"OTEL_MCP_AUDIT_OTLP_ENDPOINT": "inherit", "OTEL_MCP_AUDIT_OTLP_PROTOCOL": "smtp"},
            "OTEL_MCP_AUDIT_OTLP_PROTOCOL: 'smtp' cannot be used; allowed: http/json, http/protobuf, grpc",
        ),
    ],
)
def test_what_cannot_be_used_is_one_error(tmp_path: Path, environment: dict[str, str], says: str) -> None:
    write(tmp_path, 1)
    done = subprocess.run(
        [*SHIP, str(tmp_path)], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"otel-mcp-audit: {says}")
    assert done.stderr.count("\n") == 1
