# SPDX-License-Identifier: Apache-2.0
"""A rendering before a sink that has a transform of its own, composed as the README says, with the real Collector.

What the renderings are is tested in ``test_renderings.py``; here it is only where they arrive.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datadog_intake import KEY, datadog_intake
from delivered import ids, send, written
from endpoint import endpoint
from golden_records import OCSF, RECORDS, SEED
from hec import Hec
from journals import until
from rendered import canonical, plain
from served_command import serving

from collector import CONFIG, Collector
from opentelemetry.instrumentation.mcp_audit.integrity.report import Report
from opentelemetry.instrumentation.mcp_audit.sink.migrate import migrate
from opentelemetry.instrumentation.mcp_audit.sink.sql import engine_of
from opentelemetry.instrumentation.mcp_audit.sink.stored import check_store, record_ids

pytestmark = pytest.mark.timeout(120)

LINES = RECORDS.read_bytes().splitlines()
GOLDEN = {"seed": SEED, "ocsf": OCSF}
# The README's table: of each sink, where in its pipeline the rendering stands.
COMPOSED = {
    "splunk": "service: {pipelines: {logs/splunk: {processors: [transform/RENDERING, transform/splunk]}}}",
    "datadog": "service: {pipelines: {logs/datadog: {processors: [transform/RENDERING, transform/datadog]}}}",
    "sql": "service: {pipelines: {logs/sql: {processors: [transform/sql, transform/RENDERING]}}}",
}


def composed(home: Path, sink: str, rendering: str, more: str = "", **env: str) -> Collector:
    """The archive, one sink, one rendering, and the lines that put it before that sink."""
    home.mkdir()
    mine = home / "mine.yaml"
    mine.write_text(f"{COMPOSED[sink].replace('RENDERING', rendering)}\n{more}")
    files = ("audit.yaml", "sinks/file.yaml", f"sinks/{sink}.yaml", f"renderings/{rendering}.yaml", mine)
    return Collector(home, *files, env={f"AUDIT_{rendering.upper()}_JSONL": str(home / "r" / "r.jsonl"), **env})


def expected(rendering: str) -> dict[str, bytes]:
    """The golden renderings by record id, in RFC 8785's form."""
    events = map(json.loads, GOLDEN[rendering].read_text(encoding="utf-8").splitlines())
    return {next(iter(ids([line]))): canonical(event) for line, event in zip(LINES, events, strict=True)}


def sent_to_splunk(home: Path, rendering: str | None) -> dict[str, dict[str, Any]]:
    """The events by record id."""
    with Hec() as hec:
        env = {"AUDIT_SPLUNK_URL": f"{hec.url}/services/collector", "AUDIT_SPLUNK_TOKEN": hec.token}
        if rendering:
            collector = composed(home, "splunk", rendering, **env)
        else:
            collector = Collector(home, "audit.yaml", "sinks/file.yaml", "sinks/splunk.yaml", env=env)
        with collector:
            send(collector, LINES)
            until(lambda: len(hec.events) == len(LINES), 20)
    return {event["event"]["audit_record_id"]: event for event in hec.events}


def test_in_splunk_the_content_is_the_rendering_and_all_else_what_it_was(tmp_path: Path) -> None:
    """So searches and detections of the add-on, which are over the other fields, work as they did."""
    record = sent_to_splunk(tmp_path / "record", None)
    for rendering in GOLDEN:
        events = sent_to_splunk(tmp_path / rendering, rendering)
        made = {uid: canonical(json.loads(event["event"].pop("x_content"))) for uid, event in events.items()}
        assert made == expected(rendering)
        for uid, event in events.items():
            whole = {name: value for name, value in record[uid]["event"].items() if name != "x_content"}
            assert event == {**record[uid], "event": whole}


@pytest.mark.parametrize("rendering", sorted(GOLDEN))
def test_in_datadog_the_body_is_the_rendering(tmp_path: Path, rendering: str) -> None:
    with datadog_intake() as intake:
        env = {"AUDIT_DATADOG_URL": intake.url, "DD_API_KEY": KEY}
        with composed(tmp_path / "c", "datadog", rendering, **env) as collector:
            send(collector, LINES)
            until(lambda: len(intake.ids) == len(LINES), 20)
        taken = {one["facts"]["audit.record.id"]: one for _, one in intake.logs()}
    assert {uid: canonical(plain(one["body"])) for uid, one in taken.items()} == expected(rendering)
    assert {one["facts"]["ddsource"] for one in taken.values()} == {"mcp-audit"}


def test_another_otlp_endpoint_in_the_metadata_view_gets_the_rendering_without_content(tmp_path: Path) -> None:
    """The view first, then the rendering of what it left."""
    with endpoint() as other:
        env = {"AUDIT_SQL_SINK_URL": f"http://127.0.0.1:{other.port}/v1/logs", "AUDIT_SQL_VIEW": "metadata"}
        more = "exporters: {otlp_http/sql: {encoding: json}}\n"
        with composed(tmp_path / "c", "sql", "seed", more, **env) as collector:
            send(collector, LINES)
            until(lambda: len(set(other.kept)) == len(LINES), 20)
        records = [
            record
            for request in other.requests
            for group in json.loads(request.body)["resourceLogs"]
            for scoped in group["scopeLogs"]
            for record in scoped["logRecords"]
        ]
    seed = [{**json.loads(event), "params": None} for event in expected("seed").values()]
    assert sorted(canonical(plain(one["body"])) for one in records) == sorted(map(canonical, seed))


def test_in_our_own_database_a_rendering_is_no_evidence(tmp_path: Path) -> None:
    """The README says not to: `verify` needs the record's own content, as it was hashed."""
    lines = written(tmp_path / "journal", 3, 20)
    store = f"sqlite:///{tmp_path}/audit.db"
    engine = engine_of(store)
    migrate(engine)
    with (
        serving("sink", ready="/healthz", env={"AUDIT_SINK_TO": store}) as url,
        composed(tmp_path / "c", "sql", "ocsf", AUDIT_SQL_SINK_URL=f"{url}/v1/logs") as collector,
    ):
        send(collector, lines)
        until(lambda: len(list(record_ids(engine))) == len(lines), 20)
    report = Report()
    check_store(engine, "store", report, None)
    assert report.verdict == "violated"
    said = [finding.sentence for finding in report.all_findings() if finding.kind == "violation"]
    assert said == ["the body is no string"] * len(lines)
    engine.dispose()


def test_the_readme_shows_what_is_run_here() -> None:
    text = (CONFIG / "README.md").read_text()
    for lines in COMPOSED.values():
        processors = lines[lines.index("[") : lines.index("]") + 1].replace("RENDERING", "ocsf")
        assert f"`{processors}`" in text
