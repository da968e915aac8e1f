# SPDX-License-Identifier: Apache-2.0
"""Real PostgreSQL and MariaDB servers for a test: a cluster of their own in a temporary directory, on a free port.

The programs come from Debian's packages `postgresql` and `mariadb-server`. Both refuse to run as root, so as root they are
run as `nobody`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import Any

import pytest

_START_SECONDS = 60


class Server:
    """A database server that can be killed and started again. ``url`` names an empty database."""

    def __init__(self, url: str, command: list[str], ready: Callable[[], bool], log: Path) -> None:
        self.url = url
        self._command = command
        self._ready = ready
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the server that runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(_unprivileged(self._command), stdout=log, stderr=log)
        until = time.monotonic() + _START_SECONDS
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise RuntimeError(f"the server did not come up:\n{self._log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.1)

    def kill(self, how: int = signal.SIGKILL) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(60)


@contextmanager
def postgresql() -> Iterator[Server]:
    """A running PostgreSQL."""
    initdb, postgres = program("initdb", "postgresql"), program("postgres", "postgresql")
    with _directory() as place:
        data, port = place / "data", free_port()
        _run([initdb, "-D", str(data), "-U", "audit", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"])
        command = [postgres, "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(place)]

        def ready() -> bool:
            probe = [program("pg_isready", "postgresql"), "-h", "127.0.0.1", "-p", str(port), "-q"]
            return subprocess.run(probe, check=False).returncode == 0

        server = Server(f"postgresql://audit@127.0.0.1:{port}/postgres", command, ready, place / "log")
        server.start()
        try:
            yield server
        finally:
            server.kill(signal.SIGINT)


@contextmanager
def mariadb() -> Iterator[Server]:
    """A running MariaDB."""
    install, mariadbd = program("mariadb-install-db", "mariadb-server"), program("mariadbd", "mariadb-server")
    with _directory() as place:
        data, port = place / "data", free_port()
        _run(
            [
                install,
                "--no-defaults",
                f"--datadir={data}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ]
        )
        init = place / "init.sql"
        init.write_text(
            "CREATE DATABASE IF NOT EXISTS audit CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;\n"
            "CREATE USER IF NOT EXISTS 'audit'@'127.0.0.1' IDENTIFIED BY 'p@ss:word';\n"
            "GRANT ALL ON *.* TO 'audit'@'127.0.0.1';\n"
        )
        command = [
            mariadbd,
            "--no-defaults",
            f"--datadir={data}",
            f"--port={port}",
            "--bind-address=127.0.0.1",
            f"--socket={place / 'socket'}",
            f"--pid-file={place / 'pid'}",
            f"--init-file={init}",
            "--skip-name-resolve",
            "--max-allowed-packet=64M",
        ]
        server = Server(
            f"mysql://audit:p%40ss%3Aword@127.0.0.1:{port}/audit", command, lambda: _answers(port), place / "log"
        )
        server.start()
        try:
            yield server
        finally:
            server.kill(signal.SIGTERM)


def free_port() -> int:
    """A TCP port on loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            # A server that is up greets first.
            return bool(connection.recv(1))
    except OSError:
        return False


def program(name: str, package: str) -> str:
    """Where a program of a server is; absent, the test skips, under CI it fails."""
    found = shutil.which(name) or next(iter(sorted(glob(f"/usr/lib/postgresql/*/bin/{name}"), reverse=True)), None)
    if found is None:
        said = f"{name} is not installed (apt-get install {package})"
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)
    return found


@contextmanager
def _directory() -> Iterator[Path]:
    # Not pytest's: that is below a directory that only we may enter.
    place = Path(tempfile.mkdtemp(prefix="mcp-audit-db-"))
    try:
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(place, nobody.pw_uid, nobody.pw_gid)
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _run(command: list[str]) -> None:
    done = subprocess.run(_unprivileged(command), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def _unprivileged(command: list[str]) -> list[str]:
    if os.geteuid() != 0:
        return command
    return [program("setpriv", "util-linux"), "--reuid=nobody", "--regid=nogroup", "--clear-groups", *command]


def empty(engine: Any) -> None:
    """Drop what the sink made."""
    from sqlalchemy import text

    with engine.begin() as connection:
        for name in ("audit_log", "audit_conflict", "audit_rejected", "audit_schema_version"):
            connection.execute(text(f"DROP TABLE IF EXISTS {name}"))
