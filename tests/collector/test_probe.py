# SPDX-License-Identifier: Apache-2.0
"""``replay``, ``reconcile``, ``doctor --collector`` and ``--probe`` with a real Collector and its archive."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from delivered import arrived, ids, lines_of, send, written

from collector import Collector, free_port

pytestmark = pytest.mark.timeout(120)
CONFIGS = ("audit.yaml", "sinks/file.yaml")


def command(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli", *map(str, arguments)],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_what_an_archive_lacks_is_found_and_sent_again(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    # The ledger's records too: they are delivered as any others.
    lines = written(journal, 50)
    with Collector(tmp_path / "collector", *CONFIGS) as collector:
        send(collector, lines[:20])
        missing = tmp_path / "missing"
        done = command("reconcile", journal, collector.archive.parent, "--ids", missing)
        assert done.returncode == 1 and f"{len(lines) - 20} records of A are not in B" in done.stdout
        done = command("replay", "--endpoint", collector.url, "--ids", missing, journal)
        assert (done.returncode, done.stdout) == (
            0,
            f"{len(lines) - 20} records acknowledged by {collector.url}/v1/logs\n",
        )
        assert arrived(collector) == ids(lines)
        assert command("reconcile", journal, collector.archive.parent).returncode == 0
        done = command("verify", collector.archive.parent)
        assert done.returncode == 0, done.stdout
        done = command("doctor", "--collector", f"127.0.0.1:{collector.metrics}", journal)
        assert f"it took {len(lines)} records since it started" in done.stdout


def test_a_record_all_the_way(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    written(journal, 1)
    with Collector(tmp_path / "collector", *CONFIGS) as collector:
        done = command(
            "doctor", "--probe", collector.archive.parent, journal, OTEL_MCP_AUDIT_OTLP_ENDPOINT=collector.url
        )
        assert f", by {collector.url}/v1/logs" in done.stdout and "arrived in" in done.stdout
        assert command("verify", journal).returncode == 0
        assert command("verify", collector.archive.parent).returncode == 0
        segments = [line for line in lines_of(journal) if b"mcp_audit.heartbeat" in line]
        assert len(segments) == 1 and set(ids(segments)) <= set(arrived(collector))


def test_a_probe_that_does_not_arrive(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    written(journal, 1)
    nobody = f"http://127.0.0.1:{free_port()}"
    done = command("doctor", "--probe", tmp_path, journal, OTEL_MCP_AUDIT_OTLP_ENDPOINT=nobody)
    assert done.returncode == 1 and f"{nobody}/v1/logs did not take a record" in done.stdout
    done = command("doctor", "--probe", tmp_path, journal, OTEL_MCP_AUDIT_OTLP_ENDPOINT="")
    assert done.returncode == 1 and "OTEL_MCP_AUDIT_OTLP_ENDPOINT is not set" in done.stdout
