# SPDX-License-Identifier: Apache-2.0
"""The golden records are complete, and are what the oracle makes; both renderings of them are what the files say.

``tests/collector/test_renderings.py`` holds the Collector's transforms to the same three files.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from golden_records import OCSF, RECORDS, SEED, golden_trail

from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord, parse_line
from opentelemetry.instrumentation.mcp_audit.record import attributes as a
from opentelemetry.instrumentation.mcp_audit.render.ocsf import ocsf_line
from opentelemetry.instrumentation.mcp_audit.render.seed import seed_line


def stored() -> list[StoredRecord]:
    return [parse_line(line)[0] for line in RECORDS.read_bytes().splitlines()]


def test_the_records_are_what_the_oracle_makes() -> None:
    assert RECORDS.read_bytes() == b"".join(golden_trail().lines())
    assert [record.faults for record in stored() if record.faults] == []


@pytest.mark.parametrize(("render", "golden"), [(seed_line, SEED), (ocsf_line, OCSF)], ids=["seed", "ocsf"])
def test_each_rendering_is_the_golden_one(render: Callable[[StoredRecord], str], golden: Path) -> None:
    assert [render(record) for record in stored()] == golden.read_text(encoding="utf-8").splitlines()


def test_each_event_detail_decision_and_attribute_is_among_them() -> None:
    records = stored()
    events = {value for name, value in vars(a).items() if name.startswith("EVENT_")}
    assert events - {record.event_name for record in records} == set()
    assert set(a.DETAILS) - {record.attributes.get(a.OUTCOME_DETAIL) for record in records} == set()
    told = {(record.attributes.get(a.OUTCOME_DETAIL), record.attributes[a.AUDIT_OUTCOME]) for record in records}
    assert {(detail, verdict.outcome) for detail, verdict in a.DETAILS.items()} - told == set()
    actions = {method.action for method in a.METHODS.values()} | {"CREATE", "DELETE", "START", "STOP"}
    assert actions - {str(record.attributes[a.AUDIT_ACTION]) for record in records} == set()
    assert set(a.TABLE) - {name for record in records for name in record.attributes} == set()


def test_every_event_has_status_action_and_profiles_by_its_record() -> None:
    for record, line in zip(stored(), OCSF.read_text(encoding="utf-8").splitlines(), strict=True):
        event = json.loads(line)
        status = {"success": 1, "failure": 2}.get(str(record.attributes[a.AUDIT_OUTCOME]), 0)
        action = {"allowed": 1, "denied": 2}.get(str(record.attributes.get(a.DECISION)))
        assert (event["status_id"], event.get("action_id")) == (status, action)
        profiles = {"ai_operation": "ai_agent", "record_integrity": "attestation_list", "security_control": "action_id"}
        assert event["metadata"]["profiles"] == [name for name, member in profiles.items() if member in event]
