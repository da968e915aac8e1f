# SPDX-License-Identifier: Apache-2.0
"""OCSF 1.9 API Activity: golden events, and whatever the record, what the schema requires is there."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest
from golden_records import OCSF
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from trail_oracle import Trail

from opentelemetry.instrumentation.mcp_audit.integrity.parse import parse_line
from opentelemetry.instrumentation.mcp_audit.record import attributes as a
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord
from opentelemetry.instrumentation.mcp_audit.render.ocsf import ocsf_line, to_ocsf

PACKAGE = "opentelemetry.instrumentation.mcp_audit.render"
SCHEMA: dict[str, Any] = json.loads(resources.files(PACKAGE).joinpath("ocsf.schema.json").read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


def test_the_schema_is_one_and_the_golden_events_fit_it() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    for line in OCSF.read_text(encoding="utf-8").splitlines():
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
    + [("EXECUTE", 99, "Execute"), ("START", 99, "Start"), ("check it", 99, "check it"), ("", 99, "Other")],
)
def test_actions_are_activities(action: str, activity: int, name: str) -> None:
    event = to_ocsf(AuditRecord("mcp_audit.request", 1, 1, {a.AUDIT_ACTION: action}, None))
    assert (event["activity_id"], event["activity_name"], event["type_uid"]) == (activity, name, 600300 + activity)


_VALUES = {"string": st.text(max_size=8), "int": st.integers(-(2**63), 2**63 - 1), "bool": st.booleans()}


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_what_the_schema_requires_is_there_whatever_the_record(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(a.TABLE)), max_size=30, unique=True))
    attributes: dict[str, Any] = {}
    for name in names:
        kind = a.TABLE[name].type
        attributes[name] = data.draw(
            st.lists(st.text(max_size=8), min_size=1, max_size=3) if kind == "strings" else _VALUES[kind]
        )
    body = data.draw(st.none() | st.text() | st.builds(json.dumps, st.dictionaries(st.text(), st.integers())))
    record = AuditRecord("mcp_audit.tool_call", data.draw(st.integers(0, 2**63)), 0, attributes, body)
    VALIDATOR.validate(json.loads(ocsf_line(record)))


def test_members_without_a_value_are_left_out_and_what_was_asked_and_answered_is_not_touched() -> None:
    body = {"arguments": {"a": None, "b": {}}, "result": {}, "error": {"code": -1, "message": "no", "data": None}}
    record = AuditRecord("mcp_audit.tool_call", 1, 1, {a.REQUEST_ID: "r"}, json.dumps(body))
    event = to_ocsf(record)
    assert event["api"] == {
        "operation": "mcp_audit.tool_call",
        "request": {"uid": "r", "data": {"a": None, "b": {}}},
        "response": {"data": {}, "error_message": "no"},
    }
    assert event["unmapped"] == {"time_unix_nano": "1", "error": body["error"]}
    assert event["actor"] == {"user": {"uid": "unknown", "type_id": 0}}
    assert event["metadata"]["profiles"] == []
    assert "ai_agent" not in event and "resources" not in event and "attestation_list" not in event


def test_a_summary_of_refusals_names_its_source_and_count() -> None:
    trail = Trail()
    attributes = {"audit.source.id": "2001:db8::/64", "mcp_audit.summary.count": 90, "mcp_audit.summary.others": False}
    trail.system("x", attributes, event="mcp_audit.summary")
    event = to_ocsf(parse_line(trail.lines()[-1].rstrip(b"\n"))[0])
    assert event["src_endpoint"] == {"name": "2001:db8::/64"}
    assert (event["unmapped"]["summary_count"], event["unmapped"]["summary_others"]) == (90, False)
