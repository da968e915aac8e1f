# SPDX-License-Identifier: Apache-2.0
"""A Collector shared with ordinary logs: evidence goes to the archive whatever it lacks, ordinary logs never do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from delivered import archived, ids, written

from collector import Collector, join_lines, post

ORDINARY = """
exporters:
  file/mine: {path: "${env:TEST_ORDINARY}", create_directory: true, rotation: {}}
service:
  pipelines:
    logs/mine: {receivers: [forward/ordinary], exporters: [file/mine]}
"""


def line(name: str, event: str = "", **attributes: str) -> bytes:
    """A log record of somebody else, with its name as the body."""
    record: dict[str, Any] = {"timeUnixNano": "1", "body": {"stringValue": name}}
    if event:
        record["eventName"] = event
    record["attributes"] = [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    groups = [{"resource": resource, "scopeLogs": [{"scope": {}, "logRecords": [record]}]}]
    return json.dumps({"resourceLogs": groups}, separators=(",", ":")).encode()


def bodies(lines: list[bytes]) -> list[str]:
    return [
        record["body"].get("stringValue", "")
        for one in lines
        for group in json.loads(one)["resourceLogs"]
        for scoped in group["scopeLogs"]
        for record in scoped["logRecords"]
    ]


def test_evidence_and_ordinary_logs(tmp_path: Path) -> None:
    mine = tmp_path / "ordinary.yaml"
    mine.write_text(ORDINARY)
    ordinary = tmp_path / "ordinary" / "logs.jsonl"
    evidence = written(tmp_path / "journal", 20)
    others = [
        line("plain"),
        line("an event of another kind", "shop.order"),
        line("a name that only looks like ours", "mcp_auditor.started"),
        line("an attribute of ours and no more", **{"mcp_audit.collector.peer": "kept"}),
    ]
    half = [line("only the id", **{"audit.record.id": "7"}), line("only the event name", "mcp_audit.tool_call")]
    env = {"TEST_ORDINARY": str(ordinary)}
    with Collector(tmp_path / "c", "audit.yaml", "sinks/file.yaml", "overlays/shared.yaml", mine, env=env) as collector:
        # One request that holds everything, as an application with both kinds in one exporter sends it.
        assert post(collector.logs_url, join_lines([*others, *evidence, *half]))[0] == 200
        kept, passed = archived(collector), ordinary.read_bytes().splitlines()
    assert ids(kept) == ids(evidence) + ids(half)
    assert sorted(filter(None, bodies(kept))) == ["only the event name", "only the id"]
    assert bodies(passed) == [
        "plain",
        "an event of another kind",
        "a name that only looks like ours",
        "an attribute of ours and no more",
    ]
    assert b'"kept"' in b"".join(passed), "ordinary logs pass as they came"
