# SPDX-License-Identifier: Apache-2.0
"""What a journal writes when nothing goes wrong: one chain a segment, whoever appends, and how segments follow."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import rfc8785
from faulty_disk import SEGMENT, FaultyDisk
from journals import ORIGIN, journal, kinds, read, record, segments
from trail_oracle import wired

from opentelemetry.instrumentation.mcp_audit.integrity.verify import verify_paths
from opentelemetry.instrumentation.mcp_audit.journal import platform
from opentelemetry.instrumentation.mcp_audit.journal.origin import Origin
from opentelemetry.instrumentation.mcp_audit.journal.ticket import JournalError
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord


def test_a_ticket_says_where_the_record_stands(tmp_path: Path) -> None:
    trail = journal(tmp_path)
    first, second = trail.append(record("one")), trail.append(record("two"))
    trail.close()
    (path,) = segments(tmp_path)
    found = read(path)
    assert kinds(found) == ["opened", "one", "two", "closed"]
    assert (first.number, second.number) == (2, 3)
    assert first.stream_id == second.stream_id == found[0]["facts"]["audit.sequence.stream_id"]
    assert first.hash == found[1]["facts"]["mcp_audit.record.hash"] == second.previous_hash
    assert path.read_bytes().splitlines(keepends=True)[1:3] == [first.line, second.line]
    assert (trail.counters.records, trail.counters.lost, trail.counters.gaps, trail.counters.segments) == (2, 0, 0, 1)


def test_the_record_is_in_the_file_when_append_returns(tmp_path: Path) -> None:
    trail = journal(tmp_path, fsync="never")
    ticket = trail.append(record())
    assert trail.path is not None
    assert trail.path.read_bytes().endswith(ticket.line)
    trail.close()


def test_names_and_modes(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "er"
    trail = journal(directory)
    ticket = trail.append(record())
    trail.close()
    (path,) = segments(directory)
    stamp, pid, stream = path.stem.split("-", 2)
    assert (pid, stream) == (str(os.getpid()), ticket.stream_id)
    assert len(stamp) == 16 and stamp[8] == "T" and stamp.endswith("Z")
    assert path.stat().st_mode & 0o777 == 0o600
    assert directory.stat().st_mode & 0o777 == 0o700


def test_the_first_record_says_who_writes_and_under_what(tmp_path: Path) -> None:
    trail = journal(tmp_path)
    ticket = trail.append(record())
    trail.close()
    (path,) = segments(tmp_path)
    opened = read(path)[0]
    resource = {"mcp_audit.stream.id": ticket.stream_id, **ORIGIN.resource}
    form = rfc8785.dumps(
        {
            "resource": {"attributes": sorted(wired(resource), key=lambda item: item["key"])},
            "scope": {"name": ORIGIN.scope_name, "version": ORIGIN.scope_version},
        }
    )
    facts = opened["facts"]
    assert opened["eventName"] == "mcp_audit.lifecycle"
    assert facts["mcp_audit.resource.hash"] == hashlib.sha256(form).hexdigest()
    assert facts["mcp_audit.stream.file"] == path.name
    assert facts["mcp_audit.policy.hash"] == "0" * 64
    assert facts["mcp_audit.settings.hash"] == "1" * 64
    assert facts["mcp_audit.versions"] == ["python=3.11.0", "mcp=2.3.0"]
    assert facts["mcp_audit.process.pid"] == os.getpid()
    assert facts["mcp_audit.boot.id"] == platform.boot_id()
    assert facts["mcp_audit.process.start_time"] == platform.process_start()
    assert (facts["audit.action"], facts["audit.outcome"]) == ("START", "success")
    assert (facts["audit.actor.id"], facts["audit.actor.type"]) == ("system", "system")
    assert "mcp_audit.stream.previous_id" not in facts
    assert "audit.sequence.previous_hash" not in facts


def test_the_stream_id_comes_first_and_the_environment_cannot_forge_it(tmp_path: Path) -> None:
    origin = Origin({**ORIGIN.resource, "mcp_audit.stream.id": "forged"}, "scope", "1", "0" * 64, "1" * 64, ())
    trail = journal(tmp_path, origin=origin)
    ticket = trail.append(record())
    trail.close()
    start = f'{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"mcp_audit.stream.id","value":{{"stringValue":"{ticket.stream_id}"}}}},'
    assert ticket.line.decode().startswith(start)
    assert b"forged" not in ticket.line


def test_eight_threads_make_one_chain_without_a_gap(tmp_path: Path) -> None:
    trail = journal(tmp_path)
    tickets: list[list[int]] = [[] for _ in range(8)]

    def work(place: int) -> None:
        for turn in range(500):
            tickets[place].append(trail.append(record(f"t{place}.{turn}")).number)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trail.close()
    (path,) = segments(tmp_path)
    names = kinds(read(path))
    assert len(names) == 4002
    for place, numbers in enumerate(tickets):
        assert numbers == sorted(numbers)
        assert [names[number - 1] for number in numbers] == [f"t{place}.{turn}" for turn in range(500)]
    assert sorted(number for numbers in tickets for number in numbers) == list(range(2, 4002))
    assert trail.counters.records == 4000


def test_what_is_written_verifies_without_a_note(tmp_path: Path) -> None:
    trail = journal(tmp_path, segment_bytes=8192)
    for number in range(20):
        trail.append(record(f"t{number}", size=500))
    trail.close()
    trail.append(record("again"))
    trail.close()
    found = verify_paths([tmp_path])
    assert (found.exit_code(strict=True), list(found.all_findings())) == (0, [])


def test_close_ends_the_stream(tmp_path: Path) -> None:
    trail = journal(tmp_path)
    trail.append(record())
    trail.close()
    (path,) = segments(tmp_path)
    *others, last = read(path)
    assert last["facts"]["audit.sequence.end"] is True
    assert last["facts"]["audit.action"] == "STOP"
    assert last["facts"]["mcp_audit.stream.file"] == path.name
    assert all("audit.sequence.end" not in item["facts"] for item in others)
    trail.close()
    assert len(segments(tmp_path)) == 1, "closing twice writes nothing"


def test_an_unused_journal_touches_nothing(tmp_path: Path) -> None:
    trail = journal(tmp_path / "never")
    trail.close()
    assert not (tmp_path / "never").exists()
    assert trail.path is None and not trail.failing


def test_append_after_close_opens_a_segment_that_names_the_stream_before(tmp_path: Path) -> None:
    trail = journal(tmp_path)
    first = trail.append(record("one"))
    trail.close()
    second = trail.append(record("two"))
    trail.close()
    before, after = map(read, segments(tmp_path))
    assert kinds(after) == ["opened", "two", "closed"]
    assert second.stream_id != first.stream_id
    assert after[0]["facts"]["mcp_audit.stream.previous_id"] == first.stream_id
    assert after[0]["facts"]["mcp_audit.stream.previous_hash"] == before[-1]["facts"]["mcp_audit.record.hash"]


@pytest.mark.parametrize("broken", [1.5, "half \ud800", ["a", 3], None])
def test_a_record_that_the_format_cannot_hold_is_counted_and_the_chain_goes_on(tmp_path: Path, broken: object) -> None:
    said: list[str] = []
    trail = journal(tmp_path, said.append)
    trail.append(record("one"))
    bad = record("bad")
    bad.attributes["x.y"] = broken  # type: ignore[assignment]
    with pytest.raises(JournalError):
        trail.append(bad)
    trail.append(record("two"))
    trail.close()
    (path,) = segments(tmp_path)
    assert kinds(read(path)) == ["opened", "one", "gap 1", "two", "closed"]
    assert trail.counters.lost == 1
    assert [sentence.split(":")[0] for sentence in said] == ["AN AUDIT RECORD IS LOST"]


def test_a_line_over_the_formats_limit_is_refused_and_counted(tmp_path: Path) -> None:
    trail = journal(tmp_path)
    with pytest.raises(JournalError, match="over the format's 524288"):
        trail.append(record("big", size=600_000))
    trail.append(record("two"))
    trail.close()
    (path,) = segments(tmp_path)
    assert kinds(read(path)) == ["opened", "gap 1", "two", "closed"]


def test_an_interrupt_between_write_and_number_leaves_a_valid_chain(tmp_path: Path) -> None:
    """A signal handler of the program (^C raises KeyboardInterrupt) may run as soon as ``write(2)`` has returned."""
    disk = FaultyDisk()
    trail = journal(tmp_path, disk=disk)
    trail.append(record("one"))
    with (
        disk.raising(KeyboardInterrupt(), "write", name=SEGMENT, times=1, after=True),
        pytest.raises(KeyboardInterrupt),
    ):
        trail.append(record("two"))
    trail.append(record("three"))
    trail.close()
    (path,) = segments(tmp_path)
    assert kinds(read(path)) == ["opened", "one", "three", "closed"]


def test_an_interrupt_while_a_segment_ends_lets_nothing_follow_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A SIGTERM handler that raises SystemExit is most likely to run while the last sync is in the kernel."""
    trail = journal(tmp_path)
    trail.append(record("one"))

    def interrupted(descriptor: int) -> None:
        raise SystemExit(143)

    with monkeypatch.context() as patch:
        patch.setattr(platform, "sync_data", interrupted)
        with pytest.raises(SystemExit):
            trail.close()
    trail.close()
    (path,) = segments(tmp_path)
    assert kinds(read(path)) == ["opened", "one", "closed"]
    trail.append(record("two"))
    trail.close()
    assert [kinds(read(path)) for path in segments(tmp_path)][1] == ["opened", "two", "closed"]


def test_at_interpreter_exit_append_still_works(tmp_path: Path) -> None:
    """Records made by atexit handlers and after the threads are gone are written all the same."""
    script = (
        "import atexit, sys, pathlib\n"
        f"sys.path[:0] = {[str(Path(__file__).parents[1] / 'helpers')]!r}\n"
        "from journals import journal, record\n"
        "trail = journal(pathlib.Path(sys.argv[1]))\n"
        "def last():\n"
        "    trail.append(record('late')); trail.close()\n"
        "atexit.register(last)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    (path,) = segments(tmp_path)
    assert kinds(read(path)) == ["opened", "late", "closed"]


def test_platform_facts() -> None:
    boot, start = platform.boot_id(), platform.process_start()
    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert start == Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    assert platform.os_user() and isinstance(platform.os_user(), str)


def test_a_record_is_not_changed_by_being_journaled(tmp_path: Path) -> None:
    trail = journal(tmp_path)
    made = record("one", size=10)
    copy = AuditRecord(made.event_name, made.time, made.observed, dict(made.attributes), made.body)
    trail.append(made)
    trail.close()
    assert made == copy
