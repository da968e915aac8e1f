# SPDX-License-Identifier: Apache-2.0
"""A row becomes the record that it was; derived columns are held against it. Rows here are as the exporter writes them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from opentelemetry.instrumentation.mcp_audit.clickhouse.rows import DERIVED, STORED, edited, record_of
from opentelemetry.instrumentation.mcp_audit.integrity.values import NotARecord

ATTRIBUTES = {
    "audit.record.id": "01A2-ID",
    "audit.sequence.number": 7,
    "mcp_audit.record.hash": "ab",
    "audit.sequence.end": True,
    "mcp_audit.data.classes": ["phi", "pii"],
    "mcp_audit.of.a.later.release": 9007199254740993,
    "gen_ai.tool.name": "é<>&",
}
RESOURCE = {"service.name": "svc", "process.pid": 12, "mcp_audit.stream.id": "s1"}


def row(**changed: Any) -> list[Any]:
    values = {
        STORED[0]: "1795539201057972732",
        "TraceId": "ab" * 16,
        "SpanId": "cd" * 8,
        "SeverityText": "1795539201057973999 mcp_audit.tool_call",
        "EventName": "mcp_audit.tool_call",
        "Body": '{"arguments":{"a":1}}',
        "ResourceAttributes": json.dumps(RESOURCE),
        "ScopeName": "scope",
        "ScopeVersion": "0.1",
        "LogAttributes": json.dumps(ATTRIBUTES),
        **changed,
    }
    return list(values.values())


def test_the_record_as_it_was() -> None:
    made = record_of(row())
    assert (made.time, made.observed) == (1795539201057972732, 1795539201057973999)
    assert (made.trace_id, made.span_id, made.event_name) == ("ab" * 16, "cd" * 8, "mcp_audit.tool_call")
    assert made.attributes == ATTRIBUTES
    assert [type(value) for value in made.attributes.values()].count(bool) == 1
    assert made.resource == RESOURCE
    assert (made.body, made.scope, made.faults) == ('{"arguments":{"a":1}}', ("scope", "0.1"), ())
    first = json.loads(made.raw)["resourceLogs"][0]["resource"]["attributes"][0]
    assert first == {"key": "mcp_audit.stream.id", "value": {"stringValue": "s1"}}


@pytest.mark.parametrize("body", ["", "{}"])
def test_no_body(body: str) -> None:
    assert record_of(row(Body=body)).body is None


def test_no_time_of_observation_where_the_severity_carries_none() -> None:
    assert record_of(row(SeverityText="")).observed == 0


def test_what_the_format_does_not_know_is_a_fault_of_the_record() -> None:
    made = record_of(row(LogAttributes=json.dumps({"audit.record.id": "a", "x": 1.5, "y": {"z": None}})))
    assert made.attributes == {"audit.record.id": "a"}
    assert len(made.faults) == 2


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_no_record(text: str) -> None:
    with pytest.raises(NotARecord, match="column LogAttributes is no JSON"):
        record_of(row(LogAttributes=text))


def test_derived_columns_are_held_against_the_record() -> None:
    names = [name.removeprefix("toString(").removesuffix(")") for name in DERIVED]
    derived: dict[str, Any] = {name: "" for name in names}
    derived |= {"RecordId": "01a2-id", "StreamId": "s1", "ServiceName": "svc", "DataClasses": ["phi", "pii"]}
    derived |= {"SequenceNumber": "7", "DurationUs": "0", "RecordHash": "ab", "Tool": "é<>&"}
    made = record_of(row())
    assert list(edited([*row(), *derived.values()], made)) == []
    derived |= {"UserId": "eve", "SequenceNumber": "8", "ServiceName": "other", "DataClasses": []}
    found = list(edited([*row(), *derived.values()], made))
    assert sorted(found) == ["DataClasses", "SequenceNumber", "ServiceName", "UserId"]
