# SPDX-License-Identifier: Apache-2.0
"""OCSF 1.9 API Activity: golden events, and whatever the record, what the schema requires is there."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from trail_oracle import Trail

from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord, parse_line
from opentelemetry.instrumentation.mcp_audit.record import attributes as a
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord
from opentelemetry.instrumentation.mcp_audit.render.ocsf import ocsf_line, to_ocsf

GOLDEN = Path(__file__).parent / "golden" / "ocsf.jsonl"
PACKAGE = "opentelemetry.instrumentation.mcp_audit.render"
SCHEMA: dict[str, Any] = json.loads(resources.files(PACKAGE).joinpath("ocsf.schema.json").read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


def golden_trail() -> Trail:
    """One record of each kind that is told differently."""
    trail = Trail(start=1_705_314_598_123_456_789)
    trail.call(
        "datahub_search",
        {"query": "customers", "limit": 10},
        user="user123",
        duration_us=150_499,
        **{
            "user.email": "user@example.com",
            "mcp_audit.tenant.id": "acme-corp",
            "mcp_audit.request.id": "req-abc123",
            "client.address": "192.168.1.1",
            "client.port": 4711,
            "mcp_audit.decision": "allowed",
            "gen_ai.agent.id": "agent-7",
            "audit.target.id": "datahub_search",
            "audit.target.type": "tool",
            "mcp_audit.resources": ["urn:li:dataset:1"],
        },
    )
    trail.call("broken", {"päss": "\x9b\u202e"}, outcome="failure", detail="tool_error", body=None)
    trail.call("slow", {}, outcome="unknown", detail="cancelled")
    trail.call("secret", {}, outcome="failure", detail="denied", **{"mcp_audit.decision": "denied"})
    trail.system("gap", {"mcp_audit.gap.count": 3}, event="mcp_audit.gap")
    return trail


def stored(trail: Trail, index: int) -> StoredRecord:
    return parse_line(trail.lines()[index].rstrip(b"\n"))[0]


def test_the_golden_file() -> None:
    trail = golden_trail()
    made = [ocsf_line(stored(trail, index)) for index in range(len(trail.records))]
    assert made == GOLDEN.read_text(encoding="utf-8").splitlines()


def test_the_schema_is_one_and_the_golden_events_fit_it() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    for line in GOLDEN.read_text(encoding="utf-8").splitlines():
        VALIDATOR.validate(json.loads(line))


@pytest.mark.parametrize(
    ("outcome", "decision", "status", "action"),
    [
        ("success", "allowed", 1, 1),
        ("failure", "allowed", 2, 1),
        ("failure", "denied", 2, 2),
        ("unknown", "allowed", 0, 1),
        ("success", None, 1, None),
    ],
)
def test_outcome_is_status_and_decision_is_action(
    outcome: str, decision: str | None, status: int, action: int | None
) -> None:
    attributes: dict[str, a.AttributeValue] = {a.AUDIT_OUTCOME: outcome}
    if decision is not None:
        attributes[a.DECISION] = decision
    event = to_ocsf(AuditRecord("mcp_audit.tool_call", 1, 1, attributes, None))
    assert (event["status_id"], event.get("action_id")) == (status, action)


@pytest.mark.parametrize(
    ("action", "activity", "name"),
    [("CREATE", 1, "Create"), ("READ", 2, "Read"), ("UPDATE", 3, "Update"), ("DELETE", 4, "Delete")]
    + [("EXECUTE", 99, "Execute"), ("START", 99, "Start"), ("", 99, "Other")],
)
def test_actions_are_activities(action: str, activity: int, name: str) -> None:
    event = to_ocsf(AuditRecord("mcp_audit.request", 1, 1, {a.AUDIT_ACTION: action}, None))
    assert (event["activity_id"], event["activity_name"], event["type_uid"]) == (activity, name, 600300 + activity)


_VALUES = {"string": st.text(max_size=8), "int": st.integers(-(2**63), 2**63 - 1), "bool": st.booleans()}


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_what_the_schema_requires_is_there_whatever_the_record(data: st.DataObject) -> None:
    needed = [name for name, row in a.TABLE.items() if row.need == "always"]
    names = needed + data.draw(st.lists(st.sampled_from(sorted(a.TABLE)), max_size=20, unique=True))
    attributes: dict[str, Any] = {}
    for name in names:
        kind = a.TABLE[name].type
        attributes[name] = data.draw(
            st.lists(st.text(max_size=8), min_size=1, max_size=3) if kind == "strings" else _VALUES[kind]
        )
    body = data.draw(st.none() | st.text() | st.builds(json.dumps, st.dictionaries(st.text(), st.integers())))
    record = AuditRecord("mcp_audit.tool_call", data.draw(st.integers(0, 2**63)), 0, attributes, body)
    event = json.loads(ocsf_line(record))
    VALIDATOR.validate(event)
    assert _no_nulls(event)


def _no_nulls(value: Any) -> bool:
    if isinstance(value, dict):
        return all(item is not None and _no_nulls(item) for item in value.values())
    return all(map(_no_nulls, value)) if isinstance(value, list) else True


def test_a_summary_of_refusals_names_its_source_and_count() -> None:
    trail = Trail()
    attributes = {"audit.source.id": "2001:db8::/64", "mcp_audit.summary.count": 90, "mcp_audit.summary.others": False}
    trail.system("x", attributes, event="mcp_audit.summary")
    event = to_ocsf(parse_line(trail.lines()[-1].rstrip(b"\n"))[0])
    assert event["src_endpoint"] == {"name": "2001:db8::/64"}
    assert (event["unmapped"]["summary_count"], event["unmapped"]["summary_others"]) == (90, False)
