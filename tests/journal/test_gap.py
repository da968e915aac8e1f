# SPDX-License-Identifier: Apache-2.0
"""A journal that cannot write: calls go on, one sentence an episode, and a gap record that counts exactly."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journals import journal, kinds, read, record, segments, until

from opentelemetry.instrumentation.mcp_audit.integrity.verify import verify_paths
from opentelemetry.instrumentation.mcp_audit.journal import journal as journal_module
from opentelemetry.instrumentation.mcp_audit.journal import platform, torn
from opentelemetry.instrumentation.mcp_audit.journal.ticket import JournalError

_HELPERS = str(Path(__file__).parents[1] / "helpers")
_LOST = "AUDIT RECORDS ARE BEING LOST"
_AGAIN = "can be written again"


def _lose(trail: journal_module.Journal, times: int) -> None:
    for _ in range(times):
        with pytest.raises(JournalError):
            trail.append(record("lost"))


def test_a_directory_that_cannot_be_made_then_can(tmp_path: Path) -> None:
    said: list[str] = []
    place = tmp_path / "journal"
    place.write_text("a file where the directory should be")
    trail = journal(place, said.append, fsync_interval_seconds=60)
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


def test_two_episodes_are_two_sentences_and_two_gaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    trail = journal(tmp_path, said.append, fsync_interval_seconds=60)
    trail.append(record("one"))
    for times in (2, 3):
        with monkeypatch.context() as patch:
            patch.setattr("opentelemetry.instrumentation.mcp_audit.journal.segment.os.write", _no_space)
            _lose(trail, times)
        trail.append(record(f"after {times}"))
    trail.close()
    (path,) = segments(tmp_path)
    assert kinds(read(path)) == ["opened", "one", "gap 2", "after 2", "gap 3", "after 3", "closed"]
    assert [sentence.partition(":")[0] == _LOST for sentence in said] == [True, False, True, False]
    assert (trail.counters.lost, trail.counters.gaps) == (5, 2)


def test_a_disk_with_room_for_gap_records_only_is_one_episode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    trail = journal(tmp_path, said.append, fsync_interval_seconds=60)
    trail.append(record("one"))
    real = os.write

    def nearly_full(descriptor: int, data: bytes) -> int:
        return real(descriptor, data) if len(data) < 2500 else _no_space(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr("opentelemetry.instrumentation.mcp_audit.journal.segment.os.write", nearly_full)
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


def _no_space(descriptor: int, data: bytes) -> int:
    raise OSError(28, "No space left on device")


def test_without_calls_the_journals_thread_ends_the_gap(tmp_path: Path) -> None:
    said: list[str] = []
    place = tmp_path / "journal"
    place.write_text("")
    trail = journal(place, said.append, fsync_interval_seconds=0.01)
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
    trail = journal(place, said.append, fsync_interval_seconds=60)
    trail.open()
    assert trail.failing and trail.counters.lost == 0 and len(said) == 1
    place.unlink()
    trail.append(record("one"))
    assert not trail.failing
    trail.close()
    assert trail.counters.lost == 0


def test_a_short_write_is_cut_off_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trail = journal(tmp_path, fsync_interval_seconds=60)
    trail.append(record("one"))
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(
            "opentelemetry.instrumentation.mcp_audit.journal.segment.os.write",
            lambda descriptor, data: real(descriptor, data[:100]),
        )
        _lose(trail, 1)
    assert trail.path is not None
    assert kinds(read(trail.path)) == ["opened", "one"], "nothing torn is left behind"
    trail.append(record("two"))
    trail.close()
    (path,) = segments(tmp_path)
    assert kinds(read(path)) == ["opened", "one", "gap 1", "two", "closed"]


def test_a_short_write_that_cannot_be_cut_off_seals_the_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail = journal(tmp_path, fsync_interval_seconds=60)
    first = trail.append(record("one"))
    torn = trail.path
    assert torn is not None
    real = os.write

    def refuse(descriptor: int, size: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        module = "opentelemetry.instrumentation.mcp_audit.journal.segment.os"
        patch.setattr(f"{module}.write", lambda descriptor, data: real(descriptor, data[:100]))
        patch.setattr(f"{module}.ftruncate", refuse)
        _lose(trail, 1)
    trail.append(record("two"))
    trail.close()
    data = torn.read_bytes()
    assert data[data.rindex(b"\n") + 1 :] and len(data) - data.rindex(b"\n") - 1 == 100, (
        "left as it is, and never written"
    )
    (after,) = [path for path in tmp_path.glob("*.jsonl") if path != torn]
    found = read(after)
    assert kinds(found) == ["opened", "gap 1", "two", "closed"]
    assert found[0]["facts"]["mcp_audit.stream.previous_id"] == first.stream_id
    assert found[0]["facts"]["mcp_audit.stream.previous_hash"] == first.hash


def test_a_segment_that_never_got_its_first_record_is_no_predecessor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail = journal(tmp_path, fsync_interval_seconds=60)
    trail.append(record("one"))
    trail.close()
    (before,) = segments(tmp_path)
    last = read(before)[-1]["facts"]
    with monkeypatch.context() as patch:
        patch.setattr("opentelemetry.instrumentation.mcp_audit.journal.segment.os.write", _no_space)
        _lose(trail, 2)
    assert list(tmp_path.glob("*.jsonl")) == [before], "its file is not left behind"
    trail.append(record("two"))
    trail.close()
    opened = read(segments(tmp_path)[1])[0]["facts"]
    assert opened["mcp_audit.stream.previous_id"] == last["audit.sequence.stream_id"]
    assert opened["mcp_audit.stream.previous_hash"] == last["mcp_audit.record.hash"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.just(("append",)),
            st.tuples(st.just("short"), st.integers(0, 900), st.integers(1, 3)),
            st.tuples(st.just("stuck"), st.integers(1, 900)),
            st.just(("refused",)),
            st.just(("sync",)),
            st.just(("interrupt",)),
            st.just(("close",)),
            st.just(("tick",)),
        ),
        max_size=14,
    )
)
def test_whatever_happens_in_whatever_order_every_record_is_kept_or_counted(steps: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as outer:
        directory = Path(name)
        # What is synced is another test's; here it would only take time.
        outer.setattr(platform, "sync_data", lambda descriptor: None)
        trail = journal(directory, fsync="always", fsync_interval_seconds=60)
        kept: list[str] = []
        lost = 0
        for number, step in enumerate(steps):
            with pytest.MonkeyPatch.context() as patch:
                _break(patch, step)
                if step[0] in ("close", "tick"):
                    trail.close() if step[0] == "close" else trail._commit()
                    continue
                for turn in range(step[2] if step[0] == "short" else 1):
                    try:
                        trail.append(record(f"t{number}.{turn}"))
                        kept.append(f"t{number}.{turn}")
                    except JournalError:
                        lost += 1
                    except KeyboardInterrupt:
                        pass
        trail.append(record("last"))
        trail.close()
        assert trail.counters.lost == lost
        names = []
        for path in directory.glob("*.jsonl"):
            data = path.read_bytes()
            if not data.endswith(b"\n"):
                # "stuck": the short write could not be cut off; the next start sets it aside.
                list(torn.set_aside_torn_tails(directory))
            if path.stat().st_size:
                names += kinds(read(path))
        found = verify_paths([directory])
        assert (found.exit_code(), found.first_violation()) == (0, None), "no fault makes the verification cry wolf"
        gaps = [int(name.split()[1]) for name in names if name.startswith("gap")]
        assert sum(gaps) == lost
        assert sorted(name for name in names if name[0] == "t" or name == "last") == sorted([*kept, "last"])


def _break(patch: pytest.MonkeyPatch, step: tuple[Any, ...]) -> None:
    """Make the system do to the journal what ``step`` says."""
    module = "opentelemetry.instrumentation.mcp_audit.journal.segment.os"
    real = os.write

    def raised(error: BaseException) -> Any:
        def fail(*_: Any) -> Any:
            raise error

        return fail

    if step[0] in ("short", "stuck"):
        patch.setattr(f"{module}.write", lambda descriptor, data: real(descriptor, data[: step[1]]))
    if step[0] == "stuck":
        patch.setattr(f"{module}.ftruncate", raised(OSError(5, "Input/output error")))
    if step[0] == "refused":
        patch.setattr(f"{module}.write", _no_space)
    if step[0] == "sync":
        patch.setattr(platform, "sync_data", raised(OSError(5, "Input/output error")))
    if step[0] == "interrupt":

        def interrupted(descriptor: int, data: bytes) -> int:
            real(descriptor, data)
            raise KeyboardInterrupt

        patch.setattr(f"{module}.write", interrupted)


_LIMITED = """
import json, pathlib, resource, signal, sys
sys.path[:0] = [sys.argv[2]]
from journals import journal, record
from opentelemetry.instrumentation.mcp_audit.journal.ticket import JournalError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
said = []
trail = journal(pathlib.Path(sys.argv[1]), said.append, fsync_interval_seconds=60)
def add(name):
    try:
        trail.append(record(name, size=300))
    except JournalError:
        return 0
    return 1
