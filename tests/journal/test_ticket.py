# SPDX-License-Identifier: Apache-2.0
"""Waiting until a record is on the disk: asyncio, trio, threads; many at once, cancelled, too late, over a fork, at the
interpreter's end, in signal handlers; and exactly whom a failed sync concerns."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from journals import journal, record, until

from opentelemetry.instrumentation.mcp_audit.journal.disk import RealDisk
from opentelemetry.instrumentation.mcp_audit.journal.journal import Journal
from opentelemetry.instrumentation.mcp_audit.journal.ticket import Deferred, JournalError, NotDurable, Ticket
from opentelemetry.instrumentation.mcp_audit.journal.waiting import DEADLINE, FORK, REENTERED

_HELPERS = str(Path(__file__).parents[1] / "helpers")


class Disk(RealDisk):
    """Counts the syncs of segments, and holds or fails them when told."""

    def __init__(self) -> None:
        self.syncs = 0
        self.fails: OSError | None = None
        self.reached = threading.Event()
        self.free = threading.Event()
        self.free.set()
        self._segments: set[int] = set()

    def create(self, path: Path, *, append: bool) -> int:
        descriptor = super().create(path, append=append)
        if path.suffix == ".jsonl" and path.name != "ledger.jsonl":
            self._segments.add(descriptor)
        return descriptor

    def sync(self, descriptor: int) -> None:
        if descriptor in self._segments:
            self.reached.set()
            assert self.free.wait(30)
            self.syncs += 1
            if self.fails is not None:
                raise self.fails
        super().sync(descriptor)

    def hang(self) -> None:
        """From here on syncs wait for ``free``."""
        self.reached.clear()
        self.free.clear()


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture(params=["never", "interval"])
def trail(request: pytest.FixtureRequest, tmp_path: Path, disk: Disk) -> Iterator[Journal]:
    """A journal that syncs nothing on its own while a test runs, at its first record's end of preparations."""
    made = journal(tmp_path, fsync=request.param, fsync_interval=60, deadline=20, adopts=False, disk=disk)
    made.append(record("first")).wait(10)
    disk.syncs = 0
    yield made
    disk.free.set()
    made.close()


# --- one wait ----------------------------------------------------------------------------------------------------------


async def test_durable_commits_at_once_whatever_the_setting(trail: Journal, disk: Disk) -> None:
    ticket = trail.append(record())
    began = time.monotonic()
    await ticket.durable()
    assert time.monotonic() - began < 10
    assert disk.syncs == 1
    await ticket.durable(0)
    await ticket.durable(None)
    assert (disk.syncs, trail._commits.wanted) == (1, False), "what is known costs nothing"


def test_durable_on_trio(trail: Journal, disk: Disk) -> None:
    trio = pytest.importorskip("trio")

    async def main() -> None:
        await trail.append(record()).durable()
        await trail.append(record()).durable(10)

    trio.run(main)
    assert disk.syncs == 2


def test_wait_on_a_thread(trail: Journal, disk: Disk) -> None:
    ticket = trail.append(record())
    ticket.wait()
    ticket.wait(0)
    assert disk.syncs == 1


def test_nobody_subscribes_who_does_not_wait(trail: Journal, disk: Disk) -> None:
    tickets = [trail.append(record()) for _ in range(100)]
    assert (trail._commits.wanted, disk.syncs) == (False, 0)
    assert tickets[7]._asdict().keys() == {"stream_id", "number", "previous_hash", "hash", "line", "commits"}


async def test_wait_refuses_to_block_a_loop(trail: Journal) -> None:
    ticket = trail.append(record())
    with pytest.raises(RuntimeError, match=r"would block the event loop .* use `await ticket.durable\(\)`"):
        ticket.wait()
    await asyncio.get_running_loop().run_in_executor(None, ticket.wait, 10)
    with pytest.raises(RuntimeError, match="would block"):
        ticket.wait()


def test_wait_refuses_to_block_trio_and_not_its_worker_threads(trail: Journal) -> None:
    trio = pytest.importorskip("trio")
    ticket = trail.append(record())

    async def main() -> None:
        with pytest.raises(RuntimeError, match="would block"):
            ticket.wait()
        await trio.to_thread.run_sync(partial(ticket.wait, 10))

    trio.run(main)


