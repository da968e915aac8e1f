# SPDX-License-Identifier: Apache-2.0
"""Faults of all kinds in any order: every record is in the trail or counted in a gap, and the trail verifies."""

from __future__ import annotations

import tempfile
import time
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

from faulty_disk import LEDGER, SEGMENT, Fault, FaultyDisk
from hypothesis import given, settings
from hypothesis import strategies as st
from journals import journal, kinds, read, record, until

from opentelemetry.instrumentation.mcp_audit.integrity.verify import verify_paths
from opentelemetry.instrumentation.mcp_audit.journal.disk import RealDisk
from opentelemetry.instrumentation.mcp_audit.journal.ticket import JournalError


class _Unsynced(RealDisk):
    """What is synced is another test's; here it would only take time."""

    def sync(self, descriptor: int) -> None: ...
    def sync_directory(self, path: Path) -> None: ...


_FULL = OSError(28, "No space left on device")
_BROKEN = OSError(5, "Input/output error")
_STEPS = st.one_of(
    st.just(("append",)),
    st.tuples(st.just("short"), st.integers(0, 900), st.integers(1, 3)),
    st.tuples(st.just("stuck"), st.integers(1, 900)),
    st.just(("refused",)),
    st.just(("sync",)),
    st.just(("interrupt",)),
    st.just(("ledger",)),
    st.just(("close",)),
    st.just(("tick",)),
    st.just(("full tick",)),
    st.just(("broken tick",)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_STEPS, max_size=14))
def test_whatever_happens_in_whatever_order_every_record_is_kept_or_counted(steps: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        disk = FaultyDisk(_Unsynced())
        # The interval is long, so that only the ticks below run, in this thread; each begins the next segment.
        trail = journal(directory, fsync_interval=60, segment_seconds=0.0, adopts=False, disk=disk)
        kept: list[str] = []
        lost = 0
        for number, step in enumerate(steps):
            with ExitStack() as stack:
                for fault in _faults(disk, step):
                    stack.enter_context(fault)
                if step[0] == "close":
                    trail.close()
                    continue
                if step[0].endswith("tick"):
                    trail._upkeep.tick()
                    continue
                for turn in range(step[2] if step[0] == "short" else 1):
                    try:
                        trail.append(record(f"t{number}.{turn}"))
                        kept.append(f"t{number}.{turn}")
                    except JournalError:
                        lost += 1
                    except KeyboardInterrupt:
                        pass
        # An open that failed slowly (a busy machine) is not tried again at once.
        until(lambda: time.monotonic() >= trail._keeper._not_before, seconds=60)
        trail.append(record("last"))
        trail.close()
        assert trail.counters.lost == lost
        names = []
        for path in directory.glob("*.jsonl"):
            data = path.read_bytes()
            if path.name != LEDGER and data:
                # "stuck": a short write could not be cut off. It is left, and nothing follows it.
                path.write_bytes(data[: data.rfind(b"\n") + 1])
                names += kinds(read(path)) if path.stat().st_size else []
                path.write_bytes(data)
        found = verify_paths([directory])
        assert (found.exit_code(), found.first_violation()) == (0, None), "no fault makes the verification cry wolf"
        gaps = [int(name.split()[1]) for name in names if name.startswith("gap")]
        assert sum(gaps) == lost
        assert sorted(name for name in names if name[0] == "t" or name == "last") == sorted([*kept, "last"])


def _faults(disk: FaultyDisk, step: tuple[Any, ...]) -> list[AbstractContextManager[Fault | None]]:
    """What the system does to the journal at ``step``."""
    if step[0] == "short":
        return [disk.short(step[1], SEGMENT)]
    if step[0] == "stuck":
        return [disk.short(step[1], SEGMENT), disk.raising(_BROKEN, "truncate", name=SEGMENT)]
    if step[0] in ("refused", "full tick"):
        return [disk.raising(_FULL, "write")]
    if step[0] in ("sync", "broken tick"):
        return [disk.raising(_BROKEN, "sync")]
    if step[0] == "ledger":
        return [disk.raising(_BROKEN, "write", "sync", name=LEDGER)]
    if step[0] == "interrupt":
        return [disk.raising(KeyboardInterrupt(), "write", name=SEGMENT, after=True)]
    return [nullcontext()]
