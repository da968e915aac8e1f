# SPDX-License-Identifier: Apache-2.0
"""What a large journal costs: opening one among many closed segments, a long ledger, verifying many gigabytes.

    python benchmarks/scale.py [--segments 10000] [--entries 1000000] [--gigabytes 10]

``open``: a process starts in a directory with so many closed segments, opens its own, writes a record, and ends well;
beside it the same in an empty directory. ``ledger``: one entry more behind ten entries and behind so many. ``verify``:
the command, on so many gigabytes, with the most memory it held. Each in a process of its own, so that none warms another.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

from opentelemetry.instrumentation.mcp_audit.journal import events, platform
from opentelemetry.instrumentation.mcp_audit.journal.disk import REAL_DISK
from opentelemetry.instrumentation.mcp_audit.journal.journal import Journal, Options
from opentelemetry.instrumentation.mcp_audit.journal.ledger import Ledger
from opentelemetry.instrumentation.mcp_audit.journal.origin import Origin
from opentelemetry.instrumentation.mcp_audit.record.attributes import AttributeValue
from opentelemetry.instrumentation.mcp_audit.record.ids import uuid7
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord

SCOPE = ("opentelemetry.instrumentation.mcp_audit", "0.1.0")
ORIGIN = Origin(
    resource={"service.name": "benchmark"},
    scope_name=SCOPE[0],
    scope_version=SCOPE[1],
    policy_hash="0" * 64,
    settings_hash="1" * 64,
    versions=("python=3.11.0",),
)
_ROUNDS = 7
_BATCH = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, default=10_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--gigabytes", type=float, default=10)
    parser.add_argument("--one-open", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one_open is not None:
        print(_open_here(options.one_open))
        return
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", ".")) as name:
        place = Path(name)
        if options.segments:
            _opening(place / "many", place / "empty", options.segments)
        if options.entries:
            _long_ledger(place / "ledger", options.entries)
        if options.gigabytes:
            _verifying(place / "large", options.gigabytes)


def _opening(many: Path, empty: Path, segments: int) -> None:
    _without_syncs(partial(_close_segments, many, segments))
    for where, what in ((empty, "an empty directory"), (many, f"{segments} closed segments")):
        where.mkdir(exist_ok=True)
        found = []
        for _ in range(_ROUNDS):
            command = [sys.executable, __file__, "--one-open", str(where)]
            found.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        print(f"open   {what:<28} {statistics.median(found) * 1e3:>8.1f} ms until the first record is written")


def _open_here(directory: Path) -> float:
    started = time.perf_counter()
    trail = Journal(directory, ORIGIN, Options(), say=lambda text: print(text, file=sys.stderr))
    trail.open()
    trail.append(_record(0))
    took = time.perf_counter() - started
    trail.close()
    return took


def _long_ledger(directory: Path, entries: int) -> None:
    directory.mkdir()
    ledger = Ledger(directory, REAL_DISK, *SCOPE, say=print)
    for target in (10, entries):
        _without_syncs(partial(_grow, ledger, target))
        found = []
        for _ in range(_ROUNDS):
            entry = _entry()
            started = time.perf_counter()
            ledger.append(entry)
            found.append(time.perf_counter() - started)
        size = (directory / "ledger.jsonl").stat().st_size
        print(
            f"ledger {target:>9} entries, {size / 1e6:>7.1f} MB  {statistics.median(found) * 1e3:>8.2f} ms an entry more"
        )


def _verifying(directory: Path, gigabytes: float) -> None:
    wanted, free = gigabytes * 1e9, shutil.disk_usage(directory.parent).free
    if free < wanted * 1.1:
        print(f"verify not run: {gigabytes:g} GB are wanted and {free / 1e9:.0f} GB free")
        return

    def fill() -> None:
        trail = Journal(directory, ORIGIN, Options(fsync="never", max_bytes=1 << 50), say=print)
        written, number = 0, 0
        while written < wanted:
            written += len(trail.append(_record(number)).line)
            number += 1
        trail.close()

    fill()
    script = (
        "import resource, runpy, sys\n"
        "try:\n    runpy.run_module('opentelemetry.instrumentation.mcp_audit.cli', run_name='__main__')\n"
        "finally:\n    print('kB', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", script, "verify", str(directory)], capture_output=True, text=True, check=False
    )
    took = time.perf_counter() - started
    kilobytes = int(done.stdout.rsplit("kB", 1)[1])
    print(
        f"verify {gigabytes:g} GB: exit {done.returncode}, {wanted / 1e6 / took:.0f} MB/s, at most {kilobytes / 1e3:.0f} MB of memory"
    )


def _without_syncs(work: Callable[[], None]) -> None:
    """Build the scene faster; what is measured later does sync."""
    real = platform.sync_data
    platform.sync_data = _no_sync
    try:
        work()
    finally:
        platform.sync_data = real


def _no_sync(descriptor: int) -> None:
    """Leave it to the system."""


def _close_segments(directory: Path, segments: int) -> None:
    options = Options(fsync="never", adopts=False)
    for number in range(segments):
        trail = Journal(directory, ORIGIN, options, say=print)
        trail.append(_record(number))
        trail.close()


def _grow(ledger: Ledger, target: int) -> None:
    for _ in range(0, target, _BATCH):
        ledger.append(*(_entry() for _ in range(min(_BATCH, target))))


def _entry() -> AuditRecord:
    stream = str(uuid.uuid4())
    return events.ledger_opened(stream, f"20260101T000000Z-1-{stream}.jsonl", "0" * 64, "boot")


def _record(number: int) -> AuditRecord:
    """A whole record of a call, as `verify` wants it."""
    now, call_id = time.time_ns(), uuid7()
    attributes: dict[str, AttributeValue] = {
        "audit.record.id": call_id,
        "audit.action": "EXECUTE",
        "audit.outcome": "success",
        "audit.actor.id": "ada",
        "audit.actor.type": "user",
        "audit.schema.version": "1.0",
        "gen_ai.tool.name": "search",
        "mcp.method.name": "tools/call",
        "mcp_audit.actor.provenance": "os",
        "mcp_audit.call.id": call_id,
        "mcp_audit.duration_us": number,
        "mcp_audit.level": "metadata",
        "mcp_audit.outcome.detail": "ok",
        "mcp_audit.request.id": call_id,
    }
    return AuditRecord("mcp_audit.tool_call", now, now + number * 1000, attributes, None)


if __name__ == "__main__":
    main()
