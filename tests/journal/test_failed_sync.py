# SPDX-License-Identifier: Apache-2.0
"""A sync that fails: the segment is sealed, its numbers are named, and what follows goes into another."""

from __future__ import annotations

from pathlib import Path

import pytest
from faulty_disk import SEGMENT, FaultyDisk
from journals import journal, kinds, read, record, segments, until

from opentelemetry.instrumentation.mcp_audit.journal.segment import SyncFailed
from opentelemetry.instrumentation.mcp_audit.journal.ticket import NotDurable

_ERROR = OSError(5, "Input/output error")


@pytest.mark.parametrize("fsync", ["interval", "always"])
def test_a_sync_that_fails_seals_the_segment(tmp_path: Path, fsync: str) -> None:
    """What the disk refused once cannot be trusted to follow later (the kernel forgets failed pages)."""
    said: list[str] = []
    disk = FaultyDisk()
    trail = journal(tmp_path, said.append, fsync=fsync, fsync_interval=0.01, disk=disk)
    first = trail.append(record("one"))
    sealed = trail.path
    assert sealed is not None
    # Else the sync that fails may be that of this one, and the next goes into another segment.
    first.wait(5)

    # Once: the segment that follows, which the journal's thread may open at once to tell the gap, has a sound disk.
    with disk.raising(_ERROR, "sync", name=SEGMENT, times=1):
        second = trail.append(record("two"))
        until(lambda: bool(said))
    trail.append(record("three"))
    trail.close()
    assert kinds(read(sealed)) == ["opened", "one", "two"], "written all the same, and nothing after it"
    after = read(segments(tmp_path)[1])
    assert kinds(after) == ["opened", "gap 0", "three", "closed"]
    assert after[0]["facts"]["mcp_audit.stream.previous_id"] == first.stream_id
    assert after[0]["facts"]["mcp_audit.stream.previous_hash"] == second.hash
    assert "Input/output error" in said[0]
    reason = after[1]["facts"]["mcp_audit.gap.reason"]
    assert reason.startswith("fsync: ") and reason.endswith(" to 3 on the disk")
    with pytest.raises(NotDurable, match="Input/output error"):
        second.wait(1)
    (told,) = [entry for entry in trail._ledger.backwards() if entry.kind == "adopted"]
    assert (told.file, told.reason, told.count, told.head) == (sealed.name, "sealed", 3, second.hash)


def test_a_sync_that_fails_after_a_rotation_leaves_the_new_segment_alone(tmp_path: Path) -> None:
    disk = FaultyDisk()
    trail = journal(tmp_path, fsync_interval=60, disk=disk)
    trail.append(record("one"))
    old = trail.path
    assert old is not None

    def rotated() -> None:
        following = trail._preparer.prepare(1)
        trail._lock.hold(1, lambda: trail._keeper.switch(following))
        trail.append(record("two"))
        raise _ERROR

    with disk.calling(rotated, "sync", name=old.name):
        assert trail._upkeep.tick() is True
    new = trail.path
    assert new is not None and new != old
    trail.append(record("three"))
    assert trail.path == new
    trail.close()
    found = read(new)
    assert kinds(found) == ["opened", "two", "gap 0", "three", "closed"]
    reason = found[2]["facts"]["mcp_audit.gap.reason"]
    assert reason == f"fsync: [Errno 5] Input/output error: {old.name} may lack its numbers 2 to 3 on the disk"


def test_a_sync_that_failed_once_never_succeeds_later(tmp_path: Path) -> None:
    # fsync(2) reports a lost page once; the next call finds it clean and says nothing.
    faulty = FaultyDisk()
    trail = journal(tmp_path, fsync_interval=60, disk=faulty)
    trail.append(record("one"))
    writing = trail._keeper.current
    assert writing is not None
    with faulty.raising(_ERROR, "sync", name=SEGMENT), pytest.raises(SyncFailed):
        writing.segment.sync()
    with pytest.raises(SyncFailed):
        writing.segment.sync()
    assert writing.segment.synced == 1
    trail.close()
    (kind,) = [entry.kind for entry in trail._ledger.backwards() if entry.kind != "opened"][-1:]
    assert kind == "adopted", "given up, not closed well"
