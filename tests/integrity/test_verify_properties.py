# SPDX-License-Identifier: Apache-2.0
"""Any trail that the oracle makes is valid; any change of its meaning is found; any bytes at all never raise."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from trail_oracle import BOOT, LEFT_OUT, Trail, sample

from opentelemetry.instrumentation.mcp_audit.integrity.lines import lines as split_lines
from opentelemetry.instrumentation.mcp_audit.integrity.lines import records
from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord
from opentelemetry.instrumentation.mcp_audit.integrity.report import StreamReport
from opentelemetry.instrumentation.mcp_audit.integrity.segment import check_segment

# What the writer may be handed: any text without half surrogate pairs.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)
extras = st.dictionaries(
    st.from_regex(r"x\.[a-z_.]{1,12}", fullmatch=True),
    texts | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.lists(texts, min_size=1, max_size=3),
    max_size=3,
)


def verified(data: bytes, boot: str | None = BOOT) -> StreamReport:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        return check_segment(records(file, Trail().name), Trail().name, boot)


@given(st.lists(st.tuples(texts.filter(bool), json_values, extras, st.integers(0, 10**12)), max_size=4), st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_trail_of_the_oracle_is_valid(calls: list[tuple[str, Any, dict[str, Any], int]], close: bool) -> None:
    trail = Trail()
    for tool, arguments, extra, duration in calls:
        trail.call(tool, arguments, duration_us=duration, **extra)
    if close:
        trail.close()
    report = verified(b"".join(trail.lines()))
    assert report.verdict == "valid"
    assert report.records == len(trail.records)
    assert report.last_hash == trail.head
    assert report.counted.get("note", 0) == (0 if close else 1)


WHOLE = b"".join(sample(2).lines())


def plain(name: str, value: Any) -> Any:
    if name in ("traceId", "spanId"):
        return value.lower()
    # Durations are whole microseconds: what an observed time has beyond that is covered by nothing.
    return value[:-3] if name == "observedTimeUnixNano" else value


def meaning(data: bytes) -> list[Any]:
    """What the bytes say, free of what the format allows to differ; raises ValueError when they are no such lines."""

    def members(items: list[tuple[str, Any]]) -> Any:
        return sorted(((name, plain(name, value)) for name, value in items), key=lambda item: item[0])

    return [json.loads(raw.decode(), object_pairs_hook=members) for raw in data.split(b"\n")[:-1]]


@given(st.integers(0, len(WHOLE) * 8 - 1))
@example(16808)  # the nanoseconds of an observed time
@settings(max_examples=300, deadline=None)
def test_any_flipped_bit_is_found(bit: int) -> None:
    changed = bytearray(WHOLE)
    changed[bit // 8] ^= 1 << bit % 8
    report = verified(bytes(changed))
    if report.verdict == "valid" and not report.counted.get("note"):
        # Nothing was found: then nothing may have changed but JSON's white space or the case of an id.
        assert meaning(bytes(changed)) == meaning(WHOLE)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_change_of_the_lines_is_found(data: st.DataObject) -> None:
    lines = sample(4).lines()
    order = data.draw(st.lists(st.integers(0, len(lines) - 1), min_size=1, max_size=8))
    report = verified(b"".join(lines[index] for index in order))
    prefix = order == list(range(len(order)))
    assert (report.verdict == "valid") == prefix  # a cut tail is what the keyless tier cannot see in one stream
    if prefix:
        assert (report.counted.get("note", 0) == 0) == (len(order) == len(lines))


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_changed_value_is_found(data: st.DataObject) -> None:
    trail = sample(2)
    record = data.draw(st.sampled_from(trail.records))
    item = data.draw(st.sampled_from([item for item in record["attributes"] if item["key"] not in LEFT_OUT]))
    ((kind, value),) = item["value"].items()
    if kind == "stringValue":
        item["value"][kind] = data.draw(texts.filter(lambda text: text != value))
    elif kind == "intValue":
        item["value"][kind] = str(
            data.draw(st.integers(-(2**63), 2**63 - 1).filter(lambda number: str(number) != value))
        )
    elif kind == "boolValue":
        item["value"][kind] = not value
    else:
        item["value"] = {"arrayValue": {"values": value["values"][1:] or [{"stringValue": "x"}]}}
    report = verified(b"".join(trail.lines()))
    assert report.verdict in ("violated", "unreadable")


@given(st.binary(max_size=2000))
@settings(max_examples=200, deadline=None)
def test_any_bytes_never_raise(data: bytes) -> None:
    report = verified(data)
    assert report.verdict in ("valid", "unreadable")
    assert report.records == 0


@given(st.binary(max_size=200), st.integers(0, len(WHOLE)), st.integers(0, 200))
@settings(max_examples=200, deadline=None)
def test_any_splice_never_raises(splice: bytes, at: int, cut: int) -> None:
    report = verified(WHOLE[:at] + splice + WHOLE[at + cut :])
    assert report.records <= len(sample(2).records)


@given(st.binary(max_size=3000).map(lambda data: data.replace(b"\r", b"\n")))
@settings(max_examples=100, deadline=None)
def test_lines_lose_no_byte(data: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        found = list(split_lines(file))
    assert b"".join((line.data or b"") + (b"\n" if line.ended else b"") for line in found) == data
    assert [line.offset for line in found] == [
        sum(line.length + 1 for line in found[:index]) for index in range(len(found))
    ]


def test_the_parser_keeps_types() -> None:
    trail = Trail()
    trail.call(**{"x.flag": True, "x.number": -5, "x.list": ["a", "b"], "user.roles": ["r"]})
    with tempfile.TemporaryFile() as file:
        file.write(b"".join(trail.lines()))
        file.seek(0)
        record = list(records(file, str(Path("x"))))[1]
    assert isinstance(record, StoredRecord)
    assert record.attributes["x.flag"] is True
    assert record.attributes["x.number"] == -5
    assert record.attributes["x.list"] == ["a", "b"]
    assert record.attributes["user.roles"] == ["r"]
    assert (record.line, record.number, record.faults) == (2, 2, ())


def test_what_did_not_last_was_observed_when_it_was() -> None:
    trail = sample(1)
    for record, verdict in ((trail.records[0], "violated"), (trail.records[1], "valid")):
        before = record["observedTimeUnixNano"]
        record["observedTimeUnixNano"] = str(int(before) + 100)
        assert verified(b"".join(trail.lines())).verdict == verdict
        record["observedTimeUnixNano"] = before
