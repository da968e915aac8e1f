# SPDX-License-Identifier: Apache-2.0
"""The writers' side of the format: one pass makes line and hash, and every reader comes to the same hash."""

from __future__ import annotations

import hashlib
import json
import string
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from opentelemetry.instrumentation.mcp_audit.integrity.canonical import canonical_form, in_form, sha256_hex
from opentelemetry.instrumentation.mcp_audit.integrity.parse import parse_line
from opentelemetry.instrumentation.mcp_audit.record.encode import attribute, encode, envelope, seal
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord

STREAM = "6f1d1c1e-0000-4000-8000-000000000001"
PREVIOUS = "ab" * 32
ENVELOPE = envelope({"mcp_audit.stream.id": STREAM, "service.name": "svc"}, "scope", "1.0")

INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUE = st.one_of(TEXT, st.booleans(), INT64, st.lists(TEXT, min_size=1, max_size=4))
KEY = st.one_of(
    st.text(string.ascii_letters + string.digits + '._-/"\\ ~', min_size=1, max_size=12),
    st.sampled_from(["audit.sequence", "audit.sequencf", "audit.sequenc.", "zz", "a"]),
).filter(lambda key: in_form(key) and not key.startswith("audit.sequence."))
RECORD = st.builds(
    AuditRecord,
    event_name=TEXT,
    time=st.integers(1, 2**63 - 1),
    observed=st.integers(1, 2**63 - 1),
    attributes=st.dictionaries(KEY, VALUE, max_size=8),
    body=st.one_of(st.none(), TEXT.filter(bool)),
    trace_id=st.one_of(st.just(""), st.integers(1, 2**128 - 1).map(lambda n: f"{n:032x}")),
    span_id=st.one_of(st.just(""), st.integers(1, 2**64 - 1).map(lambda n: f"{n:016x}")),
)


@given(record=RECORD, number=st.integers(1, 2**63 - 1), previous=st.sampled_from([None, PREVIOUS]), end=st.booleans())
def test_every_reader_comes_to_the_writers_hash(
    record: AuditRecord, number: int, previous: str | None, end: bool
) -> None:
    sealed = seal(encode(record), STREAM, number, previous, end)
    line = ENVELOPE.line(sealed.text)
    (stored,) = parse_line(line.rstrip(b"\n"))
    assert stored.faults == ()
    expected: dict[str, Any] = {
        **record.attributes,
        "audit.sequence.number": number,
        "audit.sequence.stream_id": STREAM,
        "mcp_audit.record.hash": sealed.hash,
        "audit.integrity.canonicalization": "otlp-json-jcs",
    }
    if previous is not None:
        expected["audit.sequence.previous_hash"] = previous
    if end:
        expected["audit.sequence.end"] = True
    assert stored.attributes == expected
    assert {key: type(value) for key, value in stored.attributes.items()} == {k: type(v) for k, v in expected.items()}
    assert (stored.event_name, stored.time, stored.observed) == (record.event_name, record.time, record.observed)
    assert (stored.trace_id, stored.span_id, stored.body) == (record.trace_id, record.span_id, record.body)
    form = canonical_form(stored.attributes.items(), stored.event_name, stored.time, stored.trace_id, stored.span_id)
    assert sha256_hex(form) == sealed.hash
    # The library sees what stands on the line, not our typed values.
    members = json.loads(sealed.text)
    members["attributes"] = members["attributes"][:-2]
    members.pop("body", None)
    del members["observedTimeUnixNano"]
    assert hashlib.sha256(rfc8785.dumps(members)).hexdigest() == sealed.hash


@given(record=RECORD, previous=st.sampled_from([None, PREVIOUS]), end=st.booleans())
def test_members_and_attributes_stand_in_the_formats_order(
    record: AuditRecord, previous: str | None, end: bool
) -> None:
    found = json.loads(seal(encode(record), STREAM, 7, previous, end).text)
    order = ["attributes", "body", "eventName", "observedTimeUnixNano", "spanId", "timeUnixNano", "traceId"]
    absent = {
        name
        for name, value in (("body", record.body), ("spanId", record.span_id), ("traceId", record.trace_id))
        if not value
    }
    assert list(found) == [name for name in order if name not in absent]
    keys = [item["key"] for item in found["attributes"]]
    assert keys[-2:] == ["mcp_audit.record.hash", "audit.integrity.canonicalization"]
    assert keys[:-2] == sorted(keys[:-2])


