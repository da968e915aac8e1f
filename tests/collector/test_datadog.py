# SPDX-License-Identifier: Apache-2.0
"""To Datadog, by a local endpoint that does what Datadog's OTLP logs intake is documented to do; its refusals, and the relay."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from datadog_intake import KEY, DatadogIntake, datadog_intake
from delivered import archived, ids, lines_of, send, written
from journals import journal, record, until
from served_command import serving

from collector import Collector
from opentelemetry.instrumentation.mcp_audit.record.attributes import TABLE

pytestmark = pytest.mark.timeout(60)

PIPELINE = ("audit.yaml", "sinks/file.yaml", "sinks/datadog.yaml")
# What Datadog takes for a log's own date, host, service, status, message and trace, wherever it stands at the top level:
# https://docs.datadoghq.com/logs/log_configuration/pipelines/#preprocessing, and the names that its OTLP mapping adds.
RESERVED = {
    *("@timestamp", "timestamp", "_timestamp", "eventtime", "date", "published_date", "syslog.timestamp"),
    *("host", "hostname", "syslog.hostname", "service", "syslog.appname", "dd.service"),
    *("status", "severity", "level", "syslog.severity", "message", "msg", "log", "ddtags", "source"),
    *("dd.trace_id", "dd.span_id", "trace_id", "traceid", "span_id", "spanid"),
}

# The leaves that sinks/datadog.yaml moves, and where to.
MOVED = {"mcp_audit.decision": "mcp_audit.decision.verdict", "mcp_audit.purpose": "mcp_audit.purpose.text"}
ARRIVES = (set(TABLE) - set(MOVED)) | set(MOVED.values()) | {"ddsource"}
EXAMPLES = Path(__file__).parents[2] / "examples" / "datadog"
_ANY = {"type", "name", "is_enabled", "target"}
FIELDS = {
    "attribute-remapper": _ANY
    | {"sources", "source_type", "target_type", "target_format", "preserve_source", "override_on_conflict"},
    "geo-ip-parser": _ANY | {"sources"},
    "string-builder-processor": _ANY | {"template", "is_replace_missing"},
}


@pytest.fixture
def intake() -> Iterator[DatadogIntake]:
    with datadog_intake() as running:
        yield running


def pipeline(home: Path, intake: DatadogIntake, **env: str) -> Collector:
    return Collector(home, *PIPELINE, env={"AUDIT_DATADOG_URL": intake.url, "DD_API_KEY": KEY, **env})


def trees(names: set[str]) -> list[str]:
    """Names that are leaf and branch at once where dots make a tree."""
    return sorted(name for name in names if any(other.startswith(f"{name}.") for other in names))


def test_a_record_as_datadog_gets_it(intake: DatadogIntake, tmp_path: Path) -> None:
    trail = journal(tmp_path / "journal")
    denied = record("delete_all", 40)
    denied.attributes.update(  # type: ignore[attr-defined]
        {"mcp_audit.decision": "denied", "mcp_audit.decision.by": "policy", "mcp_audit.purpose": "billing"}
    )
    trail.append(denied)
    trail.close()
    lines = lines_of(tmp_path / "journal")
    with pipeline(tmp_path / "collector", intake) as collector:
        send(collector, lines)
        until(lambda: len(intake.ids) == len(ids(lines)), 20)
        sent = json.loads(archived(collector)[0])["resourceLogs"]
    assert sorted(intake.ids) == sorted(ids(lines))
    assert intake.refused == {}
    (request,) = intake.taken
    assert (request.path, request.headers["dd-api-key"]) == ("/v1/logs", KEY)
    assert request.headers["content-type"] == "application/x-protobuf"
    logs = intake.logs()
    for resource, one in logs:
        assert one["facts"]["ddsource"] == "mcp-audit"
        assert {"severityNumber", "severityText"} & set(one) == set()
        assert {name for name in one["facts"] if name.lower() in RESERVED} == set()
        assert trees({*one["facts"], *resource}) == []
        assert one["body"]["stringValue"]
    ((resource, call),) = [found for found in logs if found[1]["eventName"] == "mcp_audit.tool_call"]
    assert (resource["service.name"], resource["host.name"]) == ("svc", "box")
    facts = call["facts"]
    assert (facts["mcp_audit.decision.verdict"], facts["mcp_audit.decision.by"]) == ("denied", "policy")
    assert facts["mcp_audit.purpose.text"] == "billing"
    assert json.loads(call["body"]["stringValue"])["arguments"] == "x" * 40
    (before,) = [
        one
        for group in sent
        for scoped in group["scopeLogs"]
        for one in scoped["logRecords"]
        if one["eventName"] == "mcp_audit.tool_call"
    ]
    assert call["timeUnixNano"] == before["timeUnixNano"], "the time of the call, not of the sending"
    names = {item["key"] for item in before["attributes"]}
    assert set(facts) == {MOVED.get(name, name) for name in names} | {"ddsource"}


def test_no_attribute_of_a_record_means_something_else_to_datadog() -> None:
    assert {name for name in TABLE if name.lower() in RESERVED or name.split(".")[0] in ("dd", "syslog")} == set()
    assert trees(set(TABLE)) == sorted(MOVED), "sinks/datadog.yaml moves these"


def test_a_view_without_content(intake: DatadogIntake, tmp_path: Path) -> None:
    lines = written(tmp_path / "journal", 3, 100)
    with pipeline(tmp_path / "collector", intake, AUDIT_DATADOG_VIEW="metadata") as collector:
        send(collector, lines)
        until(lambda: len(intake.ids) == len(ids(lines)), 20)
    bodies = {one["body"]["stringValue"] for _, one in intake.logs()}
    assert bodies == {"mcp_audit.tool_call", "mcp_audit.lifecycle"}
    assert b"x" * 100 not in b"".join(request.body for request in intake.taken)


@pytest.mark.parametrize("size", [0, 20_000], ids=["small", "large"])
def test_no_request_is_over_datadogs_limits(intake: DatadogIntake, tmp_path: Path, size: int) -> None:
    lines = written(tmp_path / "journal", 400 if size else 3000, size)
    with pipeline(tmp_path / "collector", intake) as collector:
        send(collector, lines, 500)
        until(lambda: len(intake.ids) >= len(ids(lines)), 30)
    assert intake.refused == {}
    assert len(intake.taken) > 3
    assert sorted(intake.ids) == sorted(ids(lines))


@pytest.mark.parametrize("answer", [429, 503, "reset"])
def test_what_a_collector_sends_again_by_itself(intake: DatadogIntake, tmp_path: Path, answer: int | str) -> None:
    lines = written(tmp_path / "journal", 50)
    intake.answer = answer
    with pipeline(tmp_path / "collector", intake) as collector:
        send(collector, lines)
        until(lambda: intake.refused.get(answer, 0) >= 1, 20)
        intake.answer = None
        until(lambda: set(intake.ids) == set(ids(lines)), 20)
        assert collector.scrape().get("otelcol_exporter_send_failed_log_records", 0) == 0


@pytest.mark.parametrize("answer", [403, 500])
def test_what_is_lost_without_the_relay(intake: DatadogIntake, tmp_path: Path, answer: int) -> None:
    """All that was being sent, queue or not; the archive has it. What comes later arrives."""
    lost = written(tmp_path / "journal", 50)
    intake.answer = answer
    with pipeline(tmp_path / "collector", intake) as collector:
        send(collector, lost)
        until(lambda: collector.scrape().get("otelcol_exporter_send_failed_log_records", 0) == len(lost), 20)
        intake.answer = None
        later = written(tmp_path / "later", 5)
        send(collector, later)
        until(lambda: set(intake.ids) == set(ids(later)), 20)
        assert set(ids(archived(collector))) == set(ids([*lost, *later]))


def test_with_the_relay_nothing_is_lost(intake: DatadogIntake, tmp_path: Path) -> None:
    first, second = written(tmp_path / "first", 20), written(tmp_path / "second", 20)
    target, kept = intake.url.removesuffix("/v1/logs"), str(tmp_path / "kept")
    with serving("relay", "--to", target, "--kept", kept, ready="/-/metrics") as url:
        home = tmp_path / "collector"
        with pipeline(home, intake, AUDIT_DATADOG_URL=f"{url}/v1/logs") as collector:
            for lines, answer in ((first, 403), (second, 500)):
                intake.answer = answer
                send(collector, lines)
                until(lambda answer=answer: intake.refused.get(answer, 0) >= 1, 20)
            intake.answer = None
            until(lambda: set(intake.ids) == set(ids([*first, *second])), 30)
            assert collector.scrape().get("otelcol_exporter_send_failed_log_records", 0) == 0
    assert not (tmp_path / "kept").exists()


def test_the_pipeline_and_the_facets_name_what_arrives() -> None:
    """Their shape is that of Datadog's API (`LogsPipeline`), held to here by its field names."""
    pipeline = json.loads((EXAMPLES / "pipeline.json").read_text())
    assert set(pipeline) == {"name", "description", "is_enabled", "filter", "processors"}
    assert pipeline["filter"] == {"query": "source:mcp-audit"}
    made: set[str] = set()
    for one in pipeline["processors"]:
        assert {"type", "name", "is_enabled", "target"} <= set(one) <= FIELDS[one["type"]]
        read = re.findall(r"%{(.+?)}", one["template"]) if "template" in one else one["sources"]
        assert set(read) <= ARRIVES | made, one["name"]
        assert one["target"].lower() not in RESERVED
        made.add(one["target"])
    assert trees(ARRIVES | made) == []
    facets = json.loads((EXAMPLES / "facets.json").read_text())
    assert {facet["path"].removeprefix("@") for facet in facets} <= ARRIVES
    assert all(set(facet) == {"path", "name", "group", "type"} for facet in facets)
    assert {facet["path"][1:] for facet in facets if facet["type"] == "measure"} <= {
        name for name, row in TABLE.items() if row.type == "int"
    }
