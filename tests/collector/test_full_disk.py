# SPDX-License-Identifier: Apache-2.0
"""The archive's disk is full for a while: what was acknowledged is there, and a torn batch does not hide the next one."""

from __future__ import annotations

from pathlib import Path

from delivered import archived, batches, written

from collector import Collector, post
from opentelemetry.instrumentation.mcp_audit.integrity.verify import verify_paths


def test_the_archives_disk_is_full_and_free_again(tmp_path: Path, small_disk: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 700_000)
    lines = written(tmp_path / "journal", 300, 600)
    env = {"AUDIT_JSONL": str(small_disk / "archive" / "audit.jsonl")}
    with Collector(tmp_path / "c", "audit.yaml", "sinks/file.yaml", env=env) as collector:
        collector.archive = small_disk / "archive" / "audit.jsonl"
        refused = 0
        for body in batches(lines, 25):
            # As a client does that keeps what was not taken: again, until it is.
            while (status := post(collector.logs_url, body)[0]) != 200:
                assert status == 503, "an answer that makes a client send again"
                refused += 1
                filler.unlink(missing_ok=True)
        assert refused == 1
        torn = sum(1 for line in archived(collector) if line.count(b'{"resourceLogs":[') > 1)
        assert torn == 1, "the batch after the torn one is glued to it"
        report = verify_paths([collector.archive])
        assert report.exit_code() == 0, list(report.all_findings())
        assert report.records == len(lines)
        assert [finding.kind for finding in report.findings] == ["note"]
