# SPDX-License-Identifier: Apache-2.0
"""A store written by other processes says what it would have said here, and outlives each of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import databases
import pytest
from journals import until
from otlp_requests import edited, joined, lines
from sqlalchemy import text

from opentelemetry.instrumentation.mcp_audit.sink.engine import engine_of
from opentelemetry.instrumentation.mcp_audit.sink.migrate import migrate
from opentelemetry.instrumentation.mcp_audit.sink.received import Batch, Rejected, Undecodable
from opentelemetry.instrumentation.mcp_audit.sink.sql import SqlStore, sql_store
from opentelemetry.instrumentation.mcp_audit.sink.store import Away, Kept
from opentelemetry.instrumentation.mcp_audit.sink.writers import Writers

pytestmark = [
    pytest.mark.xdist_group("databases"),
    pytest.mark.timeout(180),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return lines(tmp_path_factory.mktemp("journal"), 30)


@pytest.fixture
def url(postgresql: databases.Server) -> str:
    engine = engine_of(postgresql.url)
    databases.empty(engine)
    migrate(engine)
    engine.dispose()
    return postgresql.url


@contextmanager
def writers(url: str, processes: int = 2) -> Iterator[Writers]:
    made = Writers(SqlStore(engine_of(url)), partial(sql_store, url), processes)
    try:
        yield made
    finally:
        made.close()


def batch(of: list[str]) -> Batch:
    return Batch(joined(of), "json")


def under(pid: int) -> set[int]:
    """The processes that this one started, and those that they did."""
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found |= {int(child)} | under(int(child))
    return found


def test_what_is_said_of_a_batch(url: str, made: list[str]) -> None:
    with writers(url) as store:
        assert store.write(batch(made[:20])) == Kept(stored=20)
        assert store.write(batch([*made[10:], edited(made[0], gen_ai_tool_name="x")])) == Kept(10, 10, 1)
        with pytest.raises(Undecodable, match="JSON without a list resourceLogs"):
            store.write(Batch(b"[]", "json"))
        store.reject(Rejected("no OTLP", "what came"))
        store.ping()
        assert store.tend() == []
        # The URL may hold a password, and others see a command line.
        assert [pid for pid in under(os.getpid()) if "multiprocessing" in words(pid) and url in words(pid)] == []
        assert store.name == SqlStore(engine_of(url)).name
    engine = engine_of(url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*), count(DISTINCT line) FROM audit_log")).one() == (30, 30)
        assert connection.execute(text("SELECT reason FROM audit_rejected")).all() == [("no OTLP",)]
    engine.dispose()


def test_a_database_that_is_away(url: str, postgresql: databases.Server, made: list[str]) -> None:
    with writers(url, 1) as store:
        postgresql.kill()
        with pytest.raises(Away, match="OperationalError"):
            store.write(batch(made))
        postgresql.start()
        assert store.write(batch(made)) == Kept(stored=30)


def test_a_writer_that_is_killed(url: str, made: list[str]) -> None:
    with writers(url, 1) as store:
        assert store.write(batch(made[:10])) == Kept(stored=10)
        # What forks them has the same command line, and children.
        (writer,) = (pid for pid in under(os.getpid()) if "multiprocessing.forkserver" in words(pid) and not under(pid))
        os.kill(writer, signal.SIGKILL)
        with pytest.raises(Away, match=r"a writer process ended with exit code -9; another one was started"):
            store.write(batch(made[10:20]))
        assert store.write(batch(made)) == Kept(stored=20, repeated=10)


def words(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode()


class Broken:
    """A store with a defect, by a fake: ours has none that can be shown."""

    name = "broken"

    def write(self, batch: Batch) -> Kept:
        raise KeyError("what is missing")

    def close(self) -> None: ...


def test_a_defect_is_told_with_its_place(url: str) -> None:
    store = Writers(SqlStore(engine_of(url)), Broken, 1)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match=r"(?s)in a writer process:.*test_writers.py.*KeyError: 'what is missing'"):
        store.write(Batch(b"{}", "json"))
    store.close()


PROGRAM = """
import sys
from functools import partial
from opentelemetry.instrumentation.mcp_audit.sink.engine import engine_of
from opentelemetry.instrumentation.mcp_audit.sink.sql import SqlStore, sql_store
from opentelemetry.instrumentation.mcp_audit.sink.writers import Writers
if __name__ == "__main__":
    url = sys.argv[1]
    store = Writers(SqlStore(engine_of(url)), partial(sql_store, url), 2)
    from opentelemetry.instrumentation.mcp_audit.sink.received import Batch
    store.write(Batch(b"{}", "json"))
    store.write(Batch(b"{}", "json"))
    print("ready", flush=True)
    sys.stdin.readline()
    store.close()
    print("closed", flush=True)
"""


@pytest.mark.parametrize("how", ["killed", "closed"])
def test_none_stays_behind(url: str, tmp_path: Path, how: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), url]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdin is not None
    assert process.stdout.readline() == "ready\n"
    started = under(process.pid)
    assert len(started) >= 2
    if how == "killed":
        process.kill()
    else:
        # As a service manager or a terminal does it, to each process there is: a batch that is under way is still answered.
        for pid in started:
            os.kill(pid, signal.SIGTERM)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "closed\n"
    process.communicate(timeout=30)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started), 20)
