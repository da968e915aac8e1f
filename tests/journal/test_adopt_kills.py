# SPDX-License-Identifier: Apache-2.0
"""Adopters that are killed at any step, that race, and processes that really die."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from dead_process import OTHER_BOOT, Dead, Dying, Killed, adopted, outcomes, told
from journals import read

from opentelemetry.instrumentation.mcp_audit.integrity.verify import verify_paths
from opentelemetry.instrumentation.mcp_audit.journal.adopt import Adopted
from opentelemetry.instrumentation.mcp_audit.journal.marker_contents import read_marker

ID = "0190c1d2-1234-7abc-8def-0123456789a"
_PATHS = os.pathsep.join(str(Path(__file__).parents[1] / name) for name in ("helpers", "journal"))


def a_dead_process(directory: Path, boot: str | None) -> tuple[Dead, str]:
    """Two segments, one call whose outcome is there, three in flight, a torn tail; and the id of the first."""
    dead = Dead(directory, boot=boot)
    dead.trail.call("search")
    dead.trail.close()
    dead.segment().call("search")
    done = next(
        item["value"]["stringValue"] for item in dead.trail.records[1]["attributes"] if item["key"] == "audit.record.id"
    )
    dead.call(done, 1)
    for slot in (2, 3, 4):
        dead.call(f"{ID}{slot}", slot)
    lines = dead.trail.lines()
    dead.write(tails={1: lines[1][:300] if boot is None else bytes(500) + lines[1][600:]})
    return dead, done


def check(directory: Path, dead: Dead, done: str) -> int:
    """What must be so after the last adopter, however many died; how many records stand twice."""
    assert list(directory.glob("*.calls")) == []
    assert [item["facts"]["mcp_audit.outcome.detail"] for item in outcomes(directory, done)] == ["ok"]
    twice = 0
    for slot in (2, 3, 4):
        found = outcomes(directory, f"{ID}{slot}")
        assert found, "every call has an outcome"
        assert all(item == found[0] for item in found), "and never two different ones"
        assert found[0]["facts"]["mcp_audit.outcome.detail"] == "abandoned"
        twice += len(found) - 1
    for trail in dead.trails:
        entries = told(directory, trail.stream)
        assert [facts["mcp_audit.lifecycle.kind"] for facts in entries] == ["opened", "adopted"]
        assert entries[1]["mcp_audit.stream.open_calls"] == "3"
        assert entries[1]["mcp_audit.stream.head"] == trail.head
    assert int(entries[1]["mcp_audit.stream.torn_bytes"]) > 0, "nor is what was torn forgotten"
    for path in directory.glob("2*.jsonl"):
        stream = path.name.split("-", 2)[2].removesuffix(".jsonl")
        kinds = [facts["mcp_audit.lifecycle.kind"] for facts in told(directory, stream)]
        if kinds:
            # The adopters that died are adopted too: every stream of the ledger is over.
            assert kinds in (["opened", "closed"], ["opened", "adopted"])
            read(path)
        else:
            assert path.read_bytes().count(b"\n") <= 1, "what the ledger never took holds no more than its first record"
    assert verify_paths([directory]).exit_code(strict=False) == 0, "nor does verify cry wolf"
    return twice


@pytest.mark.one_python
@pytest.mark.parametrize("boot", [None, OTHER_BOOT])
@pytest.mark.parametrize("half", [False, True])
def test_killed_at_every_step(tmp_path: Path, boot: str | None, half: bool) -> None:
    step, finished = 0, False
    while not finished:
        place = tmp_path / str(step)
        place.mkdir()
        dead, done = a_dead_process(place, boot)
        disk = Dying(step, half)
        try:
            adopted(place, disk)
            finished = True
        except Killed:
            pass
        disk.die()
        assert verify_paths([place]).exit_code(strict=False) == 0, f"killed before step {step}: {disk.log[-3:]}"
        adopted(place, Dying())  # not killed; without syncs it is quicker
        assert check(place, dead, done) == 0, f"killed before step {step}: {disk.log[-3:]}"
        assert adopted(place) == (Adopted(0, 0, 0), [])
        step += 1
    assert step > 60


@pytest.mark.one_python
def test_one_adopter_after_the_other_is_killed(tmp_path: Path) -> None:
    dice = random.Random(4)
    for turn in range(60):
        place = tmp_path / str(turn)
        place.mkdir()
        dead, done = a_dead_process(place, dice.choice([None, OTHER_BOOT]))
        for _ in range(dice.randrange(2, 6)):
            disk = Dying(dice.randrange(10, 120), dice.random() < 0.5)
            try:
                adopted(place, disk)
            except Killed:
                pass
            disk.die()
        assert verify_paths([place]).exit_code(strict=False) == 0
        adopted(place, Dying())  # not killed; without syncs it is quicker
        assert check(place, dead, done) == 0


_DYING = """
import os, signal, sys, pathlib
sys.path[:0] = sys.argv[2].split(os.pathsep)
from dead_process import Adopter
from test_marker import call
process = Adopter(pathlib.Path(sys.argv[1]))
tokens = [process.marker.set(call(f"id-{n}")) for n in range(100)]
from journals import record
for n in range(0, 100, 2):
    made = record("done")
    made.attributes["audit.record.id"] = f"id-{n}"
    process.append(made)
    if n % 4:
        process.marker.clear(tokens[n])
