# SPDX-License-Identifier: Apache-2.0
"""Our delivery into the real Collector: by each protocol, over kills of the Collector; its archive is valid."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from delivering import ids, ship, write
from journals import until

from collector import Collector
from opentelemetry.instrumentation.mcp_audit.delivery.connect import connect
from opentelemetry.instrumentation.mcp_audit.delivery.loop import Loop
from opentelemetry.instrumentation.mcp_audit.delivery.options import options
from opentelemetry.instrumentation.mcp_audit.delivery.planning import Bounds
from opentelemetry.instrumentation.mcp_audit.delivery.shipper import Observer

PIPELINE = ("audit.yaml", "sinks/file.yaml")


def verdict(archive: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli", "verify", str(archive)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def archived(collector: Collector, tmp_path: Path) -> set[str]:
    """The ids in the archive, whose requests hold many records a line."""
    from endpoint import record_ids

    return {
        found
        for path in collector.archive.parent.glob("*.jsonl")
        for line in path.read_bytes().splitlines()
        for found in record_ids(line, "application/json")
    }


@pytest.mark.parametrize("protocol", ["http/json", "http/protobuf", "grpc"])
def test_every_record_is_in_a_valid_archive(tmp_path: Path, protocol: str) -> None:
    if protocol == "grpc":
        pytest.importorskip("grpc")
    expected = write(tmp_path / "journal", 500)
    with Collector(tmp_path / "collector", *PIPELINE) as running:
        url = f"http://127.0.0.1:{running.grpc if protocol == 'grpc' else running.http}"
        assert ship(tmp_path / "journal", url, protocol=protocol, bounds=Bounds(max_records=120)) == []
        assert archived(running, tmp_path) == set(expected)
        done = verdict(running.archive)
        assert done.returncode == 0, done.stdout
        assert f"VALID: {len(expected)} records" in done.stdout


def test_a_collector_that_is_killed_again_and_again_has_every_record_in_the_end(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    write(journal, 1)
    with Collector(tmp_path / "collector", *PIPELINE) as running:
        where = options(running.url, "", {})
        said: list[str] = []
        loop = Loop(journal, lambda: connect(where), Observer(said.append, lambda count, why: said.append(why)), 0.02)
        thread = threading.Thread(target=loop.run, daemon=True)
        thread.start()
        for _ in range(3):
            write(journal, 200)
            running.kill()
            write(journal, 200)
            running.start()
        expected = set(ids(journal))
        until(lambda: archived(running, tmp_path) == expected, 60)
        loop.stop(1)
        thread.join(10)
        assert loop.counts.quarantined == 0
        done = verdict(running.archive.parent)
        assert done.returncode == 0, done.stdout