@given(record=RECORD)
def test_the_line_is_utf_8_json_without_spaces_or_line_ends(record: AuditRecord) -> None:
    line = ENVELOPE.line(seal(encode(record), STREAM, 1, None).text)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    tree = json.loads(line)
    assert json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" == line
    assert line.startswith(ENVELOPE.head.encode())


def test_a_line_byte_for_byte() -> None:
    record = AuditRecord(
        "mcp_audit.tool_call",
        1764000000000000001,
        1764000000000001234,
        {"gen_ai.tool.name": 'é\u2028\U0001f600\x00\x7f"\\/<&>\t', "b": False, "a": ["x", ""], "n": -5, "user.id": ""},
        '{"salt":"00"}',
        "0af7651916cd43dd8448eb211c80319c",
        "b7ad6b7169203331",
    )
    sealed = seal(encode(record), STREAM, 2, PREVIOUS)
    assert sealed.text == (
        '{"attributes":[{"key":"a","value":{"arrayValue":{"values":[{"stringValue":"x"},{"stringValue":""}]}}},'
        '{"key":"audit.sequence.number","value":{"intValue":"2"}},'
        f'{{"key":"audit.sequence.previous_hash","value":{{"stringValue":"{PREVIOUS}"}}}},'
        f'{{"key":"audit.sequence.stream_id","value":{{"stringValue":"{STREAM}"}}}},'
        '{"key":"b","value":{"boolValue":false}},'
        '{"key":"gen_ai.tool.name","value":{"stringValue":"é\u2028\U0001f600\\u0000\x7f\\"\\\\/<&>\\t"}},'
        '{"key":"n","value":{"intValue":"-5"}},{"key":"user.id","value":{"stringValue":""}},'
        f'{{"key":"mcp_audit.record.hash","value":{{"stringValue":"{sealed.hash}"}}}},'
        '{"key":"audit.integrity.canonicalization","value":{"stringValue":"otlp-json-jcs"}}],'
        '"body":{"stringValue":"{\\"salt\\":\\"00\\"}"},"eventName":"mcp_audit.tool_call",'
        '"observedTimeUnixNano":"1764000000000001234","spanId":"b7ad6b7169203331",'
        '"timeUnixNano":"1764000000000000001","traceId":"0af7651916cd43dd8448eb211c80319c"}'
    )
    assert ENVELOPE.line(sealed.text).decode() == (
        '{"resourceLogs":[{"resource":{"attributes":['
        f'{{"key":"mcp_audit.stream.id","value":{{"stringValue":"{STREAM}"}}}},'
        '{"key":"service.name","value":{"stringValue":"svc"}}]},"scopeLogs":[{"scope":{"name":"scope","version":"1.0"},'
        f'"logRecords":[{sealed.text}]}}]}}]}}\n'
    )


def test_body_and_observed_time_are_not_hashed_everything_else_is() -> None:
    def hashed(**changed: Any) -> str:
        plain: dict[str, Any] = {
            "event_name": "e",
            "time": 1,
            "observed": 2,
            "attributes": {"a": "b"},
            "body": "c",
            "trace_id": "1" * 32,
            "span_id": "1" * 16,
        }
        return seal(encode(AuditRecord(**{**plain, **changed})), STREAM, 1, None).hash

    assert hashed() == hashed(body=None) == hashed(observed=3)
    others = [
        hashed(event_name="f"),
        hashed(time=2),
        hashed(attributes={"a": "c"}),
        hashed(attributes={"a": "b", "c": ""}),
        hashed(trace_id=""),
        hashed(span_id="2" * 16),
    ]
    assert len({hashed(), *others}) == 7
    encoded = encode(AuditRecord("e", 1, 2, {}))
    places = [
        seal(encoded, STREAM, 1, None),
        seal(encoded, STREAM, 2, None),
        seal(encoded, STREAM, 1, PREVIOUS),
        seal(encoded, STREAM, 1, None, end=True),
        seal(encoded, "other", 1, None),
    ]
    assert len({place.hash for place in places}) == 5


def test_true_is_no_integer() -> None:
    assert attribute("a", True) == '{"key":"a","value":{"boolValue":true}}'
    assert attribute("a", 1) == '{"key":"a","value":{"intValue":"1"}}'
    assert attribute("a", 2**63 - 1) == '{"key":"a","value":{"intValue":"9223372036854775807"}}'


@pytest.mark.parametrize("value", [1.5, None, {"a": 1}, b"x", ("a",), [1]])
def test_what_no_attribute_can_hold_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        attribute("a", value)
