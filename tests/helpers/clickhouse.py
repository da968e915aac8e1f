# SPDX-License-Identifier: Apache-2.0
"""A ClickHouse for a test: the real engine behind ``clickhouse_shim.py``, as a process that can be killed and started again."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from collector import CONFIG, Collector, free_port

USER, PASSWORD, DATABASE = "audit", "p@ss:word/1", "audit"
_SHIM = Path(__file__).with_name("clickhouse_shim.py")
_START_SECONDS = 60
# The waits of a test: what is played is the same.
_QUICK = """
exporters:
  clickhouse/audit:
    retry_on_failure: {initial_interval: 200ms, max_interval: 1s}
    sending_queue: {batch: {flush_timeout: 200ms}}
"""


class Refused(Exception):
    """The engine's own words."""


class ClickHouse:
    """``env`` are the settings of ``sinks/clickhouse.yaml`` for it, ``url`` is what our commands take."""

    def __init__(self, home: Path) -> None:
        self._home, self._port = home, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = f"http://127.0.0.1:{self._port}"
        self.env = {
            "AUDIT_CLICKHOUSE_ENDPOINT": self.endpoint,
            "AUDIT_CLICKHOUSE_DATABASE": DATABASE,
            "AUDIT_CLICKHOUSE_USER": USER,
            "AUDIT_CLICKHOUSE_PASSWORD": PASSWORD,
        }
        self.url = f"clickhouse://{USER}:{urllib.parse.quote(PASSWORD, safe='')}@127.0.0.1:{self._port}/{DATABASE}"

    def start(self, password: str = PASSWORD) -> None:
        """Start it and return when it answers. ``password`` is the one that it takes."""
        self._home.mkdir(parents=True, exist_ok=True)
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(_SHIM), str(self._port), str(self._home / "data")],
                env={**os.environ, "CLICKHOUSE_USER": USER, "CLICKHOUSE_PASSWORD": password},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise RuntimeError(f"the engine did not come up:\n{(self._home / 'log').read_text(errors='replace')}")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL, and gone when this returns."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(30)

    def make(self) -> None:
        """The database with what ``mcp_audit.sql`` makes, empty."""
        self.query(f"DROP DATABASE IF EXISTS {DATABASE} SYNC", database="default")
        self.query(f"CREATE DATABASE {DATABASE}", database="default")
        for statement in statements((CONFIG / "clickhouse" / "mcp_audit.sql").read_text()):
            self.query(statement)

    def query(self, sql: str, database: str = DATABASE, **parameters: str) -> str:
        """The answer to one statement. Raises Refused."""
        named = {"database": database, **{f"param_{name}": value for name, value in parameters.items()}}
        request = urllib.request.Request(f"{self.endpoint}/?{urllib.parse.urlencode(named)}", sql.encode())
        request.add_header("X-ClickHouse-User", USER)
        request.add_header("X-ClickHouse-Key", PASSWORD)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(error.read().decode()) from None

    def count(self, of: str = "mcp_audit_records") -> int:
        """How many rows there are in a table or view."""
        return int(self.query(f"SELECT count() FROM {of}"))

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/ping", timeout=5) as answer:
                return bool(answer.read() == b"Ok.\n")
        except OSError:
            return False


@contextmanager
def clickhouse(home: Path) -> Iterator[ClickHouse]:
    """A running engine with our table."""
    if importlib.util.find_spec("chdb") is None:
        said = "chdb, the engine of ClickHouse, is not installed (dependency group clickhouse)"
        if os.environ.get("CI") == "true":
            pytest.fail(said, pytrace=False)
        pytest.skip(said)
    server = ClickHouse(home)
    server.start()
    try:
        server.make()
        yield server
    finally:
        server.kill()


def collecting(home: Path, env: Mapping[str, str]) -> Collector:
    """A Collector with the archive and ``sinks/clickhouse.yaml``, which waits for less long than there."""
    home.mkdir(parents=True, exist_ok=True)
    quick = home / "quick.yaml"
    quick.write_text(_QUICK)
    return Collector(home, "audit.yaml", "sinks/file.yaml", "sinks/clickhouse.yaml", quick, env=env)


def statements(text: str) -> list[str]:
    """The statements of a file of SQL, without its comments (which are whole lines, or behind the text of one)."""
    bare = re.sub(r"(^|\s)-- .*", "", text, flags=re.M)
    return [one.strip() for one in bare.split(";") if one.strip()]
