# SPDX-License-Identifier: Apache-2.0
"""A raw JSON-RPC client over a server's stdin and stdout, for tests that count answers to the last byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

SERVER = Path(__file__).with_name("server.py")
EXPORTERS_OFF = {f"OTEL_{name}_EXPORTER": "none" for name in ("TRACES", "METRICS", "LOGS")}
_SECONDS = 60


class StdioServer:
    """A server process under ``opentelemetry-instrument`` whose answers are collected by a thread."""

    def __init__(self, directory: Path, environment: Mapping[str, str] | None = None, server: Path = SERVER) -> None:
        self.directory = directory
        self.answers: dict[int, Any] = {}
        self.strangers: list[bytes] = []
        self._news = threading.Condition()
        launcher = Path(sys.executable).with_name("opentelemetry-instrument")
        self.process = subprocess.Popen(
            [str(launcher), sys.executable, str(server)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **EXPORTERS_OFF, "OTEL_MCP_AUDIT_DIR": str(directory), **(environment or {})},
        )
        self.stderr = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._errors = threading.Thread(target=self._read_errors, daemon=True)
        self._errors.start()
        self.send(
            0,
            "initialize",
            {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
        )
        self.wait_for(0)
        self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def __enter__(self) -> StdioServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(self, number: int, method: str, params: dict[str, Any]) -> None:
        self._write({"jsonrpc": "2.0", "id": number, "method": method, "params": params})

    def call(self, number: int, tool: str, arguments: dict[str, Any]) -> Any:
        """One tool call and its answer."""
        self.send(number, "tools/call", {"name": tool, "arguments": arguments})
        return self.wait_for(number)

    def wait_for(self, number: int) -> Any:
        with self._news:
            if not self._news.wait_for(lambda: number in self.answers, _SECONDS):
                raise TimeoutError(f"no answer to {number}; stderr: {self.stderr.decode(errors='replace')}")
        return self.answers[number]

    def wait_for_count(self, count: int) -> None:
        with self._news:
            if not self._news.wait_for(lambda: len(self.answers) >= count, _SECONDS):
                raise TimeoutError(f"{len(self.answers)} answers, not {count}")

    def kill(self) -> None:
        """SIGKILL, then read what had been answered by then."""
        self.process.kill()
        self.process.wait(_SECONDS)
        self._reader.join(_SECONDS)

    def close(self) -> int:
        """End of input, as a client ends a session. Returns the exit code."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass  # killed before
        code = self.process.wait(_SECONDS)
        self._reader.join(_SECONDS)
        self._errors.join(_SECONDS)
        return code

    def _write(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                self.strangers.append(line)
                continue
            if "id" in message:
                with self._news:
                    self.answers[message["id"]] = message
                    self._news.notify_all()

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.stderr += line
