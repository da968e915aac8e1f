# SPDX-License-Identifier: Apache-2.0
"""Records as batches to be sent once more: each in one, whatever it looked like, within the bounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from journals import journal, record

from opentelemetry.instrumentation.mcp_audit.delivery.again import batches
from opentelemetry.instrumentation.mcp_audit.delivery.otlp import body, size


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The records of two streams."""
    made: list[bytes] = []
    for _ in range(2):
        trail = journal(tmp_path_factory.mktemp("journal"), fsync="never", adopts=False)
        made += [trail.append(record(f"tool-{number}", 20)).line.rstrip(b"\n") for number in range(10)]
        trail.close()
    return made


def records(request: bytes) -> list[Any]:
    return [
        (group["resource"], scoped["scope"], one)
        for group in json.loads(request)["resourceLogs"]
        for scoped in group["scopeLogs"]
        for one in scoped["logRecords"]
    ]


@given(max_bytes=st.integers(1, 40_000), max_records=st.integers(1, 30), reordered=st.booleans())
def test_every_record_in_its_order(lines: list[bytes], max_bytes: int, max_records: int, reordered: bool) -> None:
    given_lines = [_reordered(line) for line in lines] if reordered else lines
    made = list(batches((("somewhere", line) for line in given_lines), max_bytes, max_records))
    assert [one for batch in made for one in records(body(batch))] == [one for line in lines for one in records(line)]
    assert all(size(batch)[0] <= max_records for batch in made)
    assert all(size(batch)[0] == 1 or size(batch)[1] <= max_bytes + size(batch)[0] for batch in made)


def _reordered(line: bytes) -> bytes:
    """As a carrier may write it: other orders, white space, a schema's address."""
    (group,) = json.loads(line)["resourceLogs"]
    (scoped,) = group["scopeLogs"]
    (one,) = scoped["logRecords"]
    scopes = [{"logRecords": [dict(reversed(one.items()))], "scope": scoped["scope"], "schemaUrl": ""}]
    return json.dumps({"resourceLogs": [{"scopeLogs": scopes, "resource": group["resource"]}]}).encode()


def test_nothing_is_no_batch() -> None:
    assert list(batches([])) == []


def test_streams_stay_apart(lines: list[bytes], tmp_path: Path) -> None:
    (batch,) = batches((("somewhere", line) for line in lines), 10**9, 10**9)
    assert [run.records for run in batch] == [10, 10]
