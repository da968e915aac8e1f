# SPDX-License-Identifier: Apache-2.0
"""The relay between a real client and a real HTTP sink that is told how to answer."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from answering import Answering

from opentelemetry.instrumentation.mcp_audit.relay.app import Limits, Relay
from opentelemetry.instrumentation.mcp_audit.relay.kept import Kept

_LIMITS = Limits()
JSON = {"content-type": "application/json", "authorization": "Splunk secret-token", "x-test": "1"}


@pytest.fixture
def sink() -> Iterator[Answering]:
    with Answering() as answering:
        yield answering


@asynccontextmanager
async def relayed(target: str, kept: Path, limits: Limits = _LIMITS) -> AsyncIterator[tuple[Relay, httpx.AsyncClient]]:
    async with httpx.AsyncClient() as outwards:
        relay = Relay(target, Kept(kept), limits, outwards)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(relay.asgi()), base_url="http://relay") as client:
            yield relay, client


async def test_bodies_and_headers_pass_through(sink: Answering, tmp_path: Path) -> None:
    sink.body = b'{"text":"Success","code":0}'
    async with relayed(f"{sink.url}/base/", tmp_path / "kept") as (_, client):
        answer = await client.post("/services/collector?x=1&y=a%20b", content=b"\x00body", headers=JSON)
        assert (answer.status_code, answer.content) == (200, sink.body)
    ((path, headers, body),) = sink.requests
    assert (path, body) == ("/base/services/collector?x=1&y=a%20b", b"\x00body")
    assert {name: headers[name] for name in JSON} == JSON
    assert headers["host"] == sink.url.removeprefix("http://")


@pytest.mark.parametrize("status", [301, 302, 401, 403, 404, 405, 407, 418, 500, 501, 505, 511])
async def test_what_another_hour_mends_is_sent_again(sink: Answering, tmp_path: Path, status: int) -> None:
    sink.status = status
    async with relayed(sink.url, tmp_path / "kept") as (relay, client):
        answer = await client.post("/", content=b"x", headers=JSON)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
        sink.status = 200
        assert (await client.post("/", content=b"x", headers=JSON)).status_code == 200
        assert relay.counts == {"again": 1, "passed": 1}
        shown = (await client.get("/-/metrics")).text
    assert 'mcp_audit_relay_requests_total{result="again"} 1' in shown.splitlines()
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_what_a_collector_understands_is_passed_on(sink: Answering, tmp_path: Path, status: int) -> None:
    sink.status, sink.headers = status, {"retry-after": "7"}
    async with relayed(sink.url, tmp_path / "kept") as (_, client):
        answer = await client.post("/", content=b"x", headers=JSON)
    assert (answer.status_code, answer.headers["retry-after"]) == (status, "7")


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize(("kind", "said"), [("application/json", b"{}"), ("application/x-protobuf", b"")])
async def test_what_the_sink_will_never_take_is_kept(
    sink: Answering, tmp_path: Path, status: int, kind: str, said: bytes
) -> None:
    sink.status, sink.body = status, b'{"text":"Incorrect index","code":7}'
    kept = tmp_path / "kept.jsonl"
    async with relayed(sink.url, kept) as (relay, client):
        answer = await client.post("/p", content=b"\x00body", headers=JSON | {"content-type": kind})
        assert (answer.status_code, answer.content) == (200, said)
        assert relay.counts == {"kept": 1}
    assert kept.stat().st_mode & 0o777 == 0o600
    (line,) = kept.read_text().splitlines()
    entry = json.loads(line)
    assert (entry["status"], entry["answer"], base64.b64decode(entry["body"])) == (
        status,
        '{"text":"Incorrect index","code":7}',
        b"\x00body",
    )
    assert "secret-token" not in line


async def test_a_sink_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with relayed(f"http://127.0.0.1:{port}", tmp_path / "kept") as (_, client):
        answer = await client.post("/", content=b"x")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")


async def test_what_cannot_be_kept_is_sent_again(sink: Answering, tmp_path: Path) -> None:
    sink.status = 400
    (tmp_path / "elsewhere").touch()
    (tmp_path / "kept").symlink_to(tmp_path / "elsewhere")
    async with relayed(sink.url, tmp_path / "kept") as (_, client):
        assert (await client.post("/", content=b"x", headers=JSON)).status_code == 503
    assert (tmp_path / "elsewhere").read_bytes() == b""


async def test_bounds(sink: Answering, tmp_path: Path) -> None:
    async with relayed(sink.url, tmp_path / "kept", Limits(body=10)) as (_, client):
        assert (await client.post("/", content=b"x" * 11)).status_code == 503
        assert (await client.post("/", content=b"x" * 10)).status_code == 200
    async with relayed(sink.url, tmp_path / "kept", Limits(in_flight=0)) as (_, client):
        assert (await client.post("/", content=b"x")).headers["retry-after"] == "1"
