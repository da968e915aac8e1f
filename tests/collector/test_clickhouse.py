# SPDX-License-Identifier: Apache-2.0
"""From a journal through the real Collector into the real engine of ClickHouse (``clickhouse_shim.py``): every record once,
whatever was killed meanwhile, and as it was written."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from delivered import ids, lines_of, send, written
from journals import until

from clickhouse import ClickHouse, Refused, clickhouse, collecting
from collector import Collector, post
from opentelemetry.instrumentation.mcp_audit.cli.app import app

pytestmark = [pytest.mark.xdist_group("clickhouse"), pytest.mark.timeout(120)]
NO_CONTENT = "ALTER TABLE mcp_audit MODIFY COLUMN Content REMOVE MATERIALIZED"
NOW = "SETTINGS mutations_sync = 2"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    with clickhouse(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server


@pytest.fixture
def server(engine: ClickHouse) -> ClickHouse:
    """With an empty table."""
    engine.make()
    return engine


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of twelve calls, with bodies."""
    place = tmp_path_factory.mktemp("journal") / "svc"
    written(place, 12, size=50)
    return place


@pytest.fixture(scope="module")
def sent(engine: ClickHouse, trail: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """All of the trail as the exporter wrote it, in a table aside."""
    lines = lines_of(trail)
    engine.make()
    with collecting(tmp_path_factory.mktemp("collector"), engine.env) as collector:
        send(collector, lines)
        until(lambda: engine.count() == len(lines))
    engine.query("CREATE TABLE default.sent ENGINE = MergeTree ORDER BY tuple() AS SELECT * FROM mcp_audit")


@pytest.fixture
def filled(sent: None, server: ClickHouse) -> ClickHouse:
    """With what was sent in the table."""
    server.query("INSERT INTO mcp_audit SELECT * FROM default.sent")
    return server


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def sent_to_clickhouse(collector: Collector) -> int:
    """How many records the exporter has handed over since the Collector started."""
    with urllib.request.urlopen(f"http://127.0.0.1:{collector.metrics}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    found = [line for line in lines if line.startswith("otelcol_exporter_sent_log_records")]
    return sum(int(float(line.rpartition(" ")[2])) for line in found if 'exporter="clickhouse/audit"' in line)


def stored_ids(server: ClickHouse) -> list[str]:
    return server.query("SELECT record_id FROM mcp_audit_records ORDER BY record_id").split()


def test_every_record_once_though_the_engine_and_the_collector_are_killed_under_load(
    server: ClickHouse, tmp_path: Path
) -> None:
    first, second = written(tmp_path / "one", 300, size=50), written(tmp_path / "two", 300, size=50)
    wanted = sorted(ids(first + second))
    with collecting(tmp_path / "collector", server.env) as collector:
        send(collector, first)
        until(lambda: server.count() == len(first), 30)
        load = threading.Thread(target=send, args=(collector, second, 20))
        load.start()
        server.kill()  # while records come in
        load.join()
        collector.kill()  # with what the engine has not got in its queue
        server.start()
        lacking = len(wanted) - server.count()
        collector.start()
        send(collector, first)  # again, all of it
        until(lambda: sent_to_clickhouse(collector) >= lacking + len(first), 30)
    assert lacking > 0
    assert stored_ids(server) == wanted
    server.query("OPTIMIZE TABLE mcp_audit FINAL")
    assert server.count("mcp_audit") == len(wanted)
    assert run("verify", server.url).exit_code == 0


def test_an_engine_that_was_away_at_the_start_and_then_refuses_the_password_costs_nothing(
    server: ClickHouse, trail: Path, tmp_path: Path
) -> None:
    """Then the exporter never learns of the column EventName; and a 403 makes other exporters drop what they hold."""
    lines = lines_of(trail)
    server.kill()
    with collecting(tmp_path / "collector", server.env) as collector:
        assert "schema detection failed" in collector.log_text()
        send(collector, lines)
        server.start(password="rotated")
        until(lambda: "AUTHENTICATION_FAILED" in collector.log_text(), 30)
        server.kill()
        server.start()
        until(lambda: server.count() == len(lines), 30)
    assert stored_ids(server) == sorted(ids(lines))
    assert server.query("SELECT DISTINCT EventName FROM mcp_audit ORDER BY 1").split() == [
        "mcp_audit.lifecycle",
        "mcp_audit.tool_call",
    ]
    assert run("verify", server.url).exit_code == 0


def test_the_metadata_view_has_no_content_and_is_verified(server: ClickHouse, trail: Path, tmp_path: Path) -> None:
    lines = lines_of(trail)
    env = {**server.env, "AUDIT_CLICKHOUSE_VIEW": "metadata"}
    with collecting(tmp_path / "collector", env) as collector:
        send(collector, lines)
        until(lambda: server.count() == len(lines))
    assert server.query("SELECT DISTINCT Body FROM mcp_audit") == "\n"
    done = run("verify", "--json", server.url)
    report = json.loads(done.stdout)
    checked = sum(stream["records"] for stream in report["streams"])
    assert (done.exit_code, report["verdict"], checked) == (0, "valid", len(lines))


NAN = {"key": "x", "value": {"doubleValue": "NaN"}}
HOSTILE: list[dict[str, Any]] = [
    {"attributes": [NAN, {"key": "audit.record.id", "value": {"stringValue": "Kept"}}]},
    {"attributes": [{"key": "audit.record.id", "value": {"doubleValue": "NaN"}}]},
    # Another name: without attributes it would be equal to the one before, and equal ones are one.
    {
        "eventName": "deep",
        "attributes": [{"key": "deep", "value": {"arrayValue": {"values": [{"kvlistValue": {"values": [NAN]}}]}}}],
    },
    {
        "attributes": [
            {"key": "b", "value": {"bytesValue": "/w=="}},
            {"key": "'; DROP TABLE mcp_audit; --", "value": {}},
        ]
    },
    {"timeUnixNano": "18446744073709551615", "body": {"kvlistValue": {"values": [NAN]}}},
    {"timeUnixNano": "1", "eventName": "with two  blanks", "severityText": "said by the sender", "severityNumber": 9},
    {"eventName": "\u0000\U0001f600", "traceId": "ab" * 16, "spanId": "cd" * 8, "flags": 255},
]


def test_what_is_no_record_of_the_trail_stops_none_that_is(server: ClickHouse, trail: Path, tmp_path: Path) -> None:
    """The exporter gives nothing up: what can never be written would hold back all that is in its batch."""
    lines = lines_of(trail)
    bad = [{"scopeLogs": [{"scope": {"attributes": [NAN]}, "logRecords": [record]}]} for record in HOSTILE]
    bad.append({"resource": {"attributes": [NAN]}, "scopeLogs": [{"logRecords": [{"body": {"doubleValue": "NaN"}}]}]})
    # More months than a batch may have by default.
    months = [{"timeUnixNano": str(month * 2_678_400 * 10**9)} for month in range(1, 151)]
    bad.append({"scopeLogs": [{"logRecords": months}]})
    groups = [*(json.loads(line)["resourceLogs"][0] for line in lines), *bad]
    with collecting(tmp_path / "collector", server.env) as collector:
        assert post(collector.logs_url, json.dumps({"resourceLogs": groups}).encode())[0] == 200
        until(lambda: server.count("mcp_audit") == len(lines) + len(HOSTILE) + 1 + len(months), 30)
        assert "Exporting failed" not in collector.log_text()
    found = server.query("SELECT RecordId FROM mcp_audit WHERE RecordId != '' ORDER BY RecordId").split()
    assert found == sorted([*ids(lines), "kept"])
    done = run("verify", server.url)
    assert done.exit_code == 1 and "VIOLATED" in done.stdout
    assert run("reconcile", f"journal:{trail}", server.url).exit_code == 0
    assert run("query", "--event", "*", server.url).exit_code == 0


def test_verify_export_query_and_reconcile_read_it(filled: ClickHouse, trail: Path, tmp_path: Path) -> None:
    lines = lines_of(trail)
    done = run("verify", "--json", filled.url)
    report = json.loads(done.stdout)
    checked = [stream["records"] for stream in report["streams"]]
    assert (done.exit_code, report["verdict"], sum(checked), len(checked)) == (0, "valid", len(lines), 2)
    assert "p@ss" not in done.output and "p%40ss" not in done.output
    # What is exported is the trail again: the lines verify as the Collector's do, and bodies are there.
    out = tmp_path / "out.jsonl"
    assert run("export", "--format", "otlp", "-o", str(out), filled.url).exit_code == 0
    assert ids(out.read_bytes().splitlines()) == ids(lines)
    assert run("verify", "--collected", str(out)).exit_code == 0
    done = run("query", "--json", "--tool", "t7", filled.url)
    (found,) = map(json.loads, done.stdout.splitlines())
    assert found["gen_ai.tool.name"] == "t7"
    assert run("reconcile", f"journal:{trail}", filled.url).exit_code == 0
    # By time: a bound in the middle of the trail parts it, and loses none.
    times = [json.loads(line)["timestamp"] for line in run("export", filled.url).stdout.splitlines()]
    early, late = run("export", "--until", times[6], filled.url), run("export", "--since", times[6], filled.url)
    assert len(early.stdout.splitlines()) + len(late.stdout.splitlines()) == len(times)


def test_doctor_probes_all_the_way_into_it(server: ClickHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "journal", 1)
    with collecting(tmp_path / "collector", server.env) as collector:
        monkeypatch.setenv("OTEL_MCP_AUDIT_OTLP_ENDPOINT", collector.url)
        done = run("doctor", "--json", "--probe", server.url, str(tmp_path / "journal"))
    assert " arrived in " in done.stdout, done.output
    assert server.count("mcp_audit_records WHERE event = 'mcp_audit.heartbeat'") == 1


def test_replay_sends_out_of_it(filled: ClickHouse, trail: Path, tmp_path: Path) -> None:
    with Collector(tmp_path / "second", "audit.yaml", "sinks/file.yaml") as collector:
        assert run("replay", "--endpoint", collector.url, filled.url).exit_code == 0
        archive = str(collector.archive)
        assert run("reconcile", f"journal:{trail}", archive).exit_code == 0
    assert run("verify", archive).exit_code == 0


def test_reconcile_names_what_it_lacks(filled: ClickHouse, trail: Path, tmp_path: Path) -> None:
    gone = filled.query("SELECT record_id FROM mcp_audit_records WHERE tool IN ('t3', 't8') ORDER BY record_id").split()
    filled.query(f"ALTER TABLE mcp_audit DELETE WHERE Tool IN ('t3', 't8') {NOW}")
    missing = tmp_path / "missing.txt"
    done = run("reconcile", f"journal:{trail}", filled.url, "--ids", str(missing))
    assert (done.exit_code, missing.read_text().split()) == (1, gone)
    done = run("verify", filled.url)
    assert done.exit_code == 1 and "VIOLATED" in done.stdout


@pytest.mark.parametrize(
    "update",
    ["Body = replace(Body, 'x', 'y')", "LogAttributes = replace(LogAttributes, 'ada', 'eve')", "UserId = 'eve'"],
)
def test_the_engine_refuses_to_update_evidence(filled: ClickHouse, update: str) -> None:
    with pytest.raises(Refused, match="Cannot UPDATE"):
        filled.query(f"ALTER TABLE mcp_audit UPDATE {update} WHERE 1 {NOW}")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ([NO_CONTENT, f"ALTER TABLE mcp_audit UPDATE Body = replace(Body, 'x', 'y') WHERE Tool = 't3' {NOW}"], "body"),
        ([NO_CONTENT, f"ALTER TABLE mcp_audit UPDATE EventName = 'mcp_audit.request' WHERE Tool = 't3' {NOW}"], "hash"),
        (
            [
                "ALTER TABLE mcp_audit MODIFY COLUMN UserId REMOVE MATERIALIZED",
                f"ALTER TABLE mcp_audit UPDATE UserId = 'eve' WHERE Tool = 't3' {NOW}",
            ],
            "column UserId does not say what the record says",
        ),
        ([f"ALTER TABLE mcp_audit UPDATE ServiceName = 'other' WHERE Tool = 't3' {NOW}"], "column ServiceName"),
        (
            [
                "CREATE TABLE kept AS mcp_audit",
                "INSERT INTO kept SELECT * REPLACE (replace(LogAttributes, '\"ada\"', '\"eve\"') AS LogAttributes) "
                "FROM mcp_audit WHERE Tool = 't3'",
                f"ALTER TABLE mcp_audit DELETE WHERE Tool = 't3' {NOW}",
                "INSERT INTO mcp_audit SELECT * FROM kept",
            ],
            "hash differs",
        ),
        (
            [
                "CREATE TABLE kept AS mcp_audit",
                "INSERT INTO kept SELECT * REPLACE (replace(LogAttributes, '\"ada\"', '\"eve\"') AS LogAttributes) "
                "FROM mcp_audit WHERE Tool = 't3'",
                "INSERT INTO mcp_audit SELECT * FROM kept",
            ],
            "hash differs",
        ),
    ],
    ids=["body", "event", "derived", "service", "replaced", "beside"],
)
def test_verify_finds_an_edit_made_with_plain_sql(filled: ClickHouse, edit: list[str], said: str) -> None:
    (record_id,) = filled.query("SELECT record_id FROM mcp_audit_records WHERE tool = 't3'").split()
    for statement in edit:
        filled.query(statement)
    done = run("verify", filled.url)
    assert done.exit_code == 1
    assert any(said in line and record_id in line for line in done.stdout.splitlines()), done.stdout


def test_what_is_wrong_is_said_without_the_password(server: ClickHouse) -> None:
    done = run("verify", server.url)
    assert (done.exit_code, "there is no record in it" in done.stdout) == (2, True)
    for url in (server.url.replace("%2F1", "%2F2"), f"{server.url}?table=nowhere"):
        done = run("query", url)
        assert done.exit_code == 2 and "DB::Exception" in done.stderr
        assert "p@ss" not in done.output and "p%40ss" not in done.output
