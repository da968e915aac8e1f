# SPDX-License-Identifier: Apache-2.0
"""A raw JSON-RPC client over stdio, written for these tests and using no MCP SDK.

It is strict where a client library is kind: every line that the server prints on its standard output must be one
whole JSON-RPC 2.0 message, whenever it comes, or `Impure` is raised with the line. Every read has a time limit.
"""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

PROTOCOL_VERSION = "2025-06-18"  # spoken by every SDK from mcp 1.10 on
EXIT_SECONDS = 10.0

Message = dict[str, Any]


class Impure(AssertionError):
    """The server printed something on its standard output that is no JSON-RPC message."""


class NoAnswer(AssertionError):
    """The server did not answer, or did not end, within the time limit."""


def parse_message(line: bytes) -> Message:
    """One line of the server's output as a JSON-RPC 2.0 message; raises `Impure` for anything else."""
    try:
        message = json.loads(line)
    except ValueError as error:
        raise Impure(f"not JSON on stdout: {line[:500]!r}") from error
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise Impure(f"not a JSON-RPC 2.0 message on stdout: {line[:500]!r}")
    is_call = isinstance(message.get("method"), str) and "result" not in message and "error" not in message
    is_answer = "method" not in message and "id" in message and ("result" in message) != ("error" in message)
    if not (is_call or is_answer):
        raise Impure(f"neither request, notification nor response on stdout: {line[:500]!r}")
    return message


@dataclass(frozen=True, slots=True)
class Ending:
    """How the server ended: its exit code (negative: killed by that signal), and all it said on stderr."""

    returncode: int
    stderr: str
    killed: bool


@dataclass
class Wire:
    """A server process and the conversation with it. Use as a context manager; `ending` is set when it is left."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    timeout: float = 60.0
    ending: Ending | None = None
    messages: list[Message] = field(default_factory=list)
    _next_id: int = 1

    def __enter__(self) -> Wire:
        self._stderr = (self.cwd / f"stderr-{time.monotonic_ns()}.txt").open("w+b")
        self._process = subprocess.Popen(
            list(self.argv),
            env=dict(self.env),
            cwd=self.cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
        )
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()  # b"" is the end of the output
        self._reader = threading.Thread(target=self._read, name="wire-reader", daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the server's input, wait for it to end, kill it if it does not, and read the rest of its output."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            # What was still buffered for a server that is gone; the exit code below tells the story.
            pass
        killed = False
        try:
            self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            killed = True
            self._process.kill()
            self._process.wait(EXIT_SECONDS)
        self._reader.join(EXIT_SECONDS)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._stderr.seek(0)
        self.ending = Ending(self._process.returncode, self._stderr.read().decode("utf-8", "replace"), killed)
        self._stderr.close()
        if error is None:
            while line := self._take(EXIT_SECONDS):
                self.messages.append(parse_message(line))

    def initialize(self) -> Message:
        """The handshake; returns the server's result (`protocolVersion`, `serverInfo`, `capabilities`)."""
        answer = self.request(
            "initialize",
            {
                "protocolVersion": PROTOCOL_VERSION,
                "capabilities": {},
                "clientInfo": {"name": "wire", "version": "1.0"},
            },
        )
        result = answer.get("result")
        if not isinstance(result, dict) or not isinstance(result.get("protocolVersion"), str):
            raise AssertionError(f"no handshake: {answer}")
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return result

    def request(self, method: str, params: Mapping[str, Any]) -> Message:
        """Send a request with the next whole number as its id and return the response, whole."""
        id_ = self._next_id
        self._next_id += 1
        self.send({"jsonrpc": "2.0", "id": id_, "method": method, "params": dict(params)})
        deadline = time.monotonic() + self.timeout
        while True:
            line = self._take(deadline - time.monotonic())
            if not line:
                raise NoAnswer(f"the server's output ended before the answer to {method} ({id_})\n{self._said()}")
            message = parse_message(line)
            self.messages.append(message)
            if "method" in message:
                self._refuse(message)
            elif message["id"] == id_:
                return message

    def send(self, message: Message) -> None:
        """Write one message, unanswered."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def _refuse(self, message: Message) -> None:
        # This client offers no roots, sampling or elicitation; a request for them still deserves its answer.
        if "id" in message:
            self.send({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "not offered"}})

    def _take(self, seconds: float) -> bytes:
        try:
            return self._lines.get(timeout=max(seconds, 0.0))
        except queue.Empty:
            raise NoAnswer(f"no line from the server within {self.timeout:g} s\n{self._said()}") from None

    def _said(self) -> str:
        name = self._stderr.name
        return Path(str(name)).read_bytes()[-4000:].decode("utf-8", "replace")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(b"")
