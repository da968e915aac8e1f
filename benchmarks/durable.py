# SPDX-License-Identifier: Apache-2.0
"""32 tasks that each append a record and await ``durable()``, beside a bare group commit of the same bytes, in one run.

    python benchmarks/durable.py [--rounds 7] [--records 6400] [--tasks 32] [--disk-ms 0]

Bare: tasks hand ready lines to a thread, which writes all it finds, syncs once, and wakes them through one call into the
loop; no hash, no number, no JSON. ``waiting``: the same ready lines, written by the tasks, waited for with the journal's
own Committer, Commits and Ticket. ``journal``: the whole journal, from record to ticket to disk. They take turns, so that
drift of the machine hits all alike, and each figure is the median of the rounds. ``--disk-ms`` makes every sync take so
much longer, the same for all: what a disk costs that does not answer from a cache.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import queue
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from opentelemetry.instrumentation.mcp_audit.journal import platform
from opentelemetry.instrumentation.mcp_audit.journal.commit import Committer
from opentelemetry.instrumentation.mcp_audit.journal.journal import Journal, Options
from opentelemetry.instrumentation.mcp_audit.journal.origin import Origin
from opentelemetry.instrumentation.mcp_audit.journal.ticket import Ticket
from opentelemetry.instrumentation.mcp_audit.journal.waiting import Commits
from opentelemetry.instrumentation.mcp_audit.record.ids import uuid7
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord

ORIGIN = Origin(
    resource={"service.name": "benchmark", "host.name": "box"},
    scope_name="opentelemetry.instrumentation.mcp_audit",
    scope_version="0.1.0",
    policy_hash="0" * 64,
    settings_hash="1" * 64,
    versions=("python=3.11.0",),
)
BODY = json.dumps({"arguments": {"query": "x" * 20}, "salt": "00" * 16}, separators=(",", ":"))


class Syncs:
    """Counts the syncs of one side, and makes each take longer when told so."""

    def __init__(self, longer_seconds: float) -> None:
        self.count = 0
        self._longer = longer_seconds
        self._real = platform.sync_data

    def __call__(self, descriptor: int) -> None:
        self.count += 1
        self._real(descriptor)
        if self._longer:
            time.sleep(self._longer)


class Bare:
    """Lines in, wake-ups out: a thread that gathers, writes, syncs."""

    def __init__(self, path: Path, sync: Callable[[int], None]) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._sync = sync
        self._lines: queue.SimpleQueue[tuple[bytes, asyncio.Future[None]] | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def keep(self, line: bytes) -> Awaitable[None]:
        future: asyncio.Future[None] = self._loop.create_future()
        self._lines.put((line, future))
        return future

    def close(self) -> None:
        self._lines.put(None)
        self._thread.join()
        os.close(self._descriptor)

    def _run(self) -> None:
        while (item := self._lines.get()) is not None:
            lines, futures = [], []
            while item is not None:
                lines.append(item[0])
                futures.append(item[1])
                try:
                    item = self._lines.get_nowait()
                except queue.Empty:
                    break
            os.write(self._descriptor, b"".join(lines))
            self._sync(self._descriptor)
            self._loop.call_soon_threadsafe(_finish, futures)
            if item is None:
                return


class Waiting:
    """Ready lines written as the journal does, by the caller, and waited for with what the journal's tickets use."""

    def __init__(self, path: Path, sync: Callable[[int], None]) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._sync = sync
        self._count = 0
        self._committer = Committer(self._tick, 0.2)
        self._commits = Commits(self._committer.request, self._tick, lambda: False)

    def keep(self, line: bytes) -> Awaitable[None]:
        os.write(self._descriptor, line)
        self._count += 1
        self._committer.notify()
        return Ticket("s", self._count, None, "", line, self._commits).durable()

    def close(self) -> None:
        self._committer.stop(5)
        os.close(self._descriptor)

    def _tick(self) -> bool:
        last = self._count
        self._sync(self._descriptor)
        self._commits.advanced("s", last)
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--records", type=int, default=6400)
    parser.add_argument("--tasks", type=int, default=32)
    parser.add_argument("--disk-ms", type=float, default=0.0)
    options = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {"bare": [], "waiting": [], "journal": []}
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", ".")) as place:
        lines = _lines(Path(place, "lines"), options.records)
        size = statistics.mean(map(len, lines))
        for number in range(options.rounds):
            for side, figures in found.items():
                figures.append(asyncio.run(_side(side, Path(place, f"{side}{number}"), lines, options)))
    print(
        f"{options.tasks} tasks, {options.records} records of {size:.0f} bytes, {options.rounds} rounds, {platform_name()}"
    )
    bare = statistics.median(rate for rate, _ in found["bare"])
    for side, figures in found.items():
        rate, group = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"{side:<8} {rate:>9.0f} records/s   {group:>5.1f} records a sync   {rate / bare:.2f} of bare")


def platform_name() -> str:
    return f"Python {sys.version.split()[0]}, {os.cpu_count()} cores"


async def _side(side: str, place: Path, lines: list[bytes], options: argparse.Namespace) -> tuple[float, float]:
    """Records a second, and records a sync."""
    sync = Syncs(options.disk_ms / 1000)
    if side == "journal":
        platform.sync_data, real = sync, platform.sync_data
        try:
            trail = Journal(place, ORIGIN, Options(deadline=30), say=print)
            trail.open()
            keep: Callable[[bytes], Awaitable[None]] = lambda line: trail.append(_record()).durable()  # noqa: E731
            seconds = await _timed(keep, lines, options.tasks)
            trail.close()
        finally:
            platform.sync_data = real
    else:
        made = (Bare if side == "bare" else Waiting)(place, sync)
        seconds = await _timed(made.keep, lines, options.tasks)
        made.close()
    return len(lines) / seconds, len(lines) / sync.count


async def _timed(keep: Callable[[bytes], Awaitable[None]], lines: list[bytes], tasks: int) -> float:
    left = iter(lines)

    async def work() -> None:
        for line in left:
            await keep(line)

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(tasks)))
    return time.perf_counter() - started


def _lines(directory: Path, records: int) -> list[bytes]:
    trail = Journal(directory, ORIGIN, Options(fsync="never", adopts=False), say=print)
    lines = [trail.append(_record()).line for _ in range(records)]
    trail.close()
    return lines


def _record() -> AuditRecord:
    now, call_id = time.time_ns(), uuid7()
    attributes: dict[str, Any] = {
        "audit.record.id": call_id,
        "audit.action": "EXECUTE",
        "audit.outcome": "success",
        "audit.actor.id": "ada",
        "audit.schema.version": "1.0",
        "gen_ai.tool.name": "search",
        "mcp.method.name": "tools/call",
        "mcp_audit.call.id": call_id,
        "mcp_audit.content.digest": "0" * 64,
        "mcp_audit.duration_us": 1,
    }
    return AuditRecord("mcp_audit.tool_call", now, now, attributes, BODY)


def _finish(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


if __name__ == "__main__":
    main()
