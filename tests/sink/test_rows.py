# SPDX-License-Identifier: Apache-2.0
"""A record as a row: the seed's columns by their names, nothing that a database refuses."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from otlp_requests import edited, lines

from opentelemetry.instrumentation.mcp_audit.integrity.values import NotARecord
from opentelemetry.instrumentation.mcp_audit.sink.received import Received, decode
from opentelemetry.instrumentation.mcp_audit.sink.rows import Row, as_json, moment, row_of, text
from opentelemetry.instrumentation.mcp_audit.sink.schema import COLUMNS


def row(line: str) -> Row:
    (item,) = decode(line.encode(), "json")
    assert isinstance(item, Received)
    return row_of(item)


def test_a_tool_call(tmp_path: Path) -> None:
    (line,) = lines(tmp_path, 1, size=3)
    made = row(line)
    assert {*made, "received_at"} == set(COLUMNS)
    tree = json.loads(line)["resourceLogs"][0]
    facts = {item["key"]: next(iter(item["value"].values())) for item in _record(tree)["attributes"]}
    expected = {
        "record_id": facts["audit.record.id"],
        "event_name": "mcp_audit.tool_call",
        "tool": "tool-0",
        "user_id": "ada",
        "params": '"xxx"',
        "request_id": facts["audit.record.id"],
        "client_ip": None,
        "tenant_id": None,
        "outcome": "success",
        "outcome_detail": "ok",
        "duration_us": 0,
        "service_name": "svc",
        "stream_id": facts["audit.sequence.stream_id"],
        "sequence_number": 2,
        "record_hash": facts["mcp_audit.record.hash"],
        "line": line,
    }
    assert {name: made[name] for name in expected} == expected
    nanoseconds = int(_record(tree)["timeUnixNano"])
    assert made["timestamp"] == datetime.fromtimestamp(nanoseconds // 1000 / 1e6, timezone.utc)
    whole = json.loads(made["record"])
    assert whole["body"] == {"arguments": "xxx", "salt": "00" * 16}
    assert whole["attributes"]["audit.record.id"] == facts["audit.record.id"]
    assert whole["attributes"]["audit.sequence.number"] == 2


def _record(group: dict[str, Any]) -> dict[str, Any]:
    return group["scopeLogs"][0]["logRecords"][0]  # type: ignore[no-any-return]


def test_values_that_a_column_cannot_take(tmp_path: Path) -> None:
    (line,) = lines(tmp_path, 1)
    made = row(edited(line, gen_ai_tool_name="a\0b'; DROP TABLE audit_log; --" + "x" * 300))
    assert made["tool"] == ("a�b'; DROP TABLE audit_log; --" + "x" * 300)[:255]
    assert "\0" not in made["record"] and "\\u0000" not in made["record"]


@pytest.mark.parametrize("record_id", ["", "1", "not-a-uuid", "é" * 36])
def test_a_record_that_cannot_be_found_again(tmp_path: Path, record_id: str) -> None:
    (line,) = lines(tmp_path, 1)
    with pytest.raises(NotARecord, match="no UUID"):
        row(edited(line, audit_record_id=record_id))


def test_moments() -> None:
    assert moment(1_764_000_000_123_456_789) == datetime(2025, 11, 24, 16, 0, 0, 123456, tzinfo=timezone.utc)
    assert moment(0) == datetime(1970, 1, 1, tzinfo=timezone.utc)
    assert moment(2**64 - 1) == datetime(2554, 7, 21, 23, 34, 33, 709551, tzinfo=timezone.utc)


def test_texts() -> None:
    assert text("a\0b", 2) == "a�"
    assert [text(value, 9) for value in (None, 3, True, ["a"])] == [None] * 4


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner)))
def test_json_is_what_it_was_but_for_nul(value: Any) -> None:
    made = as_json(value)
    if value is None:
        assert made is None
        return
    assert made is not None and "\\u0000" not in made.replace("\\\\", "")
    if "\0" not in json.dumps(value, ensure_ascii=False) and "\\u0000" not in json.dumps(value):
        assert json.loads(made) == value
