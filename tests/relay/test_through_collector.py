# SPDX-License-Identifier: Apache-2.0
"""A sink's token that is wrong for a while: what it costs a real Collector without the relay, and with it. Both shown."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from answering import Answering
from delivered import ids, send, written

from collector import Collector, free_port

pytestmark = pytest.mark.timeout(120)

# The SQL sink's configuration speaks OTLP/HTTP to any endpoint; here to one that is told how to answer.
CONFIGS = ("audit.yaml", "sinks/file.yaml", "sinks/sql.yaml")


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


@contextmanager
def relay(target: str, kept: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli", "relay"]
    command += ["--listen", f"127.0.0.1:{port}", "--to", target, "--kept", str(kept)]
    process = subprocess.Popen(command)
    try:
        until(lambda: _up(f"http://127.0.0.1:{port}/-/metrics"))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _up(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def arrived(sink: Answering) -> set[str]:
    """The record ids in the requests that the sink took."""
    from google.protobuf import json_format
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    found: set[str] = set()
    for _, headers, body in list(sink.requests):
        plain = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        tree = json_format.MessageToDict(ExportLogsServiceRequest.FromString(plain))
        found |= set(ids([json.dumps(tree).encode()]))
    return found


def test_without_the_relay_it_costs_all_that_was_in_flight(tmp_path: Path) -> None:
    lines = written(tmp_path / "journal", 200)
    with Answering() as sink:
        sink.status = 403
        env = {"AUDIT_SQL_SINK_URL": f"{sink.url}/v1/logs"}
        with Collector(tmp_path / "collector", *CONFIGS, env=env) as collector:
            send(collector, lines)
            until(lambda: collector.scrape().get("otelcol_exporter_send_failed_log_records", 0) == len(lines))
            sink.status = 200
            more = written(tmp_path / "more", 1)
            send(collector, more)
            until(lambda: arrived(sink) == set(ids(more)))


def test_with_the_relay_it_costs_nothing(tmp_path: Path) -> None:
    lines = written(tmp_path / "journal", 200)
    with Answering() as sink, relay(sink.url, tmp_path / "kept") as url:
        sink.status = 403
        env = {"AUDIT_SQL_SINK_URL": f"{url}/v1/logs"}
        with Collector(tmp_path / "collector", *CONFIGS, env=env) as collector:
            send(collector, lines)
            until(lambda: len(sink.refused) >= 1)
            sink.status = 200
            until(lambda: arrived(sink) == set(ids(lines)))
            assert collector.scrape().get("otelcol_exporter_send_failed_log_records", 0) == 0
    assert not (tmp_path / "kept").exists()