kept = sum(add("before") for _ in range(5))
resource.setrlimit(resource.RLIMIT_FSIZE, (trail.path.stat().st_size + 500, resource.RLIM_INFINITY))
kept += sum(add("during") for _ in range(20))
size = trail.path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
kept += sum(add("after") for _ in range(5))
trail.close()
print(json.dumps({"kept": kept, "lost": trail.counters.lost, "said": said, "size": size}))
"""


def test_a_file_size_limit_cuts_a_write_short(tmp_path: Path) -> None:
    """The kernel itself writes 500 of the line's bytes and refuses the rest; afterwards the limit is lifted."""
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(tmp_path), _HELPERS], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["kept"], report["lost"]) == (10, 20)
    assert len(report["said"]) == 2
    (path,) = segments(tmp_path)
    assert kinds(read(path)) == ["opened", *["before"] * 5, "gap 20", *["after"] * 5, "closed"]


@pytest.fixture
def small_disk(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A file system of 256 KiB, where the machine lets us mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = shutil.which("mount") and os.name == "posix" and os.geteuid() == 0
    command = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", str(place)]
    if not mounted or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("no small file system can be mounted here; test_a_file_size_limit_cuts_a_write_short stands in")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_then_room_again(small_disk: Path) -> None:
    said: list[str] = []
    filler = small_disk / "filler"
    trail = journal(small_disk, said.append, fsync_interval_seconds=60)
    kept = lost = 0
    trail.append(record("one", size=2000))
    filler.write_bytes(b"\0" * 200 * 1024)
    for _ in range(60):
        try:
            trail.append(record("try", size=2000))
            kept += 1
        except JournalError:
            lost += 1
    assert kept > 0 and lost > 0 and trail.counters.lost == lost
    assert len(said) == 1 and ("No space left on device" in said[0] or "is the disk full?" in said[0])
    filler.unlink()
    trail.append(record("two", size=2000))
    trail.close()
    (path,) = segments(small_disk)
    assert kinds(read(path)) == ["opened", "one", *["try"] * kept, f"gap {lost}", "two", "closed"]
    assert len(said) == 2


def test_a_directory_remounted_read_only(small_disk: Path) -> None:
    said: list[str] = []
    trail = journal(small_disk, said.append, fsync_interval_seconds=60)
    trail.append(record("one"))
    trail.close()
    command = ["mount", "-o", "remount,{}", str(small_disk)]
    subprocess.run([part.format("ro") for part in command], check=True)
    _lose(trail, 4)
    subprocess.run([part.format("rw") for part in command], check=True)
    trail.append(record("two"))
    trail.close()
    assert kinds(read(segments(small_disk)[1])) == ["opened", "gap 4", "two", "closed"]
    assert len(said) == 2 and "Read-only file system" in said[0]


def test_a_segment_deleted_while_open_is_noticed_counted_and_replaced(tmp_path: Path) -> None:
    said: list[str] = []
    trail = journal(tmp_path, said.append, fsync_interval_seconds=0.01)
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
    trail = journal(place, fsync_interval_seconds=0.01)
    trail.append(record("one"))
    shutil.rmtree(place)
    trail.append(record("two"))
    until(lambda: trail.counters.lost == 3)
    trail.append(record("three"))
    trail.close()
    (path,) = segments(place)
    assert kinds(read(path)) == ["opened", "gap 3", "three", "closed"]


@pytest.mark.parametrize("fsync", ["interval", "always"])
def test_a_sync_that_fails_seals_the_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: str) -> None:
    """What the disk refused once cannot be trusted to follow later (the kernel forgets failed pages)."""
    said: list[str] = []
    trail = journal(tmp_path, said.append, fsync=fsync, fsync_interval_seconds=0.01)
    first = trail.append(record("one"))
    sealed = trail.path
    assert sealed is not None

    def refuse(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(platform, "sync_data", refuse)
        second = trail.append(record("two"))
        until(lambda: trail.failing)
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


def test_a_sync_that_fails_after_a_rotation_leaves_the_new_segment_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail = journal(tmp_path, fsync_interval_seconds=60)
    trail.append(record("one"))
    old = trail.path
    real = platform.sync_data
    calls: list[int] = []

    def rotated(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 1:
            return real(descriptor)
        trail._lock.hold(1, trail._end_segment)
        trail.append(record("two"))
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(platform, "sync_data", rotated)
        assert trail._commit() is True
    new = trail.path
    assert new is not None and old is not None and new != old
    trail.append(record("three"))
    assert trail.path == new
    trail.close()
    found = read(new)
    assert kinds(found) == ["opened", "two", "gap 0", "three", "closed"]
    reason = found[2]["facts"]["mcp_audit.gap.reason"]
    assert reason == f"fsync: [Errno 5] Input/output error: {old.name} may lack its numbers 2 to 2 on the disk"


@pytest.mark.parametrize("what", ["close", "rotation"])
def test_a_segment_deleted_just_before_its_end_is_counted(tmp_path: Path, what: str) -> None:
    said: list[str] = []
    trail = journal(tmp_path, said.append, fsync_interval_seconds=60, segment_bytes=8192)
    trail.append(record("one"))
    assert trail.path is not None
    deleted = trail.path
    deleted.unlink()
    trail.append(record("two", size=9000 if what == "rotation" else 10))
    if what == "rotation":
        assert trail.path is None and trail.failing
        trail.append(record("three"))
    trail.close()
    (path,) = segments(tmp_path)
    found = read(path)
    assert kinds(found) == ["opened", "gap 3", *(["three"] if what == "rotation" else []), "closed"]
    assert found[1]["facts"]["mcp_audit.gap.reason"] == (
        f"{deleted.name} was deleted with its 3 records while it was being written"
    )
    assert trail.counters.lost == 3 and len(said) == 2 and deleted.name in said[0]


@pytest.mark.parametrize("error", [MemoryError(), AttributeError("a defect"), RecursionError("deep")])
@pytest.mark.parametrize("where", ["journal.encode", "stream.seal"])
def test_any_exception_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, where: str
) -> None:
    said: list[str] = []
    trail = journal(tmp_path, said.append, fsync_interval_seconds=60)
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


def test_a_record_that_is_too_long_is_no_episode_but_a_failure_after_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    trail = journal(tmp_path, said.append, fsync_interval_seconds=60)
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
    with monkeypatch.context() as patch:
        patch.setattr("opentelemetry.instrumentation.mcp_audit.journal.segment.os.write", _no_space)
        _lose(trail, 1)
    assert trail.failing and said[2].startswith(_LOST)
    trail.append(record("three"))
    assert len(said) == 4 and _AGAIN in said[3]
    trail.close()
    assert kinds(read(segments(tmp_path)[0])) == ["opened", "one", *["gap 1"] * 2, "two", "gap 2", "three", "closed"]


def test_a_call_that_waited_in_vain_for_the_lock_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(journal_module, "_LOCK_SECONDS", 0.05)
    trail = journal(tmp_path, said.append, fsync_interval_seconds=60)
    trail.append(record("one"))
    entered, leave = threading.Event(), threading.Event()
    real = os.write

    def slow(descriptor: int, data: bytes) -> int:
        entered.set()
        assert leave.wait(30)
        return real(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr("opentelemetry.instrumentation.mcp_audit.journal.segment.os.write", slow)
        stuck = threading.Thread(target=trail.append, args=(record("slow"),))
        stuck.start()
        assert entered.wait(30)
        with pytest.raises(JournalError, match="busy"):
            trail.append(record("lost"))
        leave.set()
        stuck.join()
    # Nobody appends any more: closing must not forget it.
    trail.close()
    (path,) = segments(tmp_path)
    assert kinds(read(path)) == ["opened", "one", "slow", "gap 1", "closed"]
    assert trail.counters.lost == 1 and len(said) == 2
