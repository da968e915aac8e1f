# SPDX-License-Identifier: Apache-2.0
"""From a journal through the real Collector into a real database: every record once, also when the database was away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import databases
import httpx
import pytest
from delivered import send, written
from sqlalchemy import text

from collector import Collector
from opentelemetry.instrumentation.mcp_audit.integrity.report import Report
from opentelemetry.instrumentation.mcp_audit.sink.engine import engine_of
from opentelemetry.instrumentation.mcp_audit.sink.migrate import migrate
from opentelemetry.instrumentation.mcp_audit.sink.stored import check_store

pytestmark = [pytest.mark.xdist_group("databases"), pytest.mark.timeout(180)]
TOKEN = "a-token-of-sixteen-bytes"


@contextmanager
def sink(url: str, token: Path) -> Iterator[str]:
    """The command as a process; where it takes records."""
    port = databases.free_port()
    command = [sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli", "sink"]
    command += ["--listen", f"127.0.0.1:{port}", "--token-file", str(token)]
    process = subprocess.Popen(command, env={**os.environ, "AUDIT_SINK_TO": url})
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/healthz"))
        yield f"http://127.0.0.1:{port}/v1/logs"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_every_record_once_also_when_the_database_was_away(
    request: pytest.FixtureRequest, kind: str, tmp_path: Path
) -> None:
    server: databases.Server = request.getfixturevalue(kind)
    engine = engine_of(server.url)
    databases.empty(engine)
    migrate(engine)
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    first, second = written(tmp_path / "one", 60, size=50), written(tmp_path / "two", 60, size=50)
    segments = [line for line in first + second if b'"ledger.jsonl"' not in line]

    def stored() -> int:
        with engine.connect() as connection:
            return int(connection.execute(text("SELECT count(*) FROM audit_log")).scalar_one())

    with sink(server.url, token) as endpoint:
        env = {"AUDIT_SQL_SINK_URL": endpoint, "AUDIT_SQL_SINK_TOKEN": TOKEN}
        with Collector(tmp_path / "collector", "audit.yaml", "sinks/file.yaml", "sinks/sql.yaml", env=env) as collector:
            send(collector, first)
            until(lambda: stored() == len(first))
            server.kill()
            send(collector, second)
            collector.kill()
            server.start()
            collector.start()
            send(collector, first)  # again: nothing of it may come twice
            until(lambda: stored() == len(first) + len(second))
    report = Report()
    check_store(engine, "store", report, None)
    assert report.verdict == "valid" and report.records == len(first) + len(second)
    assert len(segments) <= report.records
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM audit_conflict")).scalar_one() == 0
    engine.dispose()


def test_a_wrong_token_costs_what_was_in_flight_and_doctor_says_so(tmp_path: Path) -> None:
    """What a Collector does with a 401, measured: it drops. The archive keeps the records; `doctor --collector` tells."""
    url = f"sqlite:///{tmp_path}/audit.db"
    engine = engine_of(url)
    migrate(engine)
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    lines = written(tmp_path / "one", 10)
    with sink(url, token) as endpoint:
        env = {"AUDIT_SQL_SINK_URL": endpoint, "AUDIT_SQL_SINK_TOKEN": "wrong"}
        with Collector(tmp_path / "collector", "audit.yaml", "sinks/file.yaml", "sinks/sql.yaml", env=env) as collector:
            send(collector, lines)
            until(lambda: collector.scrape().get("otelcol_exporter_send_failed_log_records", 0) >= len(lines))
            command = [sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli"]
            done = subprocess.run(
                [*command, "doctor", "--collector", f"127.0.0.1:{collector.metrics}", str(tmp_path / "one")],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 1
            assert f"sink otlp_http/sql gave up {len(lines)} records since the Collector started" in done.stdout
            archive = str(collector.archive.parent)
            done = subprocess.run([*command, "reconcile", archive, url], capture_output=True, text=True, check=False)
            assert done.returncode == 1 and f"{len(lines)} records of A are not in B" in done.stdout
    engine.dispose()
