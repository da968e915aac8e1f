# SPDX-License-Identifier: Apache-2.0
"""The ledger: one chain, whoever writes it, and every entry in it once, whatever fails in between."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faulty_disk import FaultyDisk
from journals import ORIGIN, read
from trail_oracle import wired

from opentelemetry.instrumentation.mcp_audit.integrity.canonical import resource_form, sha256_hex
from opentelemetry.instrumentation.mcp_audit.journal import events
from opentelemetry.instrumentation.mcp_audit.journal.disk import REAL_DISK, Disk
from opentelemetry.instrumentation.mcp_audit.journal.ledger import Entry, Ledger, LedgerError
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord

_HELPERS = str(Path(__file__).parents[1] / "helpers")


def _ledger(directory: Path, disk: Disk = REAL_DISK, said: list[str] | None = None) -> Ledger:
    say = (lambda sentence: None) if said is None else said.append
    return Ledger(directory, disk, ORIGIN.scope_name, ORIGIN.scope_version, say)


def _entry(number: int) -> AuditRecord:
    return events.ledger_closed(f"stream-{number}", f"file-{number}", number + 2, f"{number:064x}")


def _files(directory: Path) -> list[str]:
    """Which file each entry is about, in order, the ledger's own first record left out; the chain is checked."""
    path = directory / "ledger.jsonl"
    stream = path.read_bytes().split(b'"stringValue":"', 1)[1][:36].decode()
    named = directory / f"named-{stream}"  # the reader wants a file name with the stream in it
    named.write_bytes(path.read_bytes())
    try:
        first, *rest = read(named)
    finally:
        named.unlink()
    assert first["facts"]["mcp_audit.stream.file"] == "ledger.jsonl"
    return [item["facts"]["mcp_audit.stream.file"] for item in rest]


