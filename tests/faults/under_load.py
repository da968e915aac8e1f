# SPDX-License-Identifier: Apache-2.0
"""Servers with calls under way, and their sudden ends: one over stdio, or one command that serves by several processes."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from stdio import EXPORTERS_OFF, StdioServer

SERVER = Path(__file__).with_name("victims.py")
PREFIX = "call-"
Target = Literal["worker", "master"]
_SECONDS = 60
_PIPELINED = {"work": 200, "fork": 40}
_CLIENTS = 12
# How long a tool takes at most. Short enough for many answers a second, long enough for calls in flight at any moment.
_MILLISECONDS = 100
# Helpers that multiprocessing starts; they serve nothing.
_NO_SERVERS = (b"resource_tracker", b"forkserver")


class Victim(Protocol):
    """A started server, in one or more processes, with calls under way."""

    @property
    def answered(self) -> dict[int, int]:
        """The numbers of the calls answered so far, and the pid of the process that did the work."""

    def wait_for_count(self, count: int, seconds: float = _SECONDS) -> None:
        """Return when so many calls were answered, or when that can no longer happen. Raises TimeoutError."""

    def strike(self, target: Target, chance: random.Random) -> int:
        """Kill one of several processes, the rest goes on; how many were killed (0 where there is only one)."""

    def kill(self) -> int:
        """Kill what is left; how many processes that was."""

    def trouble(self) -> list[str]:
        """What it said that no server should say. After its end."""


class OverStdio:
    """One server over stdio with many calls in its pipe."""

    def __init__(self, directory: Path, numbers: Iterator[int], chance: random.Random, tool: str, began: Path) -> None:
        self._server = StdioServer(directory, {"MCP_AUDIT_TEST_BEGAN": str(began)}, SERVER)
        self._calls = _PIPELINED[tool]
        for _ in range(self._calls):
            number = next(numbers)
            self._server.send(number, "tools/call", params(tool, number, chance.randrange(_MILLISECONDS)))

    @property
    def answered(self) -> dict[int, int]:
        return {n: _pid(answer) for n, answer in list(self._server.answers.items()) if n and "result" in answer}

    def wait_for_count(self, count: int, seconds: float = _SECONDS) -> None:
        # The handshake was answered too. A kill behind the last answer has nothing in flight to lose.
        self._server.wait_for_count(1 + min(count, self._calls - 5))

    def strike(self, target: Target, chance: random.Random) -> int:
        return 0

    def kill(self) -> int:
        if self._server.process.poll() is not None:
            return 0
        self._server.kill()
        return 1

    def trouble(self) -> list[str]:
        strangers = [f"on stdout, and no protocol: {line!r}" for line in self._server.strangers]
        return strangers + _bad_words(self._server.stderr.decode(errors="replace"))


class OverHttp:
    """One command that serves on ports, by one process or several, and threads that call it until it is gone."""

    def __init__(
        self,
        command: list[str],
        ports: list[int],
        numbers: Iterator[int],
        chance: random.Random,
        began: Path,
        env: Mapping[str, str],
        *,
        padding: int = 0,
        first: bool = False,
    ) -> None:
        """``first``: the process that starts the others is to make a call of its own before it does."""
        self._first = [next(numbers)] if first else []
        if self._first:
            env = {**env, "MCP_AUDIT_TEST_FIRST": str(self._first[0])}
        launcher = Path(sys.executable).with_name("opentelemetry-instrument")
        self._errors = began.parent / f"stderr-{ports[0]}-{time.monotonic_ns()}"
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [str(launcher), sys.executable, *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd=SERVER.parent,
                start_new_session=True,
                env={**os.environ, **EXPORTERS_OFF, **env, "MCP_AUDIT_TEST_BEGAN": str(began)},
            )
        self._numbers, self._padding = numbers, padding
        self._news = threading.Condition()
        self._answered: dict[int, int] = {}
        self._killed: set[int] = set()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(ports[turn % len(ports)], chance.random()), daemon=True)
            for turn in range(_CLIENTS)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def answered(self) -> dict[int, int]:
        with self._news:
            # Whoever answers was started by a process whose own call was answered before.
            return {**self._answered, **(dict.fromkeys(self._first, self.process.pid) if self._answered else {})}

    def wait_for_count(self, count: int, seconds: float = _SECONDS) -> None:
        deadline = time.monotonic() + seconds
        with self._news:
            while len(self._answered) < count and self._alive():
                if time.monotonic() > deadline:
                    if self.process.pid in self._killed:
                        return  # workers without their master end, or serve on: both are what such servers do
                    raise TimeoutError(f"{len(self._answered)} answers, not {count}: {self.stderr()[-2000:]}")
                self._news.wait(0.2)

    def strike(self, target: Target, chance: random.Random) -> int:
        alive = self._alive()
        # Its workers may be of any age: one that answers, or one that was started a moment ago in another's place.
        chosen = [self.process.pid] if target == "master" else [pid for pid in alive if pid != self.process.pid]
        chosen = [pid for pid in chosen if pid in alive]
        if len(alive) < 2 or not chosen:
            return 0
        pid = chance.choice(chosen)
        os.kill(pid, signal.SIGKILL)
        self._killed.add(pid)  # it may look alive for a moment yet
        return 1

    def end(self) -> int:
        """Stop calling, let what is in flight be answered, and end the server as a supervisor does; its exit code."""
        self._stop.set()
        for thread in self._threads:
            thread.join(_SECONDS)
        self.process.terminate()
        return self.process.wait(_SECONDS)

    def kill(self) -> int:
        """Only who is known to have served counts, not a master that forwards nothing."""
        with self._news:
            served = set(self._answered.values())
        alive = [pid for pid in self._alive() if pid in served]
        # The session is ours: its group holds the command that was started here and what it forked.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self._stop.set()
        self.process.wait(_SECONDS)
        for thread in self._threads:
            thread.join(_SECONDS)
        return len(alive)

    def stderr(self) -> str:
        return self._errors.read_text(errors="replace")

    def trouble(self) -> list[str]:
        return _bad_words(self.stderr())

    def _alive(self) -> list[int]:
        """The processes of this command that live."""
        found = []
        for place in Path("/proc").iterdir():
            if not place.name.isdigit() or int(place.name) in self._killed:
                continue
            with contextlib.suppress(OSError):
                # Fields 3 and 5 of proc(5) stat, behind the name: a zombie is as dead as it gets, although it has a group.
                state, _, group = (place / "stat").read_text().rpartition(")")[2].split()[:3]
                ours = int(group) == self.process.pid and state != "Z"
                if ours and not any(word in (place / "cmdline").read_bytes() for word in _NO_SERVERS):
                    found.append(int(place.name))
        return sorted(found)

    def _call(self, port: int, seed: float) -> None:
        chance = random.Random(seed)
        connection: http.client.HTTPConnection | None = None
        while not self._stop.is_set():
            number = next(self._numbers)
            try:
                if connection is not None and chance.random() < 0.2:
                    connection.close()  # the next one may be another worker's
                    connection = None
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
                padding = chance.randint(0, self._padding)
                pid = _ask(connection, params("work", number, chance.randrange(_MILLISECONDS), padding))
            except (OSError, http.client.HTTPException, ValueError):
                if connection is not None:
                    connection.close()
                connection = None
                self._stop.wait(0.05)  # it is not up yet, or it was killed
                continue
            with self._news:
                self._answered[number] = pid
                self._news.notify_all()
        if connection is not None:
            connection.close()


def params(tool: str, number: int, milliseconds: int, padding: int = 0) -> dict[str, Any]:
    """A call that says its number twice: to the tool, and as the caller's own id, which even ``abandoned`` tells."""
    arguments = {"number": number, "milliseconds": milliseconds, **({"padding": "x" * padding} if padding else {})}
    return {"name": tool, "arguments": arguments, "_meta": {"x-request-id": f"{PREFIX}{number}"}}


def number_of(record: Mapping[str, Any]) -> int:
    """The number of the call that a record is of."""
    return int(str(record["mcp_audit.request.id"]).removeprefix(PREFIX))


def _ask(connection: http.client.HTTPConnection, call: Mapping[str, Any]) -> int:
    """The pid of the process that answered the call; ValueError for any answer but a result of this one."""
    number = call["arguments"]["number"]
    message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": call}
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2025-06-18",
    }
    connection.request("POST", "/mcp", json.dumps(message), headers)
    answer = json.loads(connection.getresponse().read())
    if answer.get("id") != number or "result" not in answer:
        raise ValueError(f"no result of {number}: {answer}")
    return _pid(answer)


def _pid(answer: Mapping[str, Any]) -> int:
    return int(answer["result"]["content"][0]["text"])


def _bad_words(stderr: str) -> list[str]:
    """Lost records are said on stderr: under a disk with room, none may be."""
    return [line for line in stderr.splitlines() if "AUDIT RECORD" in line or ("mcp_audit" in line and "Error" in line)]