def test_durable_needs_a_loop(trail: Journal) -> None:
    waiting = trail.append(record()).durable()
    with pytest.raises(RuntimeError, match="no running event loop"):
        waiting.send(None)


# --- many at once ------------------------------------------------------------------------------------------------------


async def test_32_tasks_that_append_in_one_turn_share_one_commit(trail: Journal, disk: Disk) -> None:
    async def call() -> None:
        for _ in range(10):
            await trail.append(record()).durable()

    await asyncio.gather(*(call() for _ in range(32)))
    assert disk.syncs == 10


def test_32_tasks_on_trio_share_commits(trail: Journal, disk: Disk) -> None:
    trio = pytest.importorskip("trio")

    async def call() -> None:
        for _ in range(10):
            await trail.append(record()).durable(30)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(32):
                nursery.start_soon(call)

    trio.run(main)
    assert 10 <= disk.syncs <= 40


def test_what_is_written_while_a_sync_runs_shares_the_next_one(trail: Journal, disk: Disk) -> None:
    disk.hang()
    first = threading.Thread(target=trail.append(record()).wait)
    first.start()
    assert disk.reached.wait(10)
    threads = [threading.Thread(target=trail.append(record()).wait) for _ in range(31)]
    for thread in threads:
        thread.start()
    until(lambda: len(trail._commits._waiters) == 32)
    disk.free.set()
    for thread in (first, *threads):
        thread.join(10)
        assert not thread.is_alive()
    assert disk.syncs == 2


def test_a_sync_that_began_before_a_record_was_written_proves_nothing_for_it(trail: Journal, disk: Disk) -> None:
    disk.hang()
    before = trail.append(record())
    thread = threading.Thread(target=before.wait)
    thread.start()
    assert disk.reached.wait(10)
    after = trail.append(record())
    disk.free.set()
    thread.join(10)
    state = trail._commits.outcome(after.stream_id, after.number)
    assert (trail._commits.outcome(before.stream_id, before.number), state) == (True, None)
    after.wait(10)
    assert disk.syncs == 2


def test_loops_and_threads_at_once(trail: Journal, disk: Disk) -> None:
    async def call() -> None:
        for _ in range(20):
            await trail.append(record()).durable(30)

    async def calls() -> None:
        await asyncio.gather(*(call() for _ in range(8)))

    def thread_calls() -> None:
        for _ in range(20):
            trail.append(record()).wait(30)

    done: list[Any] = []

    def run(work: Callable[[], object]) -> None:
        work()
        done.append(work)

    works: list[Callable[[], object]] = [lambda: asyncio.run(calls()) for _ in range(3)]
    works += [thread_calls for _ in range(8)]
    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) == 11
    assert trail._commits.wanted is False


def test_records_of_a_segment_that_was_rotated_away_are_waited_for_too(tmp_path: Path, disk: Disk) -> None:
    trail = journal(tmp_path, fsync="never", fsync_interval=60, segment_bytes=1, adopts=False, disk=disk)
    tickets = [trail.append(record()) for _ in range(5)]
    for ticket in tickets:
        ticket.wait(10)
        trail.append(record()).wait(10)
    assert trail.counters.segments > 1
    for ticket in tickets:
        ticket.wait(0)
    trail.close()


# --- given up, too late ------------------------------------------------------------------------------------------------


async def test_a_cancelled_wait_cancels_nothing_of_the_commit(trail: Journal, disk: Disk) -> None:
    disk.hang()
    ticket, other = trail.append(record()), trail.append(record())
    tasks = [asyncio.create_task(one.durable()) for one in (ticket, other)]
    while not disk.reached.is_set():
        await asyncio.sleep(0.001)
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    assert len(trail._commits._waiters) == 1
    disk.free.set()
    await tasks[1]
    assert trail._commits.outcome(ticket.stream_id, ticket.number) is True
    assert disk.syncs == 1


