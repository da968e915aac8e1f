# SPDX-License-Identifier: Apache-2.0
"""One server started again and again in one directory: it ends well, is killed at a random moment, or just stops.

    python tests/faults/restarts.py --restarts 1000 --seed 7

Each start is a process of its own (forked from one that has imported everything, which only saves time) with a real
server and client in it. Then: no answered call is missing, every call in flight has exactly one record, ``verify`` finds
nothing but notes, and the last hundred starts cost no more than the first. Exit code 1 for a problem.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import secrets
import signal
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from killing import Tally, judge, run
from mcp import Client
from stdio import EXPORTERS_OFF
from under_load import params
from victims import mcp as server

from opentelemetry.instrumentation.mcp_audit.instrumentor import INSTRUMENTATION, McpAuditInstrumentor

_CALLS = 6
_GROUPS = 10
_FATES = ("ends", "stops", "is killed")
# A start that takes more than so many times what the first ones took, and so much more, is no noise.
_TIMES = 1.5
_AND_SECONDS = 0.005


def restart(base: Path, restarts: int, chance: random.Random) -> tuple[Tally, list[float]]:
    """So many starts one after the other; what became of the calls, and the seconds of processor time of each start."""
    journal, began = base / "journal", base / "began"
    began.touch()
    os.environ |= {**EXPORTERS_OFF, "MCP_AUDIT_TEST_BEGAN": str(began)}
    _warm_up(base / "warm")
    os.environ["OTEL_MCP_AUDIT_DIR"] = str(journal)
    tally, answered, costs = Tally("restarts"), dict[int, int](), list[float]()
    for turn in range(restarts):
        fate, first = chance.choice(_FATES), 1 + turn * _CALLS
        pid, reports = _start(first, fate)
        if fate == "is killed":
            time.sleep(chance.random() * 0.12)  # in its start, in its calls, in its adoption of the one before
            os.kill(pid, signal.SIGKILL)
            tally.kills += 1
        with os.fdopen(reports) as lines:
            for line in lines.read().splitlines():
                what, value = line.split()
                if what == "opened":
                    costs.append(float(value))
                else:
                    answered[int(value)] = pid
        _, status = os.waitpid(pid, 0)
        expected = {"ends": 0, "stops": 3, "is killed": -signal.SIGKILL}[fate]
        if os.waitstatus_to_exitcode(status) not in (expected, 3 if fate == "is killed" else expected):
            tally.problems.append(f"start {turn}, which {fate}: exit code {os.waitstatus_to_exitcode(status)}")
    run("verify", journal, tally)
    run("adopt", journal, tally)
    judge(journal, {int(line) for line in began.read_text().split()}, answered, tally)
    left = [path.name for path in journal.glob("*.calls")]
    if left:
        tally.problems.append(f"markers that nobody adopted: {left}")
    return tally, costs


def _start(first: int, fate: str) -> tuple[int, int]:
    """The pid of a new server, and where it reports: ``opened SECONDS`` and ``answered NUMBER``."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    code = 4
    try:
        os.close(reader)
        # Whoever is to be killed goes on until it is.
        code = _serve(first, fate, lambda line: os.write(writer, f"{line}\n".encode()))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _serve(first: int, fate: str, report: Callable[[str], object]) -> int:
    # This thread's time on the processor: a busy machine, or a busy disk, is no growth.
    began = time.thread_time()
    McpAuditInstrumentor().instrument()
    INSTRUMENTATION.auditor()  # what the first request asks for, and waits for
    report(f"opened {time.thread_time() - began:.6f}")
    asyncio.run(_calls(first, fate, report))
    if fate == "ends":
        McpAuditInstrumentor().uninstrument()
        return 0
    return 3


async def _calls(first: int, fate: str, report: Callable[[str], object]) -> None:
    async with Client(server) as client:

        async def call(number: int, milliseconds: int) -> None:
            given = params("work", number, milliseconds)
            await client.call_tool("work", given["arguments"], meta=given["_meta"])
            report(f"answered {number}")

        *short, last = range(first, first + _CALLS)
        if fate == "ends":
            await asyncio.gather(*(call(number, number % 7) for number in (*short, last)))
            return
        # The last one is in flight when the process goes, which is a moment after the others were answered at the latest.
        longest = asyncio.ensure_future(call(last, 60_000))
        await asyncio.gather(*(call(number, number % 7) for number in short))
        if fate == "is killed":
            await longest
        os._exit(3)


def _warm_up(directory: Path) -> None:
    """Import all that a start and its first calls import, and leave no thread behind."""
    os.environ["OTEL_MCP_AUDIT_DIR"] = str(directory)
    McpAuditInstrumentor().instrument()
    asyncio.run(_calls(1_000_000_000, "ends", lambda line: None))
    McpAuditInstrumentor().uninstrument()
    Path(os.environ["MCP_AUDIT_TEST_BEGAN"]).write_text("")


def grown(costs: list[float]) -> tuple[float, float, bool]:
    """The median of the first and of the last starts in seconds, and whether it grew beyond noise."""
    size = max(5, len(costs) // _GROUPS)
    first, last = statistics.median(costs[:size]), statistics.median(costs[-size:])
    return first, last, last > first * _TIMES + _AND_SECONDS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restarts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31), help="of all choices (default: random)")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="restarts-") as base:
        tally, costs = restart(Path(base), given.restarts, random.Random(given.seed))
    first, last, grew = grown(costs)
    if grew:
        tally.problems.append(f"a start cost {first * 1000:.1f} ms at first and {last * 1000:.1f} ms in the end")
    for problem in tally.problems:
        print(f"PROBLEM {problem}")
    print(
        f"{given.restarts} restarts, {tally.kills} kills, {tally.answered} answered, {tally.recorded} recorded, "
        f"{tally.in_flight} in flight, {tally.abandoned} abandoned, {tally.late} late, {tally.segments} segments, "
        f"verify exit 0 {tally.verified} times with {tally.notes} notes"
    )
    print(
        f"a start: {first * 1000:.1f} ms in the first tenth, {last * 1000:.1f} ms in the last (processor time, medians)"
    )
    print(f"seed {given.seed}, {len(tally.problems)} problems, {time.monotonic() - began:.0f} s")
    return 1 if tally.problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