def test_the_first_entry_makes_it(tmp_path: Path) -> None:
    assert list(_ledger(tmp_path).backwards()) == []
    assert list(tmp_path.iterdir()) == [], "reading makes nothing"
    _ledger(tmp_path).append(_entry(0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger.jsonl", "ledger.lock"]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert _files(tmp_path) == ["file-0"]
    line = (tmp_path / "ledger.jsonl").read_text().splitlines()[0]
    stream = line.split('"stringValue":"', 1)[1][:36]
    resource = {"mcp_audit.stream.id": stream}
    form = resource_form(resource.items(), ORIGIN.scope_name, ORIGIN.scope_version)
    assert f'"resource":{{"attributes":{str(wired(resource)).replace(chr(39), chr(34)).replace(" ", "")}}}' in line
    assert f'"mcp_audit.resource.hash","value":{{"stringValue":"{sha256_hex(form)}"}}' in line


def test_entries_continue_whoever_writes_them(tmp_path: Path) -> None:
    for number in range(5):
        other = Ledger(tmp_path, REAL_DISK, f"scope-{number}", str(number), print)
        other.append(_entry(2 * number), _entry(2 * number + 1))
    assert _files(tmp_path) == [f"file-{number}" for number in range(10)]
    found = list(_ledger(tmp_path).backwards())
    assert [entry.file for entry in found] == [f"file-{number}" for number in range(9, -1, -1)]
    assert found[0] == Entry("closed", "stream-9", "file-9", 11, f"{9:064x}", None, None, found[0].time)
    assert abs(time.time_ns() - found[0].time) < 60 * 10**9


def test_backwards_tells_all_that_an_entry_holds(tmp_path: Path) -> None:
    ledger = _ledger(tmp_path)
    ledger.append(events.ledger_opened("s", "f", "1" * 64, "boot"))
    ledger.append(
        events.ledger_adopted("s", "f", 4, "2" * 64, torn_bytes=3, reason="power", open_calls=1, boot_id="boot")
    )
    ledger.append(events.ledger_pruned("s", "f", 4, "2" * 64, "acknowledged until 2026-01-01T00:00:00Z"))
    pruned, adopted, opened = ledger.backwards()
    assert pruned == Entry(
        "pruned", "s", "f", 4, "2" * 64, "acknowledged until 2026-01-01T00:00:00Z", None, pruned.time
    )
    assert adopted == Entry("adopted", "s", "f", 4, "2" * 64, "power", "boot", adopted.time)
    assert opened == Entry("opened", "s", "f", 1, "1" * 64, None, "boot", opened.time)


_WRITER = """
import pathlib, sys
sys.path[:0] = [sys.argv[2], sys.argv[3]]
from test_ledger import _entry, _ledger
ledger = _ledger(pathlib.Path(sys.argv[1]))
sys.stdin.readline()
for turn in range(50):
    ledger.append(_entry(1000 * int(sys.argv[4]) + turn), timeout=60)
"""


def test_eight_processes_at_once(tmp_path: Path) -> None:
    here = str(Path(__file__).parent)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path), _HELPERS, here, str(place)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for place in range(8)
    ]
    outcomes = [writer.communicate(b"go\n", timeout=120)[1] for writer in writers]
    assert outcomes == [b""] * 8
    found = _files(tmp_path)
    assert sorted(found) == sorted(f"file-{1000 * place + turn}" for place in range(8) for turn in range(50))
    for place in range(8):
        own = [name for name in found if int(name[5:]) // 1000 == place]
        assert own == [f"file-{1000 * place + turn}" for turn in range(50)]


@pytest.mark.parametrize("torn", [b'{"resourceLogs":[{"re', b"\0" * 700, b"\0" * 700 + b"\n", b"garbage\n", b"\xff\n"])
def test_an_unreadable_last_line_is_set_aside(tmp_path: Path, torn: bytes) -> None:
    said: list[str] = []
    _ledger(tmp_path).append(_entry(0), _entry(1))
    path = tmp_path / "ledger.jsonl"
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(torn)
    _ledger(tmp_path, said=said).append(_entry(2))
    assert _files(tmp_path) == ["file-0", "file-1", "file-2"]
    kept = tmp_path / "quarantine" / f"ledger.jsonl.{size}.torn"
    assert kept.read_bytes() == torn
    assert said == [f"ledger.jsonl: {len(torn)} bytes behind its last whole record set aside in {kept}"]


def test_a_torn_first_line_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_bytes(b'{"resourceLogs":[{"resource"')
    _ledger(tmp_path).append(_entry(0))
    assert _files(tmp_path) == ["file-0"]
    assert (tmp_path / "quarantine" / "ledger.jsonl.0.torn").read_bytes() == b'{"resourceLogs":[{"resource"'


def test_a_torn_last_line_hides_no_entry_from_a_reader(tmp_path: Path) -> None:
    ledger = _ledger(tmp_path)
    ledger.append(_entry(0), _entry(1))
    with ledger.path.open("ab") as file:
        file.write(b'{"resourceLogs":[{"re')
    assert [entry.file for entry in ledger.backwards()] == ["file-1", "file-0"]


def test_a_reader_goes_no_further_than_a_line_that_is_no_entry(tmp_path: Path) -> None:
    ledger = _ledger(tmp_path)
    ledger.append(_entry(0))
    before = ledger.path.read_bytes()
    ledger.append(_entry(1), _entry(2))
    ledger.path.write_bytes(before + b"garbage\n" + ledger.path.read_bytes()[len(before) :])
    assert [entry.file for entry in ledger.backwards()] == ["file-2", "file-1"]


@pytest.mark.parametrize("garbage", [b"one\ntwo\n", b"one\n\0\0\0\0", b"x" * 600_000, b"x" * 600_000 + b"\n", b"\n\n"])
@pytest.mark.parametrize("behind", [True, False])
def test_a_ledger_of_garbage_is_left_as_it_is(tmp_path: Path, garbage: bytes, behind: bool) -> None:
    ledger = _ledger(tmp_path)
    if behind:
        ledger.append(_entry(0))
    with ledger.path.open("ab") as file:
        file.write(garbage)
    before = ledger.path.read_bytes()
    with pytest.raises(LedgerError, match="it is left as it is"):
        ledger.append(_entry(1))
    assert ledger.path.read_bytes() == before
    assert not (tmp_path / "quarantine").exists(), "nothing was moved"
    assert list(ledger.backwards()) == []


@pytest.mark.parametrize("name", ["ledger.jsonl", "ledger.lock"])
@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "directory"])
def test_what_is_no_file_of_ours_is_an_error_and_is_not_followed(tmp_path: Path, name: str, kind: str) -> None:
    place, target = tmp_path / "journal", tmp_path / "target"
    place.mkdir()
    target.write_bytes(b"theirs")
    if kind in ("link", "dangling"):
        (place / name).symlink_to(target if kind == "link" else tmp_path / "nowhere")
    elif kind == "fifo":
        os.mkfifo(place / name)
    else:
        (place / name).mkdir()
    ledger = _ledger(place)
    for _ in range(2):
        with pytest.raises(OSError):
            ledger.append(_entry(0), timeout=1)
    if name == "ledger.jsonl":
        with pytest.raises(OSError):
            list(ledger.backwards())
    assert target.read_bytes() == b"theirs" and not (tmp_path / "nowhere").exists()


