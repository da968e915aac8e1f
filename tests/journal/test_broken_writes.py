# SPDX-License-Identifier: Apache-2.0
"""Writes that the system refuses or does by half: nothing torn is left behind, or nothing is written behind it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_disk import SEGMENT, FaultyDisk
from journals import journal, kinds, read, record, segments

from opentelemetry.instrumentation.mcp_audit.integrity.verify import verify_paths
from opentelemetry.instrumentation.mcp_audit.journal.journal import Journal
from opentelemetry.instrumentation.mcp_audit.journal.ticket import JournalError

_HELPERS = str(Path(__file__).parents[1] / "helpers")


def _lose(trail: Journal, times: int) -> None:
    for _ in range(times):
        with pytest.raises(JournalError):
            trail.append(record("lost"))


def test_a_short_write_is_cut_off_again(tmp_path: Path) -> None:
    disk = FaultyDisk()
    trail = journal(tmp_path, fsync_interval=60, disk=disk)
    trail.append(record("one"))
    with disk.short(100, SEGMENT):
        _lose(trail, 1)
    assert trail.path is not None
    assert kinds(read(trail.path)) == ["opened", "one"], "nothing torn is left behind"
    trail.append(record("two"))
    trail.close()
    (path,) = segments(tmp_path)
    assert kinds(read(path)) == ["opened", "one", "gap 1", "two", "closed"]


def test_a_short_write_that_cannot_be_cut_off_seals_the_segment(tmp_path: Path) -> None:
    disk = FaultyDisk()
    trail = journal(tmp_path, fsync_interval=60, disk=disk)
    first = trail.append(record("one"))
    torn = trail.path
    assert torn is not None
    with disk.short(100, SEGMENT), disk.raising(OSError(5, "Input/output error"), "truncate", name=SEGMENT):
        _lose(trail, 1)
    trail.append(record("two"))
    trail.close()
    data = torn.read_bytes()
    assert len(data) - data.rindex(b"\n") - 1 == 100, "left as it is, and never written"
    (after,) = [path for path in tmp_path.glob("*.jsonl") if path not in (torn, tmp_path / "ledger.jsonl")]
    found = read(after)
    assert kinds(found) == ["opened", "gap 1", "two", "closed"]
    assert found[0]["facts"]["mcp_audit.stream.previous_id"] == first.stream_id
    assert found[0]["facts"]["mcp_audit.stream.previous_hash"] == first.hash
    told = {(entry.kind, entry.file): entry for entry in trail._ledger.backwards()}
    assert sorted(kind for kind, _file in told) == ["adopted", "closed", "opened", "opened"]
    sealed = told["adopted", torn.name]
    assert (sealed.reason, sealed.count, sealed.head) == ("sealed", 2, first.hash)


_LIMITED = """
import json, pathlib, resource, signal, sys
sys.path[:0] = [sys.argv[2]]
from journals import journal, record
from opentelemetry.instrumentation.mcp_audit.journal.ticket import JournalError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
said = []
trail = journal(pathlib.Path(sys.argv[1]), said.append, fsync_interval=60)
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
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB, half of it for the reserve, where the machine lets us mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = shutil.which("mount") and os.name == "posix" and os.geteuid() == 0
    command = ["mount", "-t", "tmpfs", "-o", "size=512k,mode=0700", "tmpfs", str(place)]
    if not mounted or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("no small file system can be mounted here; test_a_file_size_limit_cuts_a_write_short stands in")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_then_room_again(small_disk: Path) -> None:
    said: list[str] = []
    filler = small_disk / "filler"
    trail = journal(small_disk, said.append, fsync_interval=60, adopts=False)
    kept = lost = 0
    trail.append(record("one", size=2000))
    trail._upkeep.tick()
    assert (small_disk / "reserve").stat().st_size == 256 * 1024
    with filler.open("wb") as file, contextlib.suppress(OSError):
        # To the last block but 40 KiB.
        for _ in range(os.statvfs(small_disk).f_bavail * 4 - 40):
            file.write(bytes(1024))
    for _ in range(60):
        try:
            trail.append(record("try", size=2000))
            kept += 1
        except JournalError:
            lost += 1
    assert kept > 0 and lost > 0 and trail.counters.lost == lost
    assert len(said) == 1 and ("No space left on device" in said[0] or "is the disk full?" in said[0])
    assert (small_disk / "reserve").stat().st_size == 256 * 1024, "not for records, but for the ledger and the end"
    filler.unlink()
    trail.append(record("two", size=2000))
    trail.close()
    (path,) = segments(small_disk)
    assert kinds(read(path)) == ["opened", "one", *["try"] * kept, f"gap {lost}", "two", "closed"]
    assert len(said) == 2
    assert verify_paths([small_disk]).exit_code() == 0


def test_a_directory_remounted_read_only(small_disk: Path) -> None:
    said: list[str] = []
    trail = journal(small_disk, said.append, fsync_interval=60)
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
