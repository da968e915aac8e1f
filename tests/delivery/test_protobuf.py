# SPDX-License-Identifier: Apache-2.0
"""Our encoder against the official classes: whatever OTLP JSON holds, the same message; and what answers say."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToJson
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from opentelemetry.instrumentation.mcp_audit.delivery.otlp import Run, head_of
from opentelemetry.instrumentation.mcp_audit.delivery.protobuf import NOT_OTLP, encode, rejections

TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=300)
U64 = st.integers(0, 2**64 - 1)
VALUES: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.one_of(
        TEXT.map(lambda text: {"stringValue": text}),
        st.booleans().map(lambda value: {"boolValue": value}),
        st.integers(-(2**63), 2**63 - 1).map(lambda value: {"intValue": str(value)}),
        st.floats(allow_nan=False, allow_infinity=False).map(lambda value: {"doubleValue": value}),
        st.binary(max_size=50).map(lambda value: {"bytesValue": base64.b64encode(value).decode()}),
        st.just({}),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda values: {"arrayValue": {"values": values}}),
        st.lists(st.fixed_dictionaries({"key": TEXT, "value": inner}), max_size=3).map(
            lambda values: {"kvlistValue": {"values": values}}
        ),
    ),
    max_leaves=8,
)
ATTRIBUTES = st.lists(st.fixed_dictionaries({"key": TEXT, "value": VALUES}), max_size=4)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "timeUnixNano": U64.map(str),
        "observedTimeUnixNano": U64.map(str),
        "severityNumber": st.integers(0, 24),
        "severityText": TEXT,
        "eventName": TEXT,
        "body": VALUES,
        "attributes": ATTRIBUTES,
        "droppedAttributesCount": st.integers(0, 2**32 - 1),
        "flags": st.integers(0, 2**32 - 1),
        "traceId": st.binary(min_size=16, max_size=16).map(bytes.hex),
        "spanId": st.binary(min_size=8, max_size=8).map(bytes.hex),
    },
)
SEGMENTS = st.fixed_dictionaries(
    {
        "resource": st.fixed_dictionaries({}, optional={"attributes": ATTRIBUTES}),
        "scope": st.fixed_dictionaries({}, optional={"name": TEXT, "version": TEXT, "attributes": ATTRIBUTES}),
        "records": st.lists(RECORDS, min_size=1, max_size=4),
    }
)


def run_of(segment: dict[str, Any]) -> Run:
    lines = [
        json.dumps(
            {
                "resourceLogs": [
                    {
                        "resource": segment["resource"],
                        "scopeLogs": [{"scope": segment["scope"], "logRecords": [record]}],
                    }
                ]
            },
            separators=(",", ":"),
        ).encode()
        for record in segment["records"]
    ]
    head = head_of(lines[0])
    assert head is not None
    return Run("file", 0, b"\n".join(lines) + b"\n", head, len(lines))


def official(segments: list[dict[str, Any]]) -> ExportLogsServiceRequest:
    """By the official classes, field by field: their JSON parser reads ids as base64, which OTLP JSON does not."""
    request = ExportLogsServiceRequest()
    for segment in segments:
        resource_logs = request.resource_logs.add()
        resource_logs.resource.SetInParent()
        fill_attributes(resource_logs.resource.attributes, segment["resource"])
        scope_logs = resource_logs.scope_logs.add()
        scope_logs.scope.SetInParent()
        scope_logs.scope.name = segment["scope"].get("name", "")
        scope_logs.scope.version = segment["scope"].get("version", "")
        fill_attributes(scope_logs.scope.attributes, segment["scope"])
        for record_ in segment["records"]:
            record = scope_logs.log_records.add()
            record.time_unix_nano = int(record_.get("timeUnixNano", 0))
            record.observed_time_unix_nano = int(record_.get("observedTimeUnixNano", 0))
            record.severity_number = record_.get("severityNumber", 0)
            record.severity_text = record_.get("severityText", "")
            record.event_name = record_.get("eventName", "")
            record.dropped_attributes_count = record_.get("droppedAttributesCount", 0)
            record.flags = record_.get("flags", 0)
            record.trace_id = bytes.fromhex(record_.get("traceId", ""))
            record.span_id = bytes.fromhex(record_.get("spanId", ""))
            fill_attributes(record.attributes, record_)
            if "body" in record_:
                fill(record.body, record_["body"])
    return request


def fill_attributes(target: Any, tree: dict[str, Any]) -> None:
    for attribute in tree.get("attributes", ()):
        made = target.add()
        made.key = attribute["key"]
        fill(made.value, attribute["value"])


def fill(target: Any, tree: dict[str, Any]) -> None:
    target.SetInParent()
    for kind, value in tree.items():
        if kind == "stringValue":
            target.string_value = value
        elif kind == "boolValue":
            target.bool_value = value
        elif kind == "intValue":
            target.int_value = int(value)
        elif kind == "doubleValue":
            target.double_value = value
        elif kind == "bytesValue":
            target.bytes_value = base64.b64decode(value)
        elif kind == "arrayValue":
            target.array_value.SetInParent()
            for item in value["values"]:
                fill(target.array_value.values.add(), item)
        else:
            target.kvlist_value.SetInParent()
            for item in value["values"]:
                made = target.kvlist_value.values.add()
                made.key = item["key"]
                fill(made.value, item["value"])


@settings(max_examples=60, deadline=None)
@given(st.lists(SEGMENTS, min_size=1, max_size=3))
def test_the_same_message_as_the_official_classes(segments: list[dict[str, Any]]) -> None:
    ours = ExportLogsServiceRequest.FromString(encode([run_of(segment) for segment in segments]))
    theirs = official(segments)
    assert ours.SerializeToString(deterministic=True) == theirs.SerializeToString(deterministic=True), MessageToJson(
        ours
    )


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", -0.0, 1e308, 5e-324])
def test_doubles(number: Any) -> None:
    segment = {"resource": {}, "scope": {}, "records": [{"body": {"doubleValue": number}}]}
    message = ExportLogsServiceRequest.FromString(encode([run_of(segment)]))
    assert repr(message.resource_logs[0].scope_logs[0].log_records[0].body.double_value) == repr(float(number))


@given(st.integers(0, 2**63 - 1), TEXT)
def test_rejections_are_read(count: int, message: str) -> None:
    answer = ExportLogsServiceResponse()
    answer.partial_success.rejected_log_records = count
    answer.partial_success.error_message = message
    assert rejections(answer.SerializeToString()) == (count, message)


@pytest.mark.parametrize("answer", [b"", ExportLogsServiceResponse().SerializeToString(), b"\x0a\x00"])
def test_an_answer_that_rejects_nothing(answer: bytes) -> None:
    assert rejections(answer) == (0, "")


@given(st.binary(max_size=60))
def test_any_bytes_are_an_answer_or_none(answer: bytes) -> None:
    try:
        count, message = rejections(answer)
    except ValueError:
        return
    assert count >= 0 and isinstance(message, str)


@pytest.mark.parametrize("value", [{"stringValue": 1}, {"strange": 1}, {"intValue": "x"}, {"bytesValue": "?"}, 7])
def test_what_is_no_otlp_is_said(value: Any) -> None:
    segment = {"resource": {}, "scope": {}, "records": [{"attributes": [{"key": "k", "value": value}]}]}
    with pytest.raises(NOT_OTLP):
        encode([run_of(segment)])
