# SPDX-License-Identifier: Apache-2.0
"""The endpoint: 200 only when all is kept, 503 for whatever is not the sender's fault, bounds on all that comes."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from otlp_requests import joined, lines, protobuf

from opentelemetry.instrumentation.mcp_audit.sink.app import Limits, Service
from opentelemetry.instrumentation.mcp_audit.sink.engine import engine_of
from opentelemetry.instrumentation.mcp_audit.sink.migrate import migrate
from opentelemetry.instrumentation.mcp_audit.sink.received import Batch, Rejected
from opentelemetry.instrumentation.mcp_audit.sink.sql import SqlStore
from opentelemetry.instrumentation.mcp_audit.sink.store import Away, Kept

JSON = {"content-type": "application/json"}
PROTOBUF = {"content-type": "application/x-protobuf"}
TOKEN = b"a-token-of-sixteen-bytes"


class Awkward:
    """A store that does as it is told. A fake: which faults a real one has is tested with real ones."""

    name = "awkward"

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.kept: list[str] = []
        self.rejected: list[Rejected] = []

    def write(self, batch: Batch) -> Kept:
        if self.fault is not None:
            raise self.fault
        new = [item.line for good, _ in batch.chunks() for item in good]
        self.kept += new
        return Kept(stored=len(new))

    def reject(self, item: Rejected) -> None:
        if self.fault is not None:
            raise self.fault
        self.rejected.append(item)

    def ping(self) -> None:
        if self.fault is not None:
            raise self.fault

    def tend(self) -> list[str]:
        return []

    def close(self) -> None:
        """Nothing to close."""


def client(service: Service) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(service.asgi()), base_url="http://sink")


@pytest.fixture
def store() -> Awkward:
    return Awkward()


@pytest.fixture
def service(store: Awkward) -> Service:
    return Service([store], Limits(body=100_000), None)


@pytest.fixture
def made(tmp_path: Path) -> list[str]:
    return lines(tmp_path, 3)


@pytest.mark.parametrize("packed", [False, True])
async def test_both_encodings_packed_or_not(service: Service, store: Awkward, made: list[str], packed: bool) -> None:
    async with client(service) as sink:
        for body, headers, answer in (
            (joined(made), JSON, b'{"partialSuccess":{}}'),
            (protobuf(joined(made)), PROTOBUF, b""),
        ):
            more = {"content-encoding": "gzip"} if packed else {}
            response = await sink.post(
                "/v1/logs", content=gzip.compress(body) if packed else body, headers=headers | more
            )
            assert (response.status_code, response.content) == (200, answer)
            assert response.headers["content-type"] == headers["content-type"]
    assert store.kept == made * 2


@pytest.mark.parametrize("fault", [Away("gone"), RuntimeError("a defect"), OSError("?"), MemoryError()])
async def test_a_store_that_fails_costs_no_record(
    service: Service, store: Awkward, made: list[str], fault: Exception
) -> None:
    store.fault = fault
    async with client(service) as sink:
        response = await sink.post("/v1/logs", content=joined(made), headers=JSON)
        assert (response.status_code, response.headers["retry-after"]) == (503, "5")
        assert "gone" not in response.text
        response = await sink.post("/v1/logs", content=protobuf(joined(made)), headers=PROTOBUF)
        assert (response.status_code, response.content[:2]) == (503, b"\x12" + bytes([len(response.content) - 2]))
        store.fault = None
        assert (await sink.post("/v1/logs", content=joined(made), headers=JSON)).status_code == 200
    assert store.kept == made


async def test_all_stores_or_503(store: Awkward, made: list[str]) -> None:
    second = Awkward()
    second.fault = Away("gone")
    async with client(Service([store, second], Limits(), None)) as sink:
        assert (await sink.post("/v1/logs", content=joined(made), headers=JSON)).status_code == 503
        second.fault = None
        assert (await sink.post("/v1/logs", content=joined(made), headers=JSON)).status_code == 200
    assert second.kept == made


async def test_what_is_no_otlp_is_kept_and_refused(service: Service, store: Awkward) -> None:
    async with client(service) as sink:
        response = await sink.post("/v1/logs", content=b"garbage", headers=JSON)
        assert response.status_code == 400
        assert json.loads(response.content)["message"].startswith("no OTLP: not JSON")
        assert [item.line for item in store.rejected] == ["Z2FyYmFnZQ=="]
        store.fault = Away("gone")
        assert (await sink.post("/v1/logs", content=b"garbage", headers=JSON)).status_code == 503


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b"{}", 415),
        ({"content-type": "text/plain"}, b"{}", 415),
        (JSON | {"content-encoding": "br"}, b"{}", 415),
        (JSON | {"content-encoding": "gzip"}, b"no gzip", 400),
        (JSON | {"content-encoding": "gzip"}, gzip.compress(b"{}", mtime=0)[:-9], 400),
        (JSON, b"x" * 100_001, 413),
        (JSON | {"content-encoding": "gzip"}, gzip.compress(b"0" * 50_000_000, mtime=0), 413),
        ({"content-type": "application/json; charset=utf-8"}, b"{}", 200),
    ],
)
async def test_bounds(service: Service, headers: dict[str, str], body: bytes, status: int) -> None:
    async with client(service) as sink:
        assert (await sink.post("/v1/logs", content=body, headers=headers)).status_code == status


async def test_a_body_without_a_length_is_bounded_too(service: Service) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"x" * 1000

    async with client(service) as sink:
        assert (await sink.post("/v1/logs", content=endless(), headers=JSON)).status_code == 413


async def test_more_at_once_than_fits_is_sent_again_later(store: Awkward, made: list[str]) -> None:
    body = joined(made)
    service = Service([store], Limits(body=100_000, in_flight=len(body) + 10), None)
    first_is_in, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield body[:100]
        first_is_in.set()
        await go_on.wait()
        yield body[100:]

    async with client(service) as sink:
        headers = JSON | {"content-length": str(len(body))}
        first = asyncio.create_task(sink.post("/v1/logs", content=slowly(), headers=headers))
        await first_is_in.wait()
        response = await sink.post("/v1/logs", content=body, headers=JSON)
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        go_on.set()
        assert (await first).status_code == 200
        assert (await sink.post("/v1/logs", content=body, headers=JSON)).status_code == 200


@pytest.mark.parametrize("shown", [None, "", "Bearer", "Bearer wrong", "Basic " + TOKEN.decode(), "Bearer \xe9"])
async def test_a_token_is_needed(store: Awkward, made: list[str], shown: str | None) -> None:
    service = Service([store], Limits(), TOKEN)
    headers: dict[str, Any] = {} if shown is None else {"authorization": shown.encode("latin-1")}
    async with client(service) as sink:
        response = await sink.post("/v1/logs", content=joined(made), headers=JSON | headers)
        assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
        assert (await sink.get("/metrics", headers=headers)).status_code == 401
        right = {"authorization": f"Bearer {TOKEN.decode()}"}
        assert (await sink.post("/v1/logs", content=joined(made), headers=JSON | right)).status_code == 200
        assert (await sink.get("/metrics", headers=right)).status_code == 200
        assert (await sink.get("/healthz")).status_code == 200
    assert store.kept == made


async def test_health_and_numbers(service: Service, store: Awkward, made: list[str]) -> None:
    async with client(service) as sink:
        await sink.post("/v1/logs", content=joined(made), headers=JSON)
        await sink.post("/v1/logs", content=b"{}", headers={})
        assert (await sink.get("/healthz")).text == "ok\n"
        store.fault = Away("gone")
        assert (await sink.get("/healthz")).status_code == 503
        numbers = (await sink.get("/metrics")).text.splitlines()
    assert "mcp_audit_sink_requests_total 1" in numbers
    assert 'mcp_audit_sink_refused_total{status="415"} 1' in numbers
    assert 'mcp_audit_sink_records_total{store="awkward",result="stored"} 3' in numbers


async def test_fuzzed_bodies_never_crash_the_sink_nor_reach_sql(tmp_path: Path, made: list[str]) -> None:
    import random

    engine = engine_of(f"sqlite:///{tmp_path}/audit.db")
    migrate(engine)
    service, chance = Service([SqlStore(engine)], Limits(), None), random.Random(20261124)
    async with client(service) as sink:
        for number in range(150):
            body, headers = (joined(made), JSON) if number % 2 else (protobuf(joined(made)), PROTOBUF)
            broken = bytearray(body)
            for _ in range(chance.randint(0, 8)):
                broken[chance.randrange(len(broken))] = chance.randrange(256)
            response = await sink.post(
                "/v1/logs", content=bytes(broken[: chance.randint(0, len(broken))]), headers=headers
            )
            assert response.status_code in (200, 400)
        assert (await sink.post("/v1/logs", content=joined(made), headers=JSON)).status_code == 200
    with engine.connect() as connection:
        from sqlalchemy import text

        stored = {line for (line,) in connection.execute(text("SELECT line FROM audit_log"))}
        apart = {line for (line,) in connection.execute(text("SELECT line FROM audit_conflict"))}
    assert set(made) <= stored | apart
    engine.dispose()
