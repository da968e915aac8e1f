# SPDX-License-Identifier: Apache-2.0
"""From a journal through the real Collector into the archive, and what `verify` and `query` say of that."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from delivered import archived, batches, ids, lines_of, send, written

from collector import Collector, post

PIPELINE = ("audit.yaml", "sinks/file.yaml")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """``otel-mcp-audit`` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def verdict(path: Path) -> dict[str, object]:
    """The verification's own report on a path."""
    report: dict[str, object] = json.loads(command("verify", "--json", str(path)).stdout)
    return report


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    with Collector(tmp_path / "collector", *PIPELINE) as running:
        yield running


def test_the_archive_of_a_journal_is_valid(collector: Collector, tmp_path: Path) -> None:
    lines = written(tmp_path / "journal", 300, 200)
    send(collector, lines, 50)
    assert ids(archived(collector)) == ids(lines)
    for path in (collector.archive, collector.archive.parent):
        done = command("verify", str(path))
        assert done.returncode == 0, done.stdout
        assert f"VALID: {len(lines)} records in 2 streams; 0 violations" in done.stdout
    assert (collector.archive.parent.stat().st_mode & 0o777) == 0o750
    counted = collector.scrape()
    assert counted["otelcol_receiver_accepted_log_records"] == len(lines)
    assert counted["otelcol_exporter_sent_log_records"] == len(lines)


def test_the_collector_says_who_sent_and_believes_no_sender(collector: Collector, tmp_path: Path) -> None:
    (line, *_) = written(tmp_path / "journal", 1)
    forged = line.replace(
        b'"attributes":[{"key":"audit.action"',
        b'"attributes":[{"key":"mcp_audit.collector.peer","value":{"stringValue":"10.9.9.9:1"}},'
        b'{"key":"mcp_audit.collector.subject","value":{"stringValue":"root"}},{"key":"audit.action"',
    )
    assert forged != line
    send(collector, [forged])
    (kept,) = archived(collector)
    (attributes,) = [
        {item["key"]: item["value"]["stringValue"] for item in one["attributes"] if "stringValue" in item["value"]}
        for one in json.loads(kept)["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    ]
    assert attributes["mcp_audit.collector.peer"] == "127.0.0.1"
    assert "mcp_audit.collector.subject" not in attributes


def test_several_at_a_time_some_twice_over_kills_and_a_rotation(tmp_path: Path) -> None:
    """Four clients send batches in any order, each again after a refusal; the Collector is killed three times."""
    small = tmp_path / "small.yaml"
    small.write_text("exporters: {file/audit: {rotation: {max_megabytes: 1}}}\n")
    lines = written(tmp_path / "journal", 2000, 800)
    waiting = batches(lines, 100)
    collector = Collector(tmp_path / "collector", *PIPELINE, small).start()
    lock = threading.Lock()
    done = [0]

    def client() -> None:
        while True:
            with lock:
                if not waiting:
                    return
                body = waiting.pop()
            while True:
                try:
                    if post(collector.logs_url, body)[0] == 200:
                        break
                except OSError:
                    restarted.wait(0.05)
            done[0] += 1

    restarted = threading.Event()
    clients = [threading.Thread(target=client) for _ in range(4)]
    for one in clients:
        one.start()
    for _ in range(3):
        threading.Event().wait(0.05)
        collector.kill()
        collector.start()
    for one in clients:
        one.join(60)
    collector.stop()
    assert done[0] == len(batches(lines, 100))
    files = sorted(collector.archive.parent.glob("*.jsonl"))
    assert len(files) > 2, "it was rotated"
    report = verdict(collector.archive.parent)
    assert report["exit_code"] == 0, report
    assert report["counts"]["records"] == len(lines)  # type: ignore[index]


def test_every_change_in_an_archive_is_found(collector: Collector, tmp_path: Path) -> None:
    send(collector, written(tmp_path / "journal", 20, 100), 5)
    whole = collector.archive.read_bytes()
    first, second, *rest = whole.splitlines(keepends=True)
    changed = {
        "another tool": whole.replace(b'"t7"', b'"t8"', 1),
        "another body": whole.replace(b"x" * 100, b"y" * 100, 1),
        "a batch that was taken out": b"".join([first, *rest]),
        "the head": b"".join([second, *rest]),
        "another resource": whole.replace(b'"svc"', b'"svd"', 1),
        "another content under a number that is there": whole + b"".join([second.replace(b"EXECUTE", b"EXECUTF")]),
    }
    for what, data in changed.items():
        assert data != whole, what
        copy = tmp_path / "changed.jsonl"
        copy.write_bytes(data)
        report = verdict(copy)
        assert report["exit_code"] == 1, (what, report)
    copy.write_bytes(b"".join([second, b"something else\n", *rest, first, second]))
    assert verdict(copy)["exit_code"] == 0, "neither order nor a copy nor what is no record is a violation"


def test_torn_and_glued(collector: Collector, tmp_path: Path) -> None:
    lines = written(tmp_path / "journal", 20, 100)
    send(collector, lines, 5)
    first, second, *rest = collector.archive.read_bytes().splitlines(keepends=True)
    archive = tmp_path / "torn.jsonl"
    archive.write_bytes(first + second[:700] + second + b"\n" + b"".join(rest) + rest[-1][:-200])
    report = verdict(archive)
    assert report["exit_code"] == 0, report
    assert report["counts"]["records"] == len(lines)  # type: ignore[index]
    findings = [(finding["kind"], finding["sentence"].split(" (")[0]) for finding in report["findings"]]  # type: ignore[attr-defined]
    assert findings == [("note", "no record: a batch that was not written to its end")] * 2
    done = command("query", "--json", str(archive))
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(shown) >= 20 and "t0" in done.stdout and "t19" in done.stdout
    exported = command("export", "--format", "otlp", "--event", "*", str(archive))
    assert set(ids(exported.stdout.encode().splitlines())) == set(ids(lines))


def test_a_segment_is_not_judged_as_an_archive(tmp_path: Path) -> None:
    """An archive is asked less: what bears a segment's name is held to all that a segment must be."""
    written(tmp_path / "journal", 3)
    (segment,) = (path for path in (tmp_path / "journal").glob("2*.jsonl"))
    first, *rest = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join([rest[0], first, *rest[1:]]))
    assert verdict(segment)["exit_code"] == 1
    assert lines_of(tmp_path / "journal")


def test_of_several_json_values_in_one_request_only_the_first_is_taken(collector: Collector, tmp_path: Path) -> None:
    """A trap for whoever posts a journal's file as it is: 200, and all but one record dropped. Lines must be joined."""
    lines = written(tmp_path / "journal", 5)
    assert post(collector.logs_url, b"\n".join(lines)) == (200, b'{"partialSuccess":{}}')
    assert ids(archived(collector)) == ids(lines[:1])
