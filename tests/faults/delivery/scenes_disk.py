# SPDX-License-Identifier: Apache-2.0
"""Rows about the journal's directory: shared, full, crowded, and with a shipper that is killed."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from emitting import Tally
from receiver import Mode
from rows import Row, Side
from scenes import NotRun, ended, receiving, settle, start, wait_until
from sides import SHIP, Outcome, emitter, environment, exit_text, tallied

# 100 by option: FAULTS_SHIP_KILLS=100.
KILLS = int(os.environ.get("FAULTS_SHIP_KILLS", "20"))
SEED = int(os.environ.get("FAULTS_SEED", "20261124"))


def two_processes(row: Row, side: Side, home: Path) -> Outcome:
    """Two emitters at once, half of the records each."""
    half = replace(row, count=row.count // 2, scene="emitter")
    with receiving(row) as receiver:
        environ = environment(side, row, home, receiver.url)
        began = time.monotonic()
        both = [start(emitter(side, half, home, name), environ, home) for name in ("a", "b")]
        codes = [ended(process) for process in both]
        outcome = Outcome(exit=", ".join(exit_text(code) for code in codes), seconds=time.monotonic() - began)
        outcome.at_once = len(tallied(home) & set(receiver.kept.marks))
        settle(outcome, side, home, receiver, environ)
        return outcome


@contextmanager
def tmpfs(place: Path, size: str) -> Iterator[Path]:
    """A small file system."""
    place.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(place)]
    if not shutil.which("mount") or os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        raise NotRun("no small file system can be mounted here (needs root)")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def small_disk(row: Row, side: Side, home: Path) -> Outcome:
    """The journal on 8 MiB; the emitter fills what is left of it, and lets go again."""
    with tmpfs(home / "disk", "8m") as disk, receiving(row) as receiver:
        environ = environment(side, row, home, receiver.url) | {"FAULTS_FILLER": str(disk / "filler")}
        if side == "ours":
            environ["OTEL_MCP_AUDIT_DIR"] = str(disk / "journal")
        began = time.monotonic()
        code = ended(start(emitter(side, row, home), environ, home))
        outcome = Outcome(exit=exit_text(code), seconds=time.monotonic() - began)
        outcome.at_once = len(tallied(home) & set(receiver.kept.marks))
        settle(outcome, side, home, receiver, environ)
        return outcome


def dead_segments(row: Row, side: Side, home: Path) -> Outcome:
    """One record in each of many segments whose processes died; then `ship --once`."""
    if side == "stock":
        raise NotRun("the stock pipeline keeps nothing on the disk")
    _die_often(home / "journal", row.count, Tally(str(home / "tally")))
    with receiving(row) as receiver:
        environ = environment(side, row, home, receiver.url)
        outcome = Outcome(exit="-")
        began = time.monotonic()
        settle(outcome, side, home, receiver, environ)
        outcome.seconds = time.monotonic() - began
        return outcome


def poison_line(row: Row, side: Side, home: Path) -> Outcome:
    """The endpoint is down; then a line that is no record stands in the middle of the segment; then it is healed."""
    if side == "stock":
        raise NotRun("the stock pipeline has no journal")
    with receiving(row) as receiver:
        environ = environment(side, row, home, receiver.url)
        began = time.monotonic()
        code = ended(start(emitter(side, row, home), environ, home))
        outcome = Outcome(exit=exit_text(code), seconds=time.monotonic() - began)
        (segment,) = (path for path in (home / "journal").glob("2*.jsonl"))
        lines = segment.read_bytes().splitlines(keepends=True)
        middle = len(lines) // 2
        segment.write_bytes(b"".join([*lines[:middle], b'{"no":"record"}\n', *lines[middle:]]))
        receiver.tell(Mode())
        settle(outcome, side, home, receiver, environ)
        return outcome


def _die_often(directory: Path, count: int, tally: Tally) -> None:
    """Segments as killed processes leave them: not closed, with what the ledger says of their beginning."""
    from journals import ORIGIN, record
    from written_segments import ledger

    from opentelemetry.instrumentation.mcp_audit.journal import events
    from opentelemetry.instrumentation.mcp_audit.journal.disk import RealDisk
    from opentelemetry.instrumentation.mcp_audit.record.encode import encode, seal

    class Unsynced(RealDisk):
        def sync(self, descriptor: int) -> None:
            """Ten thousand fsyncs would measure this disk, not the shipper."""

    directory.mkdir(mode=0o700, parents=True)
    known = ledger(directory, Unsynced())
    for number in range(count):
        mark = f"mark-dead-{number}-end"
        stream = str(uuid.uuid4())
        path = directory / f"20261101T000000Z-{number + 1}-{stream}.jsonl"
        around, opened = ORIGIN.begin(stream, path.name, None)
        first = seal(encode(opened), stream, 1, None, False)
        second = seal(encode(record(mark)), stream, 2, first.hash, False)
        path.write_bytes(around.line(first.text) + around.line(second.text))
        known.append(events.ledger_opened(stream, path.name, first.hash, "boot"))
        tally.add(mark)


def ship_kills(row: Row, side: Side, home: Path) -> Outcome:
    """A server that does not deliver itself, and `ship` beside it, killed at random, again and again."""
    if side == "stock":
        raise NotRun("the stock pipeline has no process of its own that could be killed")
    chance = random.Random(SEED)
    # As long under load as there are kills.
    row = replace(row, count=row.count * max(KILLS, 20) // 20)
    with receiving(replace(row, mode=Mode(slow=0.01))) as receiver:
        environ = environment(side, row, home, receiver.url)
        process = start(emitter(side, row, home), {**environ, "OTEL_MCP_AUDIT_OTLP_ENDPOINT": ""}, home)
        began = time.monotonic()
        wait_until(lambda: len(tallied(home)) > 0, 60)
        for _ in range(KILLS):
            seen = receiver.requests
            shipper = start([*SHIP, str(home / "journal")], environ, home, "ship")
            wait_until(lambda seen=seen: receiver.requests > seen, 30, 0.002)  # type: ignore[misc]
            time.sleep(chance.random() * 0.5)
            shipper.kill()
            shipper.wait()
        working = process.poll() is None
        code = ended(process)
        outcome = Outcome(exit=exit_text(code), seconds=time.monotonic() - began)
        outcome.at_once = len(tallied(home) & set(receiver.kept.marks))
        settle(outcome, side, home, receiver, environ)
        outcome.saw = f"{KILLS} kills, the server {'still working' if working else 'gone'} at the last one"
        return outcome


SCENES = {
    "two_processes": two_processes,
    "small_disk": small_disk,
    "dead_segments": dead_segments,
    "poison_line": poison_line,
    "ship_kills": ship_kills,
}
