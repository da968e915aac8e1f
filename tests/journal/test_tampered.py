# SPDX-License-Identifier: Apache-2.0
"""Files that somebody deletes or cuts under a live journal: noticed, counted, and replaced."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from journals import journal, kinds, read, record, segments, until

from opentelemetry.instrumentation.mcp_audit.journal.marker_contents import read_marker


def test_a_segment_deleted_while_open_is_noticed_counted_and_replaced(tmp_path: Path) -> None:
    said: list[str] = []
    trail = journal(tmp_path, said.append, fsync_interval=0.01)
    first = trail.append(record("one"))
    assert trail.path is not None
    deleted = trail.path
    deleted.unlink()
    trail.append(record("two"))
    until(lambda: trail.path is not None and trail.path != deleted and not trail.failing)
    trail.append(record("three"))
    trail.close()
    (path,) = segments(tmp_path)
    found = read(path)
    assert kinds(found) == ["opened", "gap 3", "three", "closed"], "its first record and two calls are gone"
    assert "was deleted" in found[1]["facts"]["mcp_audit.gap.reason"]
    assert found[0]["facts"]["mcp_audit.stream.previous_id"] == first.stream_id
    assert len(said) == 2 and deleted.name in said[0]
    assert trail.counters.lost == 3


def test_the_whole_directory_deleted_is_made_again(tmp_path: Path) -> None:
    place = tmp_path / "journal"
    trail = journal(place, fsync_interval=0.01)
    trail.append(record("one"))
    shutil.rmtree(place)
    trail.append(record("two"))
    until(lambda: trail.counters.lost == 3)
    trail.append(record("three"))
    trail.close()
    (path,) = segments(place)
    assert kinds(read(path)) == ["opened", "gap 3", "three", "closed"]


@pytest.mark.parametrize("what", ["close", "rotation"])
def test_a_segment_deleted_just_before_its_end_is_counted(tmp_path: Path, what: str) -> None:
    said: list[str] = []
    trail = journal(tmp_path, said.append, fsync_interval=60, segment_bytes=8192)
    trail.append(record("one"))
    assert trail.path is not None
    deleted = trail.path
    deleted.unlink()
    trail.append(record("two", size=9000 if what == "rotation" else 10))
    if what == "rotation":
        until(lambda: trail.counters.lost == 3)
        trail.append(record("three"))
    trail.close()
    (path,) = segments(tmp_path)
    found = read(path)
    assert kinds(found) == ["opened", "gap 3", *(["three"] if what == "rotation" else []), "closed"]
    assert found[1]["facts"]["mcp_audit.gap.reason"] == (
        f"{deleted.name} was deleted with its 3 records while it was being written"
    )
    assert trail.counters.lost == 3 and len(said) == 2 and deleted.name in said[0]


def test_a_segment_cut_while_open_is_left_and_what_was_cut_off_counted(tmp_path: Path) -> None:
    said: list[str] = []
    trail = journal(tmp_path, said.append, fsync_interval=60)
    trail.append(record("one"))
    cut = trail.path
    assert cut is not None
    size = cut.stat().st_size
    trail.append(record("two"))
    trail.append(record("three"))
    os.truncate(cut, size)
    assert trail._upkeep.tick() is False, "noticed, the next segment opened, and the gap told there"
    trail.append(record("four"))
    trail.close()
    assert kinds(read(cut)) == ["opened", "one"]
    found = read(segments(tmp_path)[1])
    assert kinds(found) == ["opened", "gap 2", "four", "closed"]
    assert found[1]["facts"]["mcp_audit.gap.reason"] == (
        f"{cut.name} was cut to {size} bytes with its 4 records while it was being written"
    )
    assert [entry.kind for entry in trail._ledger.backwards() if entry.file == cut.name] == ["opened"]


def test_a_marker_deleted_while_calls_are_in_flight_is_made_again(tmp_path: Path) -> None:
    said: list[str] = []
    trail = journal(tmp_path, said.append, fsync_interval=0.01)
    trail.open()
    in_flight = record("one")
    mark = trail.begin(in_flight.event_name, in_flight.time, dict(in_flight.attributes), "", "")
    (marker,) = tmp_path.glob("*.calls")
    marker.unlink()
    trail.append(record("two"))
    until(marker.exists)
    until(lambda: bool(said))
    (slot,) = read_marker(marker).calls
    assert slot.call.attributes["audit.record.id"] == in_flight.attributes["audit.record.id"]
    assert said == [f"{marker.name} was deleted while calls were in flight; it is made again"]
    trail.append(in_flight, mark)
    assert read_marker(marker).calls == []
    trail.close()
    assert not marker.exists()
