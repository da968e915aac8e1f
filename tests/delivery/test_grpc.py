# SPDX-License-Identifier: Apache-2.0
"""OTLP over gRPC, against a real grpcio server with the official messages."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from delivering import Told, ids, ship, write
from endpoint import record_ids
from journals import journal, record
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc

from opentelemetry.instrumentation.mcp_audit.delivery.planning import Bounds
from opentelemetry.instrumentation.mcp_audit.delivery.quarantine import quarantined

Script = Callable[[list[str], Any], "int | None"]


class Service(logs_service_pb2_grpc.LogsServiceServicer):  # type: ignore[misc]
    """Keeps what it acknowledges; ``script`` may abort through the context, or say how many records are rejected."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.kept: list[str] = []
        self.metadata: dict[str, str] = {}

    def Export(self, request: Any, context: Any) -> Any:
        ids = record_ids(request.SerializeToString(), "application/x-protobuf")
        self.metadata = dict(context.invocation_metadata())
        answer = logs_service_pb2.ExportLogsServiceResponse()
        rejected = self.script(ids, context)
        if rejected:
            answer.partial_success.rejected_log_records = rejected
        else:
            self.kept += ids
        return answer


@contextlib.contextmanager
def service(script: Script = lambda ids, context: None) -> Iterator[tuple[Service, str]]:
    made = Service(script)
    server = grpc.server(ThreadPoolExecutor(2))
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(made, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield made, f"http://localhost:{port}"
    finally:
        server.stop(None).wait(5)


@pytest.mark.parametrize("gzip", ["none", "gzip"])
def test_everything_is_acknowledged_once(tmp_path: Path, gzip: str) -> None:
    expected = write(tmp_path, 100)
    environ = {"OTEL_EXPORTER_OTLP_COMPRESSION": gzip, "OTEL_EXPORTER_OTLP_HEADERS": "X-Tenant=a"}
    with service() as (made, url):
        assert ship(tmp_path, url, protocol="grpc", bounds=Bounds(max_records=30), environ=environ) == []
    assert sorted(made.kept) == sorted(expected)
    assert made.metadata["x-tenant"] == "a"


@pytest.mark.parametrize("code", ["UNAVAILABLE", "UNAUTHENTICATED", "RESOURCE_EXHAUSTED", "INTERNAL", "UNIMPLEMENTED"])
def test_what_another_hour_can_mend_is_retried(tmp_path: Path, code: str) -> None:
    expected = write(tmp_path, 10)
    left = [1, 1]

    def script(ids: list[str], context: Any) -> None:
        if left:
            left.pop()
            context.abort(getattr(grpc.StatusCode, code), "no")

    told = Told()
    with service(script) as (made, url):
        assert ship(tmp_path, url, told, protocol="grpc") == [0.5, 1.0]
    assert sorted(made.kept) == sorted(expected)
    assert f"gRPC {code}: no" in told.said[0]


@pytest.mark.parametrize("how", ["INVALID_ARGUMENT", "partial"])
def test_a_poison_record_is_quarantined(tmp_path: Path, how: str) -> None:
    expected = write(tmp_path, 50)
    poison = expected[20]

    def script(ids: list[str], context: Any) -> int | None:
        if poison in ids and how == "partial":
            return 1
        if poison in ids:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "bad")
        return None

    with service(script) as (made, url):
        assert ship(tmp_path, url, protocol="grpc") == []
    assert set(made.kept) == set(expected) - {poison}
    assert quarantined(tmp_path) == 1


def test_more_than_the_server_takes_at_once_is_halved(tmp_path: Path) -> None:
    made_ids = write(tmp_path, 0)
    made = journal(tmp_path)
    for _ in range(120):
        made.append(record(size=50_000))
    made.close()
    expected = ids(tmp_path)
    with service() as (other, url):
        ship(tmp_path, url, protocol="grpc", bounds=Bounds(max_bytes=8 * 1024 * 1024))
    assert set(other.kept) == set(expected) >= set(made_ids)
    assert quarantined(tmp_path) == 0