def test_a_lock_that_a_stopped_process_holds(tmp_path: Path) -> None:
    script = (
        "import fcntl, os, sys\n"
        "descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)\n"
        "fcntl.flock(descriptor, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "ledger.lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    holder.send_signal(signal.SIGSTOP)
    ledger = _ledger(tmp_path)
    began = time.monotonic()
    with pytest.raises(LedgerError, match=r"ledger\.lock was held by another process for 0\.3 s"):
        ledger.append(_entry(0), timeout=0.3)
    assert 0.3 <= time.monotonic() - began < 2
    assert not ledger.path.exists()
    holder.kill()
    holder.communicate()
    ledger.append(_entry(0), timeout=0.3)
    assert _files(tmp_path) == ["file-0"]


def test_a_failure_gives_the_lock_and_every_descriptor_back(tmp_path: Path) -> None:
    disk = FaultyDisk()
    ledger = _ledger(tmp_path, disk)
    before = len(os.listdir("/proc/self/fd"))
    for operation in ("lock", "create", "sync", "write"):
        with disk.raising(OSError(5, "Input/output error"), operation), pytest.raises(OSError):
            ledger.append(_entry(0))
        assert len(os.listdir("/proc/self/fd")) == before
    held = os.open(tmp_path / "ledger.lock", os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(held)


@pytest.mark.parametrize("after", [False, True], ids=["instead", "afterwards"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "^C"])
@pytest.mark.parametrize("times", [1, 2, None], ids=["once", "twice", "from then on"])
@pytest.mark.parametrize("start", ["new", "whole", "torn"])
def test_whatever_fails_an_entry_that_is_tried_again_is_there_once(
    tmp_path: Path, start: str, times: int | None, error: BaseException, after: bool
) -> None:
    """At each operation of an append: that one fails, or it and the next, or it and all that follow."""
    reached = 0
    while True:
        place = tmp_path / str(reached)
        place.mkdir()
        earlier = [] if start == "new" else ["file-0", "file-1"]
        if earlier:
            _ledger(place).append(_entry(0), _entry(1))
        if start == "torn":
            with (place / "ledger.jsonl").open("ab") as file:
                file.write(b"torn")
        disk = FaultyDisk()
        ledger = _ledger(place, disk)
        entries = (_entry(7), _entry(8))
        # A close that is refused would leak its descriptor, and with it the lock, within this process only.
        where = ("create", "open", "write", "truncate", "sync", "sync_directory", "make_directory", "lock")
        with disk.raising(error, *where, skip=reached, times=times, after=after) as fault:
            try:
                ledger.append(*entries)
            except type(error):
                pass
        leaked = after and disk.steps and fault.hits
        if fault.hits == 0:
            break
        if not (leaked and _holds_lock(place)):
            ledger.append(*entries)
            assert _files(place) == [*earlier, "file-7", "file-8"]
        reached += 1
    assert reached >= 6


def _holds_lock(place: Path) -> bool:
    """Whether the descriptor of an ``open`` that worked and then raised still holds the ledger's lock."""
    try:
        descriptor = os.open(place / "ledger.lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def test_no_line_is_written_behind_one_that_is_not_on_the_disk(tmp_path: Path) -> None:
    """Of two that are not synced a power cut may keep the second and leave zeros in the first."""
    disk = FaultyDisk()
    _ledger(tmp_path, disk).append(_entry(0), _entry(1))
    steps = [step.operation for step in disk.steps if step.name in ("ledger.jsonl", tmp_path.name)]
    first = ["open", "create", "sync", "write", "sync", "sync_directory"]
    assert steps == [*first, "write", "sync", "write", "sync", "close"]
    assert len((tmp_path / "ledger.jsonl").read_bytes().splitlines()) == 3


@pytest.mark.parametrize("taken", [0, 1, 300, 900])
def test_a_short_write_leaves_no_entry(tmp_path: Path, taken: int) -> None:
    disk = FaultyDisk()
    ledger = _ledger(tmp_path, disk)
    ledger.append(_entry(0))
    before = ledger.path.read_bytes()
    entry = _entry(1)
    with disk.short(taken, "ledger.jsonl"), pytest.raises(OSError, match=f"only {taken} of "):
        ledger.append(entry)
    assert ledger.path.read_bytes() == before
    ledger.append(entry)
    assert _files(tmp_path) == ["file-0", "file-1"]


@pytest.mark.one_python
def test_a_million_entries_cost_what_ten_do(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    for place in (small, large):
        place.mkdir()
        _ledger(place).append(*(_entry(number) for number in range(10)))
    lines = (large / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    with (large / "ledger.jsonl").open("wb") as file:
        # What stands before the last line is not looked at, so it need not be a chain.
        for _ in range(1000):
            file.write(b"".join(lines[1:2] * 1000))
        file.write(lines[-1])

    def seconds(place: Path) -> float:
        began = time.perf_counter()
        for number in range(20):
            _ledger(place).append(_entry(number))
            next(iter(_ledger(place).backwards()))
        return time.perf_counter() - began

    ten = min(seconds(small) for _ in range(3))
    million = min(seconds(large) for _ in range(3))
    (large / "ledger.jsonl").unlink()
    assert million < 5 * ten + 0.1, f"{ten=} {million=}"
