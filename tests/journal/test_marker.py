# SPDX-License-Identifier: Apache-2.0
"""The start marker: what is in flight stands in it, from any number of threads, and nothing it meets reaches a call."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from opentelemetry.instrumentation.mcp_audit.journal import platform
from opentelemetry.instrumentation.mcp_audit.journal.disk import REAL_DISK, RealDisk
from opentelemetry.instrumentation.mcp_audit.journal.marker import Marker
from opentelemetry.instrumentation.mcp_audit.journal.marker_contents import read_marker
from opentelemetry.instrumentation.mcp_audit.journal.open_call import OpenCall
from opentelemetry.instrumentation.mcp_audit.journal.slots import NewerVersion, header_slot

STREAM = "6f1d1c1e-0000-4000-8000-000000000001"
NEXT = "6f1d1c1e-0000-4000-8000-000000000002"


def call(record_id: str = "", **more: Any) -> OpenCall:
    attributes: dict[str, Any] = {
        "audit.record.id": record_id or str(uuid.uuid4()),
        "audit.action": "EXECUTE",
        "audit.actor.id": "ada@example.com",
        "audit.actor.type": "user",
        "audit.schema.version": "1.0",
        "audit.target.id": "search",
        "audit.target.type": "tool",
        "gen_ai.tool.name": "search",
        "mcp.method.name": "tools/call",
        "mcp_audit.actor.provenance": "verified",
        "mcp_audit.call.id": record_id or str(uuid.uuid4()),
        "mcp_audit.level": "request",
        "mcp_audit.request.id": "req-1",
        **more,
    }
    return OpenCall("mcp_audit.tool_call", time.time_ns(), attributes, "5b" * 16, "ee" * 8)


class Room:
    """A marker in a directory, and what it said."""

    def __init__(self, directory: Path, disk: Any = REAL_DISK) -> None:
        self.said: list[str] = []
        self.directory = directory
        self.marker = Marker(directory, disk, self.said.append)
        self.path = directory / f"{STREAM}.calls"

    def ids(self, path: Path | None = None) -> list[str]:
        contents = read_marker(path or self.path)
        assert contents.torn == 0
        return sorted(str(slot.call.attributes["audit.record.id"]) for slot in contents.calls)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    made = Room(tmp_path)
    made.marker.open(STREAM)
    return made


def test_the_file(room: Room) -> None:
    assert [path.name for path in room.directory.iterdir()] == [f"{STREAM}.calls"]
    status = room.path.stat()
    assert status.st_mode & 0o777 == 0o600
    assert status.st_size == 65 * 1024
    assert status.st_blocks * 512 >= status.st_size, "its room is real"
    header = read_marker(room.path).header
    assert header is not None
    assert header == (
        platform.boot_id(),
        os.uname().nodename,
        os.getpid(),
        platform.process_start(),
        STREAM,
        None,
        None,
    )


def test_set_and_clear(room: Room) -> None:
    calls = [call(f"id-{number}") for number in range(3)]
    tokens = [room.marker.set(item) for item in calls]
    assert None not in tokens and len(set(tokens)) == 3
    assert room.marker.open_calls == 3
    contents = read_marker(room.path)
    assert [slot.call for slot in contents.calls] == calls
    assert {slot.stream for slot in contents.calls} == {STREAM}
    room.marker.moved_to(NEXT)
    assert tokens[1] is not None
    room.marker.clear(tokens[1])
    assert room.ids() == ["id-0", "id-2"]
    room.marker.set(call("id-3"))
    contents = read_marker(room.path)
    assert [slot.number for slot in contents.calls] == [1, 2, 3], "the slot is used again"
    assert [slot.stream for slot in contents.calls] == [STREAM, NEXT, STREAM]
    assert contents.header is not None and contents.header.stream == NEXT


def test_a_slot_cleared_twice_clears_no_other_call(room: Room) -> None:
    first = room.marker.set(call("one"))
    assert first is not None
    room.marker.clear(first)
    room.marker.set(call("two"))
    room.marker.clear(first)
    room.marker.clear(12345678)
    room.marker.clear(-1)
    assert room.ids() == ["two"]
    assert room.marker.open_calls == 1


def test_without_a_file_a_call_goes_on_unmarked(tmp_path: Path) -> None:
    room = Room(tmp_path)
    assert room.marker.set(call()) is None
    room.marker.clear(1)
    room.marker.moved_to(NEXT)
    room.marker.close()
    room.marker.after_fork_in_child()
    assert (room.marker.open_calls, room.said, list(tmp_path.iterdir())) == (0, [], [])


def test_growth_up_to_the_cap(room: Room) -> None:
    tokens = []
    sizes = set()
    for number in range(4096):
        tokens.append(room.marker.set(call(f"id-{number}")))
        sizes.add(room.path.stat().st_size)
    assert None not in tokens
    assert sorted(sizes) == [(1 + slots) * 1024 for slots in (64, 128, 256, 512, 1024, 2048, 4096)]
    assert room.ids() == sorted(f"id-{number}" for number in range(4096))
    assert [room.marker.set(call()) for _ in range(3)] == [None] * 3
    assert (room.marker.unmarked, room.marker.failures, len(room.said)) == (3, 0, 1)
    assert "4096 calls are in flight" in room.said[0]
    for token in tokens:
        assert token is not None
        room.marker.clear(token)
    assert (room.ids(), room.marker.open_calls) == ([], 0)
    assert room.marker.set(call("again")) is not None


def test_many_threads(room: Room) -> None:
    kept: list[str] = []
    errors: list[BaseException] = []
    start = threading.Barrier(16)

    def work(thread: int) -> None:
        try:
            start.wait()
            held = []
            for turn in range(300):
                record_id = f"t{thread}-{turn}"
                token = room.marker.set(call(record_id))
                assert token is not None
                held.append((token, record_id))
                if len(held) > 12:
                    room.marker.clear(held.pop(turn % 12)[0])
            kept.extend(record_id for _, record_id in held)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert room.ids() == sorted(kept)
    assert room.marker.open_calls == len(kept) == 16 * 12
    assert (room.marker.failures, room.marker.unmarked) == (0, 0)


def test_close_removes_the_file(room: Room) -> None:
    token = room.marker.set(call())
    assert token is not None
    room.marker.clear(token)
    descriptors = len(os.listdir("/proc/self/fd"))
    room.marker.close()
    assert list(room.directory.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == descriptors - 1
    room.marker.close()
    assert room.marker.set(call()) is None
    room.marker.open(NEXT)
    assert [path.name for path in room.directory.iterdir()] == [f"{NEXT}.calls"]
    room.marker.clear(token)
    assert room.marker.open_calls == 0


def test_close_waits_for_the_last_call(room: Room) -> None:
    tokens = [room.marker.set(call(f"id-{number}")) for number in range(2)]
    room.marker.close()
    assert room.ids() == ["id-0", "id-1"], "whoever adopts this process must find them"
    descriptor = os.open(room.path, os.O_RDWR)
    assert not REAL_DISK.lock(descriptor), "and not before it is dead"
    os.close(descriptor)
    for token in tokens:
        assert room.path.exists()
        assert token is not None
        room.marker.clear(token)
    assert not room.path.exists()


def test_opened_again_before_the_last_call_ended(room: Room) -> None:
    token = room.marker.set(call("long"))
    assert token is not None
    room.marker.close()
    room.marker.open(NEXT)
    room.marker.moved_to(NEXT)
    room.marker.clear(token)
    assert room.path.exists(), "it is in use again"
    assert room.marker.set(call("new")) is not None
    assert room.ids() == ["new"]


def test_a_process_that_leaves_a_segment_behind_leaves_its_marker(room: Room) -> None:
    token = room.marker.set(call("one"))
    assert token is not None
    room.marker.close(settled=False)
    room.marker.clear(token)
    assert room.ids() == []
    descriptor = os.open(room.path, os.O_RDWR)
    assert REAL_DISK.lock(descriptor), "it is free for the next process"
    os.close(descriptor)


def test_close_while_threads_mark(tmp_path: Path) -> None:
    """What one of them writes after the file is closed would go into whatever file has the number then."""

    class Closed(RealDisk):
        def __init__(self) -> None:
            self.closed: set[int] = set()
            self.late = 0

        def close(self, descriptor: int) -> None:
            self.closed.add(descriptor)  # and kept, so that its number is not given to another
            os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)

        def write_at(self, descriptor: int, data: bytes, offset: int) -> int:
            if descriptor in self.closed:
                self.late += 1
            return super().write_at(descriptor, data, offset)

    for _ in range(30):
        disk = Closed()
        room = Room(tmp_path, disk)
        room.marker.open(str(uuid.uuid4()))
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():  # noqa: B023
                token = room.marker.set(call())  # noqa: B023
                if token is None:
                    return
                room.marker.clear(token)  # noqa: B023

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        while room.marker._file is not None:
            room.marker.close()
        stop.set()
        for thread in threads:
            thread.join()
        assert disk.late == 0
    assert list(tmp_path.iterdir()) == []


class Broken(RealDisk):
    """Refuses what it is told to."""

    def __init__(self) -> None:
        self.refuses: set[str] = set()
        self.short = False

    def write_at(self, descriptor: int, data: bytes, offset: int) -> int:
        if "write_at" in self.refuses:
            raise OSError(5, "Input/output error")
        return super().write_at(descriptor, data[: len(data) // 2] if self.short else data, offset)

    def allocate(self, descriptor: int, size: int) -> None:
        if "allocate" in self.refuses:
            raise OSError(28, "No space left on device")
        super().allocate(descriptor, size)

    def unlink(self, path: Path) -> None:
        if "unlink" in self.refuses:
            raise OSError(30, "Read-only file system")
        super().unlink(path)


def test_a_failing_disk_never_reaches_a_call(tmp_path: Path) -> None:
    disk = Broken()
    room = Room(tmp_path, disk)
    room.marker.open(STREAM)
    token = room.marker.set(call("one"))
    assert token is not None
    disk.refuses = {"write_at"}
    assert [room.marker.set(call()) for _ in range(5)] == [None] * 5
    room.marker.clear(token)
    assert room.marker.failures == 6
    assert len(room.said) == 1 and "Input/output error" in room.said[0]
    with pytest.raises(OSError):
        room.marker.moved_to(NEXT)
    disk.refuses = set()
    assert room.marker.set(call("two")) is not None, "once it works again, slots are not lost"
    assert room.marker.open_calls == 1
    disk.short = True
    assert room.marker.set(call("three")) is None
    assert len(room.said) == 2, "a new episode"
    disk.short = False
    assert read_marker(room.path).torn == 1
    room.marker.set(call("four"))
    assert room.ids() == ["four", "two"], "the torn slot is used again"


def test_no_room_for_more_slots(tmp_path: Path) -> None:
    disk = Broken()
    room = Room(tmp_path, disk)
    room.marker.open(STREAM)
    tokens = [room.marker.set(call()) for _ in range(64)]
    disk.refuses = {"allocate"}
    assert room.marker.set(call()) is None
    assert room.marker.failures == 1 and "No space left" in room.said[0]
    assert tokens[0] is not None
    room.marker.clear(tokens[0])
    assert room.marker.set(call()) is not None


def test_a_marker_that_cannot_be_removed_is_left(tmp_path: Path) -> None:
    disk = Broken()
    room = Room(tmp_path, disk)
    room.marker.open(STREAM)
    disk.refuses = {"unlink"}
    descriptors = len(os.listdir("/proc/self/fd"))
    room.marker.close()
    assert len(os.listdir("/proc/self/fd")) == descriptors - 1
    assert room.ids() == [] and room.marker.failures == 1


@pytest.mark.parametrize("step", ["allocate", "write_at"])
def test_a_marker_that_cannot_be_made(tmp_path: Path, step: str) -> None:
    disk = Broken()
    room = Room(tmp_path, disk)
    disk.refuses = {step}
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError):
        room.marker.open(STREAM)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert list(tmp_path.iterdir()) == []
    disk.refuses = set()
    room.marker.open(STREAM)
    assert room.marker.set(call()) is not None


def test_a_marker_that_somebody_takes_while_it_is_made(tmp_path: Path) -> None:
    class Taken(RealDisk):
        turns = 3

        def lock(self, descriptor: int) -> bool:
            self.turns -= 1
            if self.turns == 1:
                (tmp_path / f"{STREAM}.calls.new").unlink()  # as whoever clears leftovers away does
            return self.turns < 2 and super().lock(descriptor)

    room = Room(tmp_path, Taken())
    room.marker.open(STREAM)
    assert [path.name for path in tmp_path.iterdir()] == [f"{STREAM}.calls"]
    assert room.marker.set(call("one")) is not None
    assert room.ids() == ["one"]


def test_a_value_that_no_record_can_hold_is_not_marked(room: Room) -> None:
    assert room.marker.set(call(**{"gen_ai.tool.name": 1.5})) is None
    assert room.marker.failures == 1 and "TypeError" in room.said[0]
    assert room.marker.set(call("next")) is not None
    assert room.ids() == ["next"]


def test_an_interrupt_inside_set_loses_no_slot(tmp_path: Path) -> None:
    class Interrupted(RealDisk):
        armed = False

        def write_at(self, descriptor: int, data: bytes, offset: int) -> int:
            written = super().write_at(descriptor, data, offset)
            if self.armed:
                raise KeyboardInterrupt
            return written

    disk = Interrupted()
    room = Room(tmp_path, disk)
    room.marker.open(STREAM)
    disk.armed = True
    with pytest.raises(KeyboardInterrupt):
        room.marker.set(call("interrupted"))
    disk.armed = False
    assert room.ids() == ["interrupted"], "its outcome is in the journal or it is abandoned: the adopter looks"
    assert room.marker.open_calls == 0
    room.marker.close()
    assert list(tmp_path.iterdir()) == []


def test_a_child_starts_anew(room: Room) -> None:
    token = room.marker.set(call("parent"))
    assert token is not None
    pid = os.fork()
    if pid == 0:
        try:
            room.marker.after_fork_in_child()
            assert room.marker.open_calls == 0
            room.marker.clear(token)
            room.marker.open(NEXT)
            mine = room.marker.set(call("child"))
            assert mine is not None and mine != token
            room.marker.clear(token)
            os._exit(0 if room.ids(room.directory / f"{NEXT}.calls") == ["child"] else 1)
        except BaseException:
            os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0
    assert room.ids() == ["parent"], "a child does not touch its parent's"
    descriptor = os.open(room.path, os.O_RDWR)
    assert not REAL_DISK.lock(descriptor), "nor does it give its lock back"
    os.close(descriptor)
    header = read_marker(room.directory / f"{NEXT}.calls").header
    assert header is not None and header.pid == pid


def test_it_outlives_a_kill(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys, pathlib\n"
        "sys.path[:0] = [sys.argv[2]]\n"
        "from test_marker import Room, STREAM, call\n"
        "room = Room(pathlib.Path(sys.argv[1])); room.marker.open(STREAM)\n"
        "tokens = [room.marker.set(call(f'id-{n}')) for n in range(100)]\n"
        "[room.marker.clear(token) for token in tokens[::2]]\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path), str(Path(__file__).parent)], timeout=60)
    assert done.returncode == -9
    assert Room(tmp_path).ids() == sorted(f"id-{number}" for number in range(1, 100, 2))


def test_reading_what_is_no_marker(tmp_path: Path) -> None:
    (tmp_path / "garbage.calls").write_bytes(os.urandom(5000))
    found = read_marker(tmp_path / "garbage.calls")
    assert (found.header, found.calls, found.torn, found.blank) == (None, [], 4, False)
    (tmp_path / "empty.calls").touch()
    assert read_marker(tmp_path / "empty.calls") == (None, [], 0, True)
    (tmp_path / "zeros.calls").write_bytes(bytes(65 * 1024))
    assert read_marker(tmp_path / "zeros.calls") == (None, [], 0, True)
    (tmp_path / "link.calls").symlink_to(tmp_path / "garbage.calls")
    os.mkfifo(tmp_path / "fifo.calls")
    (tmp_path / "dir.calls").mkdir()
    for name in ("link.calls", "fifo.calls", "dir.calls", "none.calls"):
        with pytest.raises(OSError):
            read_marker(tmp_path / name)
    from opentelemetry.instrumentation.mcp_audit.journal.slots import Header

    (tmp_path / "huge.calls").write_bytes(header_slot(Header("", "", 1, "", STREAM)))
    os.truncate(tmp_path / "huge.calls", 1 << 40)
    assert read_marker(tmp_path / "huge.calls").calls == [], "no more is read than a marker can hold"


def test_a_newer_marker(tmp_path: Path) -> None:
    import struct
    import zlib

    payload = b'{"version":2}'
    (tmp_path / "x.calls").write_bytes(b"MCA1" + struct.pack(">IH", zlib.crc32(payload), len(payload)) + payload)
    with pytest.raises(NewerVersion):
        read_marker(tmp_path / "x.calls")


def microseconds_for_set_and_clear(directory: Path, rounds: int = 20_000) -> float:
    """The best of five: how long one call's marking takes, both writes together."""
    marker = Marker(directory, REAL_DISK, print)
    marker.open(str(uuid.uuid4()))
    calls = [call() for _ in range(100)]
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        for turn in range(rounds // 5):
            token = marker.set(calls[turn % 100])
            if token is not None:
                marker.clear(token)
        times.append((time.perf_counter() - begun) / (rounds // 5) * 1e6)
    marker.close()
    return min(times)


def test_it_is_quick(tmp_path: Path) -> None:
    took = microseconds_for_set_and_clear(tmp_path)
    print(f"set and clear: {took:.1f} us")
    assert took < 100, "ten times what it should take"
