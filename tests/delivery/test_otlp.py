# SPDX-License-Identifier: Apache-2.0
"""Joining by cutting and halving by lines: what goes in comes out, in order."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from opentelemetry.instrumentation.mcp_audit.delivery.otlp import Run, body, first_of, halves, head_of, size, uniform

RECORDS = st.lists(
    st.dictionaries(st.text(max_size=5), st.text(max_size=20) | st.just('"logRecords":[') | st.just("]}]}]}\n")),
    min_size=1,
    max_size=6,
)


def run(number: int, records: list[Any]) -> Run:
    lines = [
        json.dumps(
            {
                "resourceLogs": [
                    {
                        "resource": {"n": number, "trap": '"logRecords":[ ]}]}]}'},
                        "scopeLogs": [{"scope": {}, "logRecords": [record]}],
                    }
                ]
            },
            separators=(",", ":"),
        ).encode()
        for record in records
    ]
    head = head_of(lines[0])
    data = b"\n".join(lines) + b"\n"
    assert head is not None
    assert uniform(data, head) == len(records)
    return Run(f"{number}", 0, data, head, len(records))


def unjoined(request: bytes) -> list[tuple[int, list[Any]]]:
    tree = json.loads(request)
    assert list(tree) == ["resourceLogs"]
    return [(item["resource"]["n"], item["scopeLogs"][0]["logRecords"]) for item in tree["resourceLogs"]]


@given(st.lists(RECORDS, max_size=4))
def test_joined_is_what_was_cut(segments: list[list[Any]]) -> None:
    batch = [run(number, records) for number, records in enumerate(segments)]
    assert unjoined(body(batch)) == list(enumerate(segments))
    assert size(batch) == (sum(map(len, segments)), sum(len(part.data) for part in batch))


@given(st.lists(RECORDS, min_size=1, max_size=4))
def test_halves_are_the_whole(segments: list[list[Any]]) -> None:
    batch = [run(number, records) for number, records in enumerate(segments)]
    total = size(batch)[0]
    if total < 2:
        return
    left, right = halves(batch)
    assert (size(left)[0], size(right)[0]) == (total // 2, total - total // 2)
    flat = [(number, record) for part in (left, right) for number, found in unjoined(body(part)) for record in found]
    assert flat == [(number, record) for number, records in enumerate(segments) for record in records]
    for part in (*left, *right):
        whole = batch[int(part.file)].data
        assert whole[part.start : part.end] == part.data
    assert unjoined(body(first_of(batch))) == [(0, segments[0][:1])]


def test_lines_of_another_kind_are_not_joined() -> None:
    one, other = run(1, [{}]), run(2, [{}])
    assert uniform(one.data + other.data, one.head) == 0
    assert uniform(one.data + b"garbage\n" + one.data, one.head) == 0
    assert [head_of(line) for line in (b"", b"{}", b'{"resourceLogs":[]}', one.data)] == [None] * 4