os.write(process.writing.segment.descriptor, b'{"half')
if sys.argv[3] == "child":
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        sys.stdin.read()
        os._exit(0)
    signal.pause()
print(os.getpid(), process.stream, flush=True)
if sys.argv[3] == "wait":
    sys.stdin.read()
os.kill(os.getpid(), signal.SIGKILL)
"""


def start(directory: Path, mode: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _DYING, str(directory), _PATHS, mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def check_the_killed(directory: Path) -> None:
    for number in range(100):
        (found,) = outcomes(directory, f"id-{number}")
        assert found["facts"]["mcp_audit.outcome.detail"] == ("abandoned" if number % 2 else "ok")


def test_a_process_that_was_killed(tmp_path: Path) -> None:
    process = start(tmp_path, "")
    assert process.communicate(timeout=60)[0]
    assert process.returncode == -signal.SIGKILL
    found, said = adopted(tmp_path)
    assert found == Adopted(1, 1, 50)
    assert len(said) == 1 and "6 bytes" in said[0]
    check_the_killed(tmp_path)
    assert adopted(tmp_path) == (Adopted(0, 0, 0), [])


def test_a_child_that_kept_the_files(tmp_path: Path) -> None:
    process = start(tmp_path, "child")
    assert process.stdout is not None and process.stdin is not None
    child = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    assert adopted(tmp_path) == (Adopted(0, 0, 0), []), "the child holds the locks"
    assert [contents for contents in (read_marker(path) for path in tmp_path.glob("*.calls"))][0].calls
    process.stdin.close()
    process.stdout.read()  # its other end is closed by the kernel, as the locks are
    _gone(child)
    assert adopted(tmp_path)[0] == Adopted(1, 1, 50)
    check_the_killed(tmp_path)


def _gone(pid: int) -> None:
    """The files of a process are closed before its end of a pipe says so, but in no promised order."""
    import time

    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}/fd/0") and time.monotonic() < deadline:
        time.sleep(0.01)


_RACING = """
import os, sys, pathlib
sys.path[:0] = sys.argv[2].split(os.pathsep)
from dead_process import Adopter
process = Adopter(pathlib.Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(*process.adopt(), len(process.said), flush=True)
process.close()
"""


@pytest.mark.one_python
def test_adopters_that_race(tmp_path: Path) -> None:
    killed = [start(tmp_path, "") for _ in range(4)]
    for process in killed:
        process.communicate(timeout=60)
    racing = [
        subprocess.Popen(
            [sys.executable, "-c", _RACING, str(tmp_path), _PATHS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in racing:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in racing:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    counts = [[int(word) for word in process.communicate(timeout=60)[0].split()] for process in racing]
    assert [sum(column) for column in zip(*counts, strict=True)] == [4, 4, 200, 4]
    assert list(tmp_path.glob("*.calls")) == []
    for number in range(100):
        found = outcomes(tmp_path, f"id-{number}")
        assert len(found) == 4, "one of each of the four processes, which used the same ids"
    for path in tmp_path.glob("2*.jsonl"):
        read(path)
