# SPDX-License-Identifier: Apache-2.0
"""A real MCP server over stdio under `otel-mcp-audit run`, which delivers, and a client that calls it until it is told to stop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

_SERVER = Path(__file__).parents[1] / "faults" / "server.py"
_HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "load", "version": "1"}}
_SECONDS = 60
# Between a call's answer and the next call: a load of some fifty calls a second, which leaves the processors to the others.
_PAUSE = 0.015


class LoadedServer:
    """``answered``: how many tool calls were answered so far. ``journal`` is its directory."""

    def __init__(self, home: Path, name: str, endpoint: str) -> None:
        home.mkdir(parents=True)
        self.journal, self.answered = home / "journal", 0
        self._log = home / "stderr"
        self._over = threading.Event()
        env = {"OTEL_SERVICE_NAME": name, "OTEL_MCP_AUDIT_DIR": str(self.journal)}
        # At its end it delivers what is left, however busy the machine is.
        env |= {"OTEL_MCP_AUDIT_OTLP_ENDPOINT": endpoint, "OTEL_MCP_AUDIT_SHUTDOWN_MS": "20000"}
        program = [sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli", "run", "--"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*program, sys.executable, str(_SERVER)],
                env={**os.environ, **env},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self._client = threading.Thread(target=self._call_until_over, daemon=True)
        self._client.start()

    def __enter__(self) -> LoadedServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._over.set()
            self._process.kill()
            self._process.wait(_SECONDS)

    def end(self) -> int:
        """No call more, and the end of a session as a client ends it; the server's exit code."""
        self._over.set()
        self._client.join(_SECONDS)
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(_SECONDS)

    def stderr(self) -> str:
        """What it said so far."""
        return self._log.read_text(errors="replace")

    def _call_until_over(self) -> None:
        if self._ask(0, "initialize", _HELLO) is None:
            return
        self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})
        while not self._over.is_set():
            arguments = {"value": f"call {self.answered} {'x' * 200}"}
            answer = self._ask(self.answered + 1, "tools/call", {"name": "echo", "arguments": arguments})
            if answer is None:
                return  # it is gone: whoever waits for answers will say so
            assert "result" in answer, answer
            self.answered += 1
            self._over.wait(_PAUSE)

    def _ask(self, number: int, method: str, params: dict[str, Any]) -> dict[str, Any] | None:
        """The answer to one request; None when the server ended instead."""
        assert self._process.stdout is not None
        try:
            self._write({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        except BrokenPipeError:
            return None
        for line in self._process.stdout:
            answer: dict[str, Any] = json.loads(line)
            if answer.get("id") == number:
                return answer
        return None

    def _write(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()
