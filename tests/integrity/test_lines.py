# SPDX-License-Identifier: Apache-2.0
"""Lines of a file: the fast way to parse them says what the plain way says, for any bytes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from trail_oracle import Trail, sample

from opentelemetry.instrumentation.mcp_audit.integrity.lines import LineParser
from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord, parse_line
from opentelemetry.instrumentation.mcp_audit.integrity.values import NotARecord

LINES = [line[:-1] for line in sample(3).lines()]


def outcome(parse: Any, raw: bytes) -> list[StoredRecord] | str:
    try:
        return [replace(record) for record in parse(raw)]
    except NotARecord as error:
        return str(error)


def same(*lines: bytes) -> None:
    parser = LineParser()
    for line in lines:
        assert outcome(parser.parse, line) == outcome(parse_line, line)


def test_a_segment() -> None:
    same(*LINES)


@given(st.sampled_from(LINES), st.binary(max_size=20), st.integers(0, 4000), st.integers(0, 20))
@settings(max_examples=300, deadline=None)
def test_any_damage_of_a_line(line: bytes, splice: bytes, at: int, cut: int) -> None:
    same(LINES[0], line[:at] + splice + line[at + cut :], LINES[1])


def test_other_arrangements_of_a_line() -> None:
    record = json.dumps(Trail().records[0], separators=(",", ":")).encode()
    head = b'{"resourceLogs":[{"resource":{},"scopeLogs":['
    one = head + b'{"scope":{"name":"a"},"logRecords":[' + record + b"]}]}]}"
    two = head + b'{"scope":{"name":"a"},"logRecords":[]},{"scope":{"name":"b"},"logRecords":[' + record + b"]}]}]}"
    last = head + b'{"logRecords":[' + record + b'],"scope":{"name":"c"}}]}]}'
    resource = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[' + record + b']}],"resource":{"attributes":[]}}]}'
    empty = head + b'{"scope":{"name":"a"},"logRecords":[]}]}]}'
    double = head + b'{"scope":{"name":"a"},"logRecords":[' + record + b"," + record + b"]}]}]}"
    for first in (one, two, last, resource, empty, double):
        for second in (one, two, last, resource, empty, double):
            same(first, second, one)