def test_a_cancelled_wait_on_trio(trail: Journal, disk: Disk) -> None:
    trio = pytest.importorskip("trio")
    disk.hang()
    ticket = trail.append(record())

    async def main() -> None:
        with trio.move_on_after(0.05) as scope:
            await ticket.durable()
        assert scope.cancelled_caught
        assert trail._commits.wanted is False
        disk.free.set()
        await ticket.durable(10)

    trio.run(main)


async def test_the_deadline(trail: Journal, disk: Disk) -> None:
    disk.hang()
    ticket = trail.append(record())
    for seconds in (0.05, 0, -1):
        with pytest.raises(NotDurable) as found:
            await ticket.durable(seconds)
        assert found.value.reason == DEADLINE == "deadline"
    assert trail._commits.wanted is False
    disk.free.set()
    await ticket.durable(10)


def test_the_deadline_on_trio(trail: Journal, disk: Disk) -> None:
    trio = pytest.importorskip("trio")
    disk.hang()
    ticket = trail.append(record())

    async def main() -> None:
        for seconds in (0.05, 0, -1):
            with pytest.raises(NotDurable) as found:
                await ticket.durable(seconds)
            assert found.value.reason == DEADLINE

    trio.run(main)


def test_the_timeout_of_a_thread(trail: Journal, disk: Disk) -> None:
    disk.hang()
    ticket = trail.append(record())
    for seconds in (0.05, 0, -1):
        with pytest.raises(NotDurable) as found:
            ticket.wait(seconds)
        assert found.value.reason == DEADLINE
    assert trail._commits.wanted is False
    disk.free.set()
    ticket.wait(10**12)


def test_a_loop_that_is_closed_before_its_wake_up_keeps_nobody_else_waiting(trail: Journal, disk: Disk) -> None:
    disk.hang()
    loop = asyncio.new_event_loop()
    task = loop.create_task(trail.append(record()).durable())
    loop.run_until_complete(asyncio.wait([task], timeout=0.05))
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    done: list[bool] = []
    thread = threading.Thread(target=lambda: done.append(trail.append(record()).wait(20) is None))
    thread.start()
    until(lambda: len(trail._commits._waiters) == 2)
    disk.free.set()
    thread.join(20)
    assert done == [True]
    assert trail._commits.wanted is False
    trail.append(record()).wait(10)
    # It can be no more awaited; what is left of it is let go without a word of asyncio's.
    task.get_coro().close()  # type: ignore[union-attr]


def test_a_failed_sync_concerns_exactly_the_numbers_after_the_last_synced_one(trail: Journal, disk: Disk) -> None:
    good = [trail.append(record()) for _ in range(3)]
    good[-1].wait(10)
    bad = [trail.append(record()) for _ in range(3)]
    disk.fails = OSError(errno.EIO, "Input/output error")
    reasons = set()
    for ticket in bad:
        with pytest.raises(NotDurable) as found:
            ticket.wait(10)
        reasons.add(found.value.reason)
        assert str(found.value) == f"not known to be on the disk: {found.value.reason}"
        assert isinstance(found.value, JournalError)
    (reason,) = reasons
    assert reason.startswith("fsync: [Errno 5] Input/output error")
    assert reason.endswith(f"may lack its numbers {bad[0].number} to {bad[-1].number} on the disk")
    for ticket in good:
        ticket.wait(0)
    disk.fails = None
    # Later records stand in another segment, and an old failure is no excuse for them, nor they for it.
    after = trail.append(record())
    assert after.stream_id != bad[0].stream_id
    after.wait(10)
    for ticket in bad:
        with pytest.raises(NotDurable):
            ticket.wait(0)


async def test_a_failed_sync_reaches_those_who_wait_already(trail: Journal, disk: Disk) -> None:
    disk.hang()
    disk.fails = OSError(errno.EIO, "Input/output error")
    tasks = [asyncio.create_task(trail.append(record()).durable()) for _ in range(3)]
    while not disk.reached.is_set():
        await asyncio.sleep(0.001)
    disk.free.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    disk.fails = None
    assert [type(item) for item in found] == [NotDurable] * 3


def test_close_makes_what_is_waited_for_durable(trail: Journal) -> None:
    tickets = [trail.append(record()) for _ in range(3)]
    trail.close()
    for ticket in tickets:
        ticket.wait(0)


