# SPDX-License-Identifier: Apache-2.0
"""``replay``: what an endpoint lacks is sent again, out of a journal or an archive, and nothing else."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from answering import Answering
from click.testing import CliRunner, Result
from journals import journal, record, segments

from opentelemetry.instrumentation.mcp_audit.cli.app import app

OK = b'{"partialSuccess":{}}'


def made(directory: Path, count: int = 5) -> None:
    """A journal of so many calls, closed."""
    trail = journal(directory, adopts=False)
    for number in range(count):
        trail.append(record(f"tool-{number}", 20))
    trail.close()


def all_ids(directory: Path) -> list[str]:
    return [
        item["value"]["stringValue"]
        for file in [*segments(directory), directory / "ledger.jsonl"]
        for line in file.read_bytes().splitlines()
        for item in json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["attributes"]
        if item["key"] == "audit.record.id"
    ]


def arrived(sink: Answering) -> list[str]:
    return [
        item["value"]["stringValue"]
        for _, _, body in sink.requests
        for group in json.loads(body)["resourceLogs"]
        for scoped in group["scopeLogs"]
        for one in scoped["logRecords"]
        for item in one["attributes"]
        if item["key"] == "audit.record.id"
    ]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["replay", *map(str, arguments)])


def test_a_whole_journal(tmp_path: Path) -> None:
    made(tmp_path / "svc")
    with Answering() as sink:
        sink.body = OK
        result = run("--endpoint", sink.url, tmp_path / "svc")
        assert (result.exit_code, result.stdout) == (0, f"10 records acknowledged by {sink.url}/v1/logs\n")
        assert sorted(arrived(sink)) == sorted(all_ids(tmp_path / "svc"))


def test_the_ids_of_a_file_out_of_an_archive(tmp_path: Path) -> None:
    made(tmp_path / "svc")
    (segment,) = segments(tmp_path / "svc")
    lines = [json.loads(line) for line in segment.read_bytes().splitlines()]
    batch = lines[0]
    batch["resourceLogs"][0]["scopeLogs"][0]["logRecords"] += [
        line["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0] for line in lines[1:]
    ]
    (tmp_path / "archive.jsonl").write_text(json.dumps(batch) + "\n")
    wanted = all_ids(tmp_path / "svc")[2:4]
    ids = tmp_path / "ids"
    ids.write_text("\n".join([*wanted, ""]).upper())
    with Answering() as sink:
        sink.body = OK
        result = run("--endpoint", sink.url, "--ids", ids, tmp_path / "archive.jsonl")
        assert result.exit_code == 0
        assert arrived(sink) == wanted
        ids.write_text("01234567-0000-7000-8000-000000000000\n")
        result = run("--endpoint", sink.url, "--ids", ids, tmp_path / "archive.jsonl")
        assert (result.exit_code, result.stderr) == (1, "1 ids were not found\n")


def test_since(tmp_path: Path) -> None:
    made(tmp_path / "svc")
    with Answering() as sink:
        sink.body = OK
        assert run("--endpoint", sink.url, "--since", "2100-01-01", tmp_path / "svc").exit_code == 0
        assert sink.requests == []


def test_it_waits_for_an_endpoint_that_is_away(tmp_path: Path) -> None:
    made(tmp_path / "svc")
    with Answering() as sink:
        sink.status, sink.body = 503, OK

        def mend() -> None:
            while not sink.refused:
                time.sleep(0.01)
            sink.status = 200

        thread = threading.Thread(target=mend)
        thread.start()
        result = run("--endpoint", sink.url, tmp_path / "svc")
        thread.join()
        assert result.exit_code == 0 and len(arrived(sink)) == 10
        assert "does not take them now (HTTP 503" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "OTEL_MCP_AUDIT_OTLP_ENDPOINT: not set; give it, or --endpoint URL"),
        (["--endpoint", "nonsense"], "OTEL_MCP_AUDIT_OTLP_ENDPOINT: 'nonsense' is no URL"),
        (["--endpoint", "http://127.0.0.1:1", "/nowhere/at/all"], "/nowhere/at/all"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2 and said in result.stderr
