# SPDX-License-Identifier: Apache-2.0
"""``doctor --collector``: the numbers of a Collector in words. The texts are those of a real one; a real one is asked in
``tests/collector``."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from opentelemetry.instrumentation.mcp_audit.cli._collector import collector, said, samples
from opentelemetry.instrumentation.mcp_audit.cli.app import app

WELL = """\
# HELP otelcol_process_uptime Uptime of the process
# TYPE otelcol_process_uptime counter
otelcol_process_uptime 3.9
otelcol_receiver_accepted_log_records{receiver="otlp",transport="http"} 5
otelcol_receiver_refused_log_records{receiver="otlp",transport="http"} 0
otelcol_exporter_sent_log_records{exporter="file/audit"} 5
otelcol_exporter_send_failed_log_records{exporter="splunk_hec/audit"} 0
"""
ILL = """\
otelcol_process_uptime_seconds_total{service_name="x"} 3.9
otelcol_receiver_accepted_log_records__records__total{receiver="otlp",transport="grpc"} 900
otelcol_receiver_refused_log_records__records__total{receiver="otlp",transport="grpc"} 100
otelcol_exporter_sent_log_records__records__total{exporter="file/audit"} 400
otelcol_exporter_send_failed_log_records__records__total{exporter="splunk_hec/audit"} 500
otelcol_exporter_enqueue_failed_log_records__records__total{exporter="otlp_http/sql"} 1
otelcol_exporter_queue_size{data_type="logs",exporter="otlp_http/sql"} 90
otelcol_exporter_queue_capacity{data_type="logs",exporter="otlp_http/sql"} 100
otelcol_exporter_queue_size{data_type="logs",exporter="splunk_hec/audit"} 1
otelcol_exporter_queue_capacity{data_type="logs",exporter="splunk_hec/audit"} 100
garbage
otelcol_nonsense{a="b"} x
"""
REPLAY = "the journal and the archive still have them: otel-mcp-audit reconcile says which, replay sends them again"


def words(text: str) -> list[tuple[str, str]]:
    return [(check.light, check.text) for check in said(list(samples(text)))]


def test_all_is_well() -> None:
    assert words(WELL) == [("green", "it took 5 records since it started; its sinks were given 5")]


def test_dropped_refused_and_a_queue_that_fills() -> None:
    assert words(ILL) == [
        (
            "red",
            "sink splunk_hec/audit gave up 500 records since the Collector started: they did not reach it. " + REPLAY,
        ),
        (
            "yellow",
            "the queue of sink otlp_http/sql could not take 1 record (full, or its disk is): who sent them was told so "
            "and sends them again; other sinks may have them twice",
        ),
        ("yellow", "the queue of sink otlp_http/sql is 90% full (90 of 100)"),
        ("green", "the queue of sink splunk_hec/audit is 1% full (1 of 100)"),
        (
            "yellow",
            "it refused 100 records at otlp: a sink or a disk could not take them, and who sent them sends them again",
        ),
        ("green", "it took 900 records since it started; its sinks were given 400"),
    ]


@contextmanager
def serving(text: str) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/metrics" else 404)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Not on stderr."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(ILL) as address:
        for url in (address, f"http://{address}", f"http://{address}/metrics"):
            result = CliRunner().invoke(app, ["doctor", "--collector", url])
            assert result.exit_code == 1 and "gave up 500 records" in result.stdout
    with serving(WELL) as address:
        assert [check.light for check in collector(address)] == ["green"]


def test_one_that_is_none() -> None:
    with serving("hello") as address:
        (check,) = collector(address)
    assert (check.light, check.text) == (
        "red",
        f"http://{address}/metrics does not speak as a Collector does: give the address of its metrics",
    )
    (check,) = collector(address)
    assert check.light == "red" and check.text.startswith(f"http://{address}/metrics: its metrics cannot be read: ")