def test_what_was_deleted_under_the_journal_is_not_on_the_disk(trail: Journal) -> None:
    path = trail.path
    assert path is not None
    ticket = trail.append(record())
    path.unlink()
    with pytest.raises(NotDurable, match="was deleted with its"):
        ticket.wait(10)


def test_a_journal_that_was_closed_while_its_disk_hung_keeps_nobody_waiting(trail: Journal, disk: Disk) -> None:
    found: list[object] = []
    disk.hang()

    def wait(ticket: Ticket) -> threading.Thread:
        thread = threading.Thread(target=lambda: found.append(_reason(ticket, 25)))
        thread.start()
        return thread

    threads = [wait(trail.append(record()))]
    assert disk.reached.wait(10)
    # Written after that sync began, so that it needs another one.
    threads.append(wait(trail.append(record())))
    until(lambda: len(trail._commits._waiters) == 2)
    trail.close()
    disk.free.set()
    for thread in threads:
        thread.join(30)
    assert found == [None, None]


# --- signal handlers, finalisers ---------------------------------------------------------------------------------------


def _reason(ticket: Ticket, timeout: float | None = None) -> str | None:
    try:
        ticket.wait(timeout)
    except NotDurable as error:
        return error.reason
    return None


def test_a_handler_inside_an_append_of_its_own_thread_is_refused(
    trail: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit needs the lock that the handler's own thread holds: a wait would never end."""
    earlier, found, write = trail.append(record()), [], os.write

    def interrupted(descriptor: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", write)
        signal.raise_signal(signal.SIGUSR1)
        return write(descriptor, data)

    def handler(signum: int, frame: object) -> None:
        found.append(_reason(earlier))
        try:
            trail.append(record("inside"))
        except Deferred:
            found.append("deferred")

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        monkeypatch.setattr(os, "write", interrupted)
        trail.append(record("outside")).wait(10)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert found == [REENTERED, "deferred"]


def test_a_handler_inside_a_wait_of_its_own_thread_waits_for_its_own_record(trail: Journal, disk: Disk) -> None:
    found: list[object] = []

    def handler(signum: int, frame: object) -> None:
        if disk.free.is_set():
            return
        disk.free.set()
        inner = trail.append(record("inside"))
        found.append(_reason(inner, 20))

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        disk.hang()
        ticket = trail.append(record("outside"))
        main = threading.main_thread().ident
        assert main is not None

        def interrupt() -> None:
            disk.reached.wait(10)
            # More than once: one that comes just before the main thread blocks is noticed only when that ends.
            while not disk.free.is_set():
                signal.pthread_kill(main, signal.SIGUSR1)
                disk.free.wait(0.01)

        thread = threading.Thread(target=interrupt)
        thread.start()
        ticket.wait(20)
        thread.join(10)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert found == [None]


def test_a_finaliser_in_the_journals_own_thread_is_refused(trail: Journal) -> None:
    """Garbage is collected in whatever thread allocates; that one would wait for itself."""
    found: list[object] = []

    def in_the_thread() -> None:
        if not found:
            found.append(_reason(trail.append(record("finaliser"))))

    trail.after_tick = in_the_thread
    trail.append(record()).wait(10)
    until(lambda: bool(found))
    assert found == [REENTERED]


def test_a_handler_while_its_own_thread_closes_the_journal_does_not_hang(trail: Journal, disk: Disk) -> None:
    """``close`` is at work with what a commit needs: refused, or told that the deadline passed."""
    found: list[object] = []

    def handler(signum: int, frame: object) -> None:
        found.append(_reason(last))

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        trail.append(record())
        last, real = trail.append(record()), disk.sync

        def interrupted(descriptor: int) -> None:
            disk.sync = real  # type: ignore[method-assign]
            signal.raise_signal(signal.SIGUSR1)
            real(descriptor)

        disk.sync = interrupted  # type: ignore[method-assign]
        trail.close()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert found == [REENTERED]
    last.wait(0)


_SIGNALLED = """
import faulthandler, pathlib, signal, sys, time
sys.path[:0] = [sys.argv[2]]
faulthandler.dump_traceback_later(50, exit=True)
from journals import journal, record
from opentelemetry.instrumentation.mcp_audit.journal.ticket import JournalError, NotDurable
trail = journal(pathlib.Path(sys.argv[1]), fsync="interval", fsync_interval=0.001, adopts=False)
trail.open()
counts = {"durable": 0, "not durable": 0, "not written": 0}
def handler(signum, frame):
    try:
        trail.append(record("handler")).wait(None)
        counts["durable"] += 1
    except NotDurable as error:
        assert error.reason.startswith("asked by a finaliser or signal handler"), error.reason
        counts["not durable"] += 1
    except JournalError:
        counts["not written"] += 1
    # One at a time: on a slow machine handlers would nest in handlers until the stack is full.
    signal.setitimer(signal.ITIMER_REAL, 0.003)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.003)
end = time.monotonic() + 4
while time.monotonic() < end:
    for _ in range(20):
        ticket = trail.append(record("main"))
    ticket.wait(None)
signal.signal(signal.SIGALRM, signal.SIG_IGN)
trail.close()
print(counts["durable"])
"""


def test_handlers_that_append_and_wait_at_any_moment_never_hang(tmp_path: Path) -> None:
    done = _run(_SIGNALLED, tmp_path)
    assert int(done[0]) > 20


# --- fork, the interpreter's end ---------------------------------------------------------------------------------------

_FORKED = """
import asyncio, faulthandler, os, pathlib, sys, threading
sys.path[:0] = [sys.argv[2]]
faulthandler.dump_traceback_later(50, exit=True)
from journals import journal, record
from opentelemetry.instrumentation.mcp_audit.journal.ticket import NotDurable
trail = journal(pathlib.Path(sys.argv[1]), fsync="interval", fsync_interval=0.01, adopts=False)
os.register_at_fork(after_in_child=trail.after_fork_in_child)
stop = threading.Event()
def noise():
    while not stop.is_set():
        trail.append(record("noise")).wait(30)
threads = [threading.Thread(target=noise) for _ in range(4)]
for thread in threads:
    thread.start()
def reason(work):
    try:
        work()
    except NotDurable as error:
        return error.reason
for _ in range(5):
    synced, unsynced = trail.append(record("one")), trail.append(record("two"))
    synced.wait(30)
    pid = os.fork()
    if pid == 0:
        sys.setswitchinterval(0.0001)
        said = [reason(ticket.wait) for ticket in (synced, unsynced)]
        said.append(reason(lambda: asyncio.run(unsynced.durable())))
        said.append(reason(trail.append(record("child")).wait))
        said.append(reason(lambda: asyncio.run(trail.append(record("child")).durable(30))))
        trail.close()
        os.write(1, (repr(said) + "\\n").encode())
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    unsynced.wait(30)
stop.set()
for thread in threads:
    thread.join()
trail.close()
"""


def test_a_ticket_from_before_a_fork_is_not_the_childs_and_new_ones_work(tmp_path: Path) -> None:
    assert _run(_FORKED, tmp_path) == [repr([FORK, FORK, FORK, None, None])] * 5


_FORKED_WHILE_WAITING = """
import faulthandler, os, pathlib, signal, sys
sys.path[:0] = [sys.argv[2]]
faulthandler.dump_traceback_later(50, exit=True)
from journals import journal, record
from opentelemetry.instrumentation.mcp_audit.journal import platform
from opentelemetry.instrumentation.mcp_audit.journal.ticket import NotDurable
import threading
trail = journal(pathlib.Path(sys.argv[1]), fsync="never", adopts=False, deadline=30)
os.register_at_fork(after_in_child=trail.after_fork_in_child)
trail.append(record("one")).wait(10)
go_on, real = threading.Event(), platform.sync_data
def sync(descriptor):
    os.kill(os.getpid(), signal.SIGUSR1)
    go_on.wait(20)
    real(descriptor)
pids = []
def handler(signum, frame):
    pids.append(os.fork())
    if pids[-1]:
        go_on.set()
signal.signal(signal.SIGUSR1, handler)
ticket = trail.append(record("two"))
platform.sync_data = sync
try:
    ticket.wait(None)
    said = "durable"
except NotDurable as error:
    said = error.reason
platform.sync_data = real
os.write(1, f"{said}\\n".encode())
if pids[-1] == 0:
    os._exit(0)
assert os.waitpid(pids[-1], 0)[1] == 0
trail.close()
"""


def test_a_wait_that_a_signal_handler_forks_ends_in_the_child_too(tmp_path: Path) -> None:
    assert sorted(_run(_FORKED_WHILE_WAITING, tmp_path)) == ["durable", "fork"]


_AT_THE_END = """
import atexit, faulthandler, os, pathlib, sys
sys.path[:0] = [sys.argv[2]]
faulthandler.dump_traceback_later(50, exit=True)
from journals import journal, record
from opentelemetry.instrumentation.mcp_audit.journal.ticket import NotDurable
trail = journal(pathlib.Path(sys.argv[1]), fsync=sys.argv[3], fsync_interval=60, adopts=False)
if sys.argv[4] == "running":
    trail.append(record("early")).wait(10)
def last():
    trail.append(record("atexit")).wait(None)
    os.write(1, b"atexit\\n")
atexit.register(last)
class Late:
    def __init__(self):
        self.keep = (trail, record("late"), sys.is_finalizing, os.write, NotDurable)
    def __del__(self):
        trail, item, is_finalizing, write, error = self.keep
        said = b"durable"
        try:
            trail.append(item).wait(None)
        except error as found:
            said = found.reason.encode()
        write(1, b"late %r %s\\n" % (is_finalizing(), said))
late = Late()
"""


@pytest.mark.parametrize("thread", ["running", "none"])
@pytest.mark.parametrize("fsync", ["interval", "never", "always"])
def test_at_the_interpreters_end(tmp_path: Path, fsync: str, thread: str) -> None:
    """An atexit handler waits, and a finaliser when no other thread runs any more: it syncs by itself."""
    said = _run(_AT_THE_END, tmp_path, fsync, thread)
    assert said == ["atexit", "late True durable"]


_FROZEN = """
import faulthandler, os, pathlib, sys, threading, time
sys.path[:0] = [sys.argv[2]]
faulthandler.dump_traceback_later(50, exit=True)
from journals import journal, record
from opentelemetry.instrumentation.mcp_audit.journal import platform
from opentelemetry.instrumentation.mcp_audit.journal.ticket import JournalError, NotDurable
trail = journal(pathlib.Path(sys.argv[1]), fsync="interval", fsync_interval=0.01, adopts=False, deadline=SECONDS)
trail.append(record("one")).wait(10)
reached = threading.Event()
# With names of its own: a frame that stays for ever would keep those of this program from being finalised.
own = {"real": platform.sync_data, "reached": reached, "threading": threading, "main": threading.get_ident()}
exec("def hang(descriptor):\\n"
     "    if threading.get_ident() == main: return real(descriptor)\\n"
     "    reached.set(); threading.Event().wait()\\n", own)
platform.sync_data = own["hang"]
trail.append(record("two"))
reached.wait(10)
time.sleep(0.2)
class Late:
    def __init__(self):
        self.keep = (trail, record("late"), sys.is_finalizing, os.write, NotDurable, JournalError)
    def __del__(self):
        trail, item, is_finalizing, write, not_durable, error = self.keep
        said = b"durable"
        try:
            trail.append(item).wait(None)
        except not_durable:
            said = b"not durable"
        except error:
            said = b"not written"
        write(1, b"%r %s\\n" % (is_finalizing(), said))
late = Late()
"""


@pytest.mark.parametrize(("deadline", "expected"), [("0.1", "True not written"), ("5", "True durable")])
def test_at_the_end_of_an_interpreter_whose_thread_was_stopped_in_a_sync(
    tmp_path: Path, deadline: str, expected: str
) -> None:
    """What that thread holds will never be let go. With the short deadline append sees that the disk hangs."""
    assert _run(_FROZEN.replace("SECONDS", deadline), tmp_path) == [expected]


def _run(script: str, place: Path, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, str(place), _HELPERS, *arguments],
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()
