# SPDX-License-Identifier: Apache-2.0
"""What was delivered, on the disk: its form, crashes in it, and what it keeps from being deleted."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from written_segments import ledger, segment

from opentelemetry.instrumentation.mcp_audit.journal.acknowledged import acknowledge, acknowledged_by_delivery
from opentelemetry.instrumentation.mcp_audit.journal.delivered import (
    DELIVERED,
    Delivered,
    NewerState,
    Place,
    is_delivered,
    read_delivered,
)
from opentelemetry.instrumentation.mcp_audit.journal.disk import REAL_DISK, RealDisk
from opentelemetry.instrumentation.mcp_audit.journal.prune import Pruner
from opentelemetry.instrumentation.mcp_audit.journal.reserve import Reserve

DAY = 86_400 * 10**9
NOW = time.time_ns()


def test_its_form(tmp_path: Path) -> None:
    state = Delivered(tmp_path, REAL_DISK)
    state.advance({"a.jsonl": Place(10, 0xABC)})
    state.advance({"a.jsonl": Place(20, 1)})
    state.close()
    lines = [json.loads(line) for line in (tmp_path / DELIVERED).read_bytes().splitlines()]
    assert lines == [
        {"version": 1},
        {"file": "a.jsonl", "offset": 10, "check": "00000abc"},
        {"file": "a.jsonl", "offset": 20, "check": "00000001"},
    ]
    assert read_delivered(tmp_path) == {"a.jsonl": Place(20, 1)}
    assert (tmp_path / DELIVERED).stat().st_mode & 0o777 == 0o600


def test_it_does_not_grow_for_ever(tmp_path: Path) -> None:
    class Quick(RealDisk):
        def sync(self, descriptor: int) -> None:
            """Not what is tested here."""

    state = Delivered(tmp_path, Quick())
    for number in range(10_000):
        state.advance({f"{number % 3}.jsonl": Place(number, 0)})
    state.close()
    assert len((tmp_path / DELIVERED).read_bytes().splitlines()) < 5000
    assert {place.offset for place in read_delivered(tmp_path).values()} == {9999, 9998, 9997}


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_end_loses_only_its_last_line(tmp_path: Path, cut: int) -> None:
    state = Delivered(tmp_path, REAL_DISK)
    state.advance({"a.jsonl": Place(10, 0)})
    state.advance({"b.jsonl": Place(10, 0)})
    state.close()
    path = tmp_path / DELIVERED
    path.write_bytes(path.read_bytes()[:-cut])
    assert set(read_delivered(tmp_path)) <= {"a.jsonl", "b.jsonl"}
    after = Delivered(tmp_path, REAL_DISK)
    after.advance({"c.jsonl": Place(1, 0)})
    after.close()
    assert "c.jsonl" in read_delivered(tmp_path)


def test_a_newer_state_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / DELIVERED).write_text('{"version":2}\n')
    with pytest.raises(NewerState):
        Delivered(tmp_path, REAL_DISK)


def test_of_what_nothing_is_known_nothing_was_delivered() -> None:
    places = {"a": Place(10, 0)}
    assert [is_delivered(places, "a", 10), is_delivered(places, "a", 11), is_delivered(places, "b", 0)] == [
        True,
        False,
        False,
    ]


def test_nothing_undelivered_is_deleted_whatever_the_clock_says(tmp_path: Path) -> None:
    """The endpoint was acknowledged up to now, and then the clock was set back: new segments look old."""
    whole, part, unknown = (segment(tmp_path, NOW - age * DAY, NOW - age * DAY + 10**9) for age in (9, 8, 7))
    state = Delivered(tmp_path, REAL_DISK)
    state.advance({whole.path.name: Place(whole.size, 0), part.path.name: Place(part.size - 1, 0)})
    state.close()
    acknowledge(tmp_path, REAL_DISK, NOW, by_delivery=True)
    assert acknowledged_by_delivery(tmp_path)
    one = Pruner(tmp_path, REAL_DISK, ledger(tmp_path, REAL_DISK), Reserve(tmp_path, REAL_DISK), 0, lambda said: None)
    assert one.prune(1 << 40, NOW) == whole.size
    assert [made.path.exists() for made in (whole, part, unknown)] == [False, True, True]
    # Said by a person, it holds for all of them.
    acknowledge(tmp_path, REAL_DISK, NOW + 1)
    assert one.prune(1 << 40, NOW + 1) == part.size + unknown.size
