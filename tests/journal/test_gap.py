# SPDX-License-Identifier: Apache-2.0
"""A journal that cannot write: calls go on, one sentence an episode, and a gap record that counts exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from faulty_disk import SEGMENT, FaultyDisk
from journals import journal, kinds, read, record, segments, until

from opentelemetry.instrumentation.mcp_audit.journal.journal import Journal
from opentelemetry.instrumentation.mcp_audit.journal.ticket import JournalError

_LOST = "AUDIT RECORDS ARE BEING LOST"
_AGAIN = "can be written again"
_FULL = OSError(28, "No space left on device")


def _lose(trail: Journal, times: int) -> None:
    for _ in range(times):
        with pytest.raises(JournalError):
            trail.append(record("lost"))


def test_a_directory_that_cannot_be_made_then_can(tmp_path: Path) -> None:
    said: list[str] = []
    place = tmp_path / "journal"
    place.write_text("a file where the directory should be")
    trail = journal(place, said.append, fsync_interval=60)
    _lose(trail, 7)
    assert trail.failing and trail.counters.lost == 7 and trail.last_error is not None
    assert len(said) == 1 and said[0].startswith(_LOST) and str(place) in said[0]
    place.unlink()
    trail.append(record("kept"))
    assert not trail.failing
    assert len(said) == 2 and _AGAIN in said[1] and "7 lost records" in said[1]
    trail.close()
    (path,) = segments(place)
    found = read(path)
    assert kinds(found) == ["opened", "gap 7", "kept", "closed"]
    gap = found[1]
    assert gap["eventName"] == "mcp_audit.gap"
    facts = gap["facts"]
    assert (facts["audit.actor.id"], facts["audit.actor.type"]) == ("system", "system")
    assert (facts["audit.action"], facts["audit.outcome"]) == ("UPDATE", "failure")
    assert facts["mcp_audit.gap.mode"] == "journaled"
    assert "File exists" in facts["mcp_audit.gap.reason"] or "Not a directory" in facts["mcp_audit.gap.reason"]
    assert int(facts["mcp_audit.gap.from"]) <= int(facts["mcp_audit.gap.to"]) <= int(gap["timeUnixNano"])
    assert len(said) == 2, "closing says nothing more"


def test_two_episodes_are_two_sentences_and_two_gaps(tmp_path: Path) -> None:
    said: list[str] = []
    disk = FaultyDisk()
    trail = journal(tmp_path, said.append, fsync_interval=60, disk=disk)
    trail.append(record("one"))
    for times in (2, 3):
        with disk.raising(_FULL, "write", name=SEGMENT):
            _lose(trail, times)
        trail.append(record(f"after {times}"))
    trail.close()
    (path,) = segments(tmp_path)
    assert kinds(read(path)) == ["opened", "one", "gap 2", "after 2", "gap 3", "after 3", "closed"]
    assert [sentence.partition(":")[0] == _LOST for sentence in said] == [True, False, True, False]
    assert (trail.counters.lost, trail.counters.gaps) == (5, 2)


def test_a_disk_with_room_for_gap_records_only_is_one_episode(tmp_path: Path) -> None:
    said: list[str] = []
    disk = FaultyDisk()
    trail = journal(tmp_path, said.append, fsync_interval=60, disk=disk)
    trail.append(record("one"))
    with disk.raising(_FULL, "write", name=SEGMENT, longer=2500):
        for _ in range(5):
            with pytest.raises(JournalError):
                trail.append(record("big", size=3000))
        assert len(said) == 1 and trail.failing
        trail.append(record("small"))
    trail.close()
    (path,) = segments(tmp_path)
    assert kinds(read(path)) == ["opened", "one", *["gap 1"] * 5, "small", "closed"]
    assert len(said) == 2 and "5 lost records" in said[1]
    assert (trail.counters.lost, trail.counters.gaps) == (5, 5)


def test_without_calls_the_journals_thread_ends_the_gap(tmp_path: Path) -> None:
    said: list[str] = []
    place = tmp_path / "journal"
    place.write_text("")
    trail = journal(place, said.append, fsync_interval=0.01)
    _lose(trail, 3)
    place.unlink()
    until(lambda: not trail.failing)
    assert trail.path is not None
    assert kinds(read(trail.path)) == ["opened", "gap 3"]
    assert len(said) == 2
    trail.close()


def test_opening_ahead_may_fail_without_losing_anything(tmp_path: Path) -> None:
    said: list[str] = []
    place = tmp_path / "journal"
    place.write_text("")
    trail = journal(place, said.append, fsync_interval=60)
    trail.open()
    assert trail.failing and trail.counters.lost == 0 and len(said) == 1
    place.unlink()
    trail.append(record("one"))
    assert not trail.failing
    trail.close()
    assert trail.counters.lost == 0


def test_a_segment_that_never_got_its_first_record_is_no_predecessor(tmp_path: Path) -> None:
    disk = FaultyDisk()
    trail = journal(tmp_path, fsync_interval=60, disk=disk)
    trail.append(record("one"))
    trail.close()
    (before,) = segments(tmp_path)
    last = read(before)[-1]["facts"]
    with disk.raising(_FULL, "write", name=SEGMENT):
        _lose(trail, 2)
    assert segments(tmp_path) == [before], "its file is not left behind"
    trail.append(record("two"))
    trail.close()
    opened = read(segments(tmp_path)[1])[0]["facts"]
    assert opened["mcp_audit.stream.previous_id"] == last["audit.sequence.stream_id"]
    assert opened["mcp_audit.stream.previous_hash"] == last["mcp_audit.record.hash"]


@pytest.mark.parametrize("error", [MemoryError(), AttributeError("a defect"), RecursionError("deep")])
@pytest.mark.parametrize("where", ["journal.encode", "stream.seal"])
def test_any_exception_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, where: str
) -> None:
    said: list[str] = []
    trail = journal(tmp_path, said.append, fsync_interval=60)
    trail.append(record("one"))

    def fail(*_: Any) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(f"opentelemetry.instrumentation.mcp_audit.journal.{where}", fail)
        with pytest.raises(JournalError, match=str(error) or "^MemoryError$"):
            trail.append(record("lost"))
    assert trail.failing and trail.counters.lost == 1 and said[0].startswith(_LOST)
    trail.append(record("two"))
    trail.close()
    assert kinds(read(segments(tmp_path)[0])) == ["opened", "one", "gap 1", "two", "closed"]


def test_a_record_that_is_too_long_is_no_episode_but_a_failure_after_it_is(tmp_path: Path) -> None:
    said: list[str] = []
    disk = FaultyDisk()
    trail = journal(tmp_path, said.append, fsync_interval=60, disk=disk)
    trail.append(record("one"))
    for _ in range(2):
        with pytest.raises(JournalError, match="over the format's 524288"):
            trail.append(record("big", size=600_000))
    assert len(said) == 1 and said[0].startswith("AN AUDIT RECORD IS LOST: ") and "until it can" not in said[0]
    assert not trail.failing and trail.counters.lost == 2
    trail.append(record("two"))
    assert len(said) == 1, "nothing had stopped, so nothing goes on again"
    with pytest.raises(JournalError):
        trail.append(record("big", size=600_000))
    with disk.raising(_FULL, "write", name=SEGMENT):
        _lose(trail, 1)
    assert trail.failing and said[2].startswith(_LOST)
    trail.append(record("three"))
    assert len(said) == 4 and _AGAIN in said[3]
    trail.close()
    assert kinds(read(segments(tmp_path)[0])) == ["opened", "one", *["gap 1"] * 2, "two", "gap 2", "three", "closed"]
