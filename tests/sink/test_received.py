# SPDX-License-Identifier: Apache-2.0
"""What a body holds: every good record exactly as it came, whatever stands beside it; nothing crashes for any bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from otlp_requests import joined, lines, protobuf

from opentelemetry.instrumentation.mcp_audit.integrity.parse import parse_line
from opentelemetry.instrumentation.mcp_audit.sink import of_json
from opentelemetry.instrumentation.mcp_audit.sink.received import (
    MAX_ATTRIBUTES,
    Batch,
    Encoding,
    Received,
    Rejected,
    Undecodable,
    decode,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return lines(tmp_path_factory.mktemp("journal"), 5)


def good_lines(body: bytes, encoding: Encoding) -> list[str]:
    items = list(decode(body, encoding))
    assert all(isinstance(item, Received) for item in items)
    return [item.line for item in items]


def test_json_comes_out_as_the_journal_wrote_it(made: list[str]) -> None:
    assert good_lines(joined(made), "json") == made


def test_a_large_body_gives_the_same(made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_json, "_LARGE_BYTES", 0)
    assert good_lines(joined(made), "json") == made


def test_protobuf_gives_the_same_lines(made: list[str]) -> None:
    assert good_lines(protobuf(joined(made)), "protobuf") == made


def test_the_typed_values_are_those_that_a_reader_of_the_line_gets(made: list[str]) -> None:
    for item in decode(joined(made), "json"):
        assert isinstance(item, Received)
        (again,) = parse_line(item.line.encode())
        for name in ("event_name", "time", "observed", "attributes", "body", "resource", "scope", "record_id"):
            assert getattr(item.record, name) == getattr(again, name)


def poison(line: str) -> dict[str, Any]:
    return json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (7, "the record is no JSON object"),
        ({"timeUnixNano": "1"}, "a log record without attributes"),
        ({"attributes": {}, "timeUnixNano": "1"}, "attributes are no list"),
        ({"attributes": [], "timeUnixNano": "1"}, "no audit.record.id"),
        ({"attributes": [], "eventName": 3, "timeUnixNano": "1"}, "eventName is no string"),
        (
            {"attributes": [{"key": "a", "value": {}}] * (MAX_ATTRIBUTES + 1), "timeUnixNano": "1"},
            f"{MAX_ATTRIBUTES + 1} attributes, at most {MAX_ATTRIBUTES} are taken",
        ),
    ],
)
def test_a_poison_record_is_set_apart_and_its_neighbours_are_kept(
    made: list[str], bad: Any, reason: str, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr(of_json, "_LARGE_BYTES", 0)
    tree = json.loads(joined(made))
    tree["resourceLogs"][0]["scopeLogs"][0]["logRecords"].insert(2, bad)
    items = list(decode(json.dumps(tree).encode(), "json"))
    assert [item.line for item in items if isinstance(item, Received)] == made
    (rejected,) = [item for item in items if isinstance(item, Rejected)]
    assert rejected.reason == reason


def test_groups_that_are_none_cost_nothing_but_themselves(made: list[str]) -> None:
    tree = json.loads(joined(made))
    tree["resourceLogs"][:0] = [3, {"scopeLogs": 1}, {"scopeLogs": [{"logRecords": 1}]}]
    tree["resourceLogs"].append({"resource": 5, "scopeLogs": [{"logRecords": [poison(made[0])]}]})
    items = list(decode(json.dumps(tree).encode(), "json"))
    assert [item.line for item in items if isinstance(item, Received)] == made
    assert [item.reason for item in items if isinstance(item, Rejected)] == [
        "resourceLogs holds no list scopeLogs",
        "resourceLogs holds no list scopeLogs",
        "scopeLogs holds no list logRecords",
        "resource or scope: no JSON object",
    ]


@pytest.mark.parametrize(
    ("body", "encoding", "why"),
    [
        (b"", "json", "an empty line"),
        (b"[1]", "json", "JSON without a list resourceLogs"),
        (b"{" * 5000, "json", "not JSON"),
        (b"[" * 500_000, "json", ""),
        (b'{"resourceLogs":[],"resourceLogs":[]}', "json", 'JSON member "resourceLogs" is repeated'),
        (b'{"a":NaN}', "json", "not JSON"),
        (b"\xff\xfe", "json", "not UTF-8"),
        (b"\xff\xff\xff", "protobuf", "no protobuf of an export request"),
    ],
)
def test_what_is_no_request(body: bytes, encoding: Encoding, why: str) -> None:
    with pytest.raises(Undecodable, match=f"^{why}"):
        list(decode(body, encoding))


def test_nothing_in_a_request_is_nothing() -> None:
    assert list(decode(b"{}", "json")) == []
    assert list(decode(b"", "protobuf")) == []


def test_chunks(made: list[str]) -> None:
    chunks = list(Batch(joined(made), "json").chunks(2))
    assert [len(good) for good, _ in chunks] == [2, 2, 1]
    assert [item.line for good, _ in chunks for item in good] == made


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 3000), change=st.binary(max_size=4), encoding=st.sampled_from(["json", "protobuf"]))
def test_broken_bytes_never_crash(made: list[str], cut: int, change: bytes, encoding: Encoding) -> None:
    body = joined(made[:2])
    body = protobuf(body) if encoding == "protobuf" else body
    at = cut % len(body)
    for broken in (body[:at], body[:at] + change + body[at + len(change) :]):
        try:
            items = list(decode(broken, encoding))
        except Undecodable:
            continue
        assert all(isinstance(item, Received | Rejected) for item in items)


_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(
    tree=st.fixed_dictionaries(
        {},
        optional={
            "resourceLogs": st.lists(
                _VALUES
                | st.fixed_dictionaries(
                    {},
                    optional={
                        "resource": _VALUES,
                        "scopeLogs": st.lists(
                            _VALUES
                            | st.fixed_dictionaries({}, optional={"scope": _VALUES, "logRecords": st.lists(_VALUES)})
                        ),
                    },
                ),
                max_size=3,
            )
        },
    )
)
def test_wrong_types_anywhere_never_crash(tree: Any) -> None:
    body = json.dumps(tree, ensure_ascii=True).encode()
    try:
        items = list(decode(body, "json"))
    except Undecodable:
        return
    assert all(isinstance(item, Received | Rejected) for item in items)
