# SPDX-License-Identifier: Apache-2.0
"""Journals to test with, and a reader of segments that shares no code with the package (``trail_oracle``)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from trail_oracle import record_form, sha

from opentelemetry.instrumentation.mcp_audit.journal.disk import REAL_DISK
from opentelemetry.instrumentation.mcp_audit.journal.journal import Journal, Options
from opentelemetry.instrumentation.mcp_audit.journal.origin import Origin
from opentelemetry.instrumentation.mcp_audit.record.ids import uuid7
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord

ORIGIN = Origin(
    resource={"service.name": "svc", "host.name": "box"},
    scope_name="opentelemetry.instrumentation.mcp_audit",
    scope_version="0.1.0",
    policy_hash="0" * 64,
    settings_hash="1" * 64,
    versions=("python=3.11.0", "mcp=2.3.0"),
)


def journal(directory: Path, say: Callable[[str], None] | None = None, **options: Any) -> Journal:
    """A journal of ORIGIN in ``directory`` that keeps quiet unless told otherwise; ``options``: those of Options."""
    origin, disk = options.pop("origin", ORIGIN), options.pop("disk", REAL_DISK)
    return Journal(directory, origin, Options(**options), say=say or (lambda sentence: None), disk=disk)


def record(name: str = "search", size: int = 0) -> AuditRecord:
    """A tool call's record with the attributes that every such record has, and a body when ``size`` says how long."""
    now = time.time_ns()
    call_id = uuid7()
    attributes: dict[str, Any] = {
        "audit.record.id": call_id,
        "audit.action": "EXECUTE",
        "audit.outcome": "success",
        "audit.actor.id": "ada",
        "audit.actor.type": "user",
        "audit.schema.version": "1.0",
        "gen_ai.tool.name": name,
        "mcp.method.name": "tools/call",
        "mcp_audit.actor.provenance": "verified",
        "mcp_audit.call.id": call_id,
        "mcp_audit.duration_us": 0,
        "mcp_audit.level": "request",
        "mcp_audit.outcome.detail": "ok",
        "mcp_audit.request.id": call_id,
    }
    body = None
    if size:
        body = json.dumps({"arguments": "x" * size, "salt": "00" * 16}, separators=(",", ":"))
        attributes["mcp_audit.content.digest"] = sha(body.encode())
    return AuditRecord("mcp_audit.tool_call", now, now, attributes, body)


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Return as soon as ``condition`` holds; an AssertionError when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def unwrap(value: dict[str, Any]) -> Any:
    """An OTLP/JSON value as a Python value."""
    ((kind, inner),) = value.items()
    if kind == "intValue":
        return int(inner)
    return [item["stringValue"] for item in inner["values"]] if kind == "arrayValue" else inner


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a segment (OTLP/JSON, with ``facts``: attributes by name), after checking what every segment keeps:
    whole lines, the same bytes around every record, numbers from 1 without a gap, hashes, the chain."""
    data = path.read_bytes()
    assert data.endswith(b"\n"), "the last line is torn"
    records: list[dict[str, Any]] = []
    previous: str | None = None
    heads = set()
    for number, line in enumerate(data.splitlines(), 1):
        heads.add(line[: line.index(b'"logRecords":[')])
        ((found,),) = [
            scope["logRecords"] for group in json.loads(line)["resourceLogs"] for scope in group["scopeLogs"]
        ]
        facts = {item["key"]: unwrap(item["value"]) for item in found["attributes"]}
        assert len(facts) == len(found["attributes"]), "an attribute is repeated"
        assert facts["audit.sequence.number"] == number
        assert facts["audit.sequence.stream_id"] in path.name
        assert facts.get("audit.sequence.previous_hash") == previous
        assert sha(record_form(found)) == facts["mcp_audit.record.hash"]
        previous = facts["mcp_audit.record.hash"]
        records.append({**found, "facts": facts})
    assert len(heads) == 1
    return records


def segments(directory: Path) -> list[Path]:
    """The segment files of a directory in the order in which they were opened."""
    found = (path for path in directory.glob("*.jsonl") if path.name != "ledger.jsonl")
    return sorted(found, key=lambda path: int(read(path)[0]["timeUnixNano"]))


def kinds(records: Iterable[dict[str, Any]]) -> list[str]:
    """What each record is: its lifecycle kind, ``gap N``, or the tool's name."""
    made = []
    for item in records:
        facts = item["facts"]
        if item["eventName"] == "mcp_audit.gap":
            made.append(f"gap {facts['mcp_audit.gap.count']}")
        else:
            made.append(facts.get("mcp_audit.lifecycle.kind") or facts["gen_ai.tool.name"])
    return made
