# SPDX-License-Identifier: Apache-2.0
"""The two wires: chunks of bytes into a server process, answers out of it, and how much memory it has."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any, Protocol

SERVER = Path(__file__).with_name("server.py")
_SECONDS = 60
_PATIENCE = 5  # seconds for an answer over HTTP: some bodies get none
# Where Python puts an object's address into a text.
_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
INITIALIZE = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "fuzz", "version": "1"},
}

_PREFIX = "io.modelcontextprotocol/"
ENVELOPE = {_PREFIX + "protocolVersion": "2026-07-28", _PREFIX + "clientCapabilities": {}}


class Wire(Protocol):
    """A server that takes chunks."""

    process: subprocess.Popen[bytes]

    def exchange(self, chunks: list[bytes]) -> list[str]:
        """Send the chunks; what came back for all of them, in an order that says nothing. EOFError: the server ended."""

    def close(self) -> int:
        """End it as a client does; its exit code."""


def start(kind: str, transport: str, directory: Path, port: int = 0) -> subprocess.Popen[bytes]:
    """A server process of ``kind`` ``bare`` or ``audited``."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environment |= {"OTEL_MCP_AUDIT_DIR": str(directory), "PYTHONHASHSEED": "0"}
    return subprocess.Popen(
        [sys.executable, str(SERVER), kind, transport, str(port)],
        stdin=subprocess.PIPE if transport == "stdio" else subprocess.DEVNULL,
        stdout=subprocess.PIPE if transport == "stdio" else subprocess.DEVNULL,
        stderr=(directory / f"{kind}.stderr").open("wb"),
        env=environment,
    )


def resident(process: subprocess.Popen[bytes]) -> int:
    """Bytes of memory that the process holds now."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def _left_open(chunk: bytes) -> bool:
    """Whether a chunk goes without its line break, and into one line with the next: one in fifty, always the same."""
    return zlib.crc32(chunk) % 50 == 0


def normal(text: str) -> str:
    return _ADDRESS.sub("0x", text)


class Stdio:
    """Chunks are lines; a marker after them tells that everything before it has been read."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.process = start(kind, "stdio", directory)
        self.markers = 0
        self._lines: list[bytes] = []
        self._news = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.exchange([message(0, "initialize", INITIALIZE), message(None, "notifications/initialized", {})], ["0"])

    def exchange(self, chunks: list[bytes], awaited: list[str] | None = None) -> list[str]:
        assert self.process.stdin is not None
        self.markers += 1
        marker = f"marker-{self.markers}"
        # The line break before the marker ends a line that a chunk left open.
        end = b"\n" + message(marker, "ping", {}) + b"\n"
        try:
            lines = b"".join(chunk + (b"" if _left_open(chunk) else b"\n") for chunk in chunks) + end
            # In two writes, so that the server reads half a line and has to wait for the rest.
            for part in (lines[: len(lines) // 2], lines[len(lines) // 2 :]):
                self.process.stdin.write(part)
                self.process.stdin.flush()
        except BrokenPipeError:
            raise EOFError from None
        quiet, found = 0, -1
        with self._news:
            deadline = time.monotonic() + _SECONDS
            # Tools run beside the loop that reads: after the marker's answer, what is still coming is waited for.
            while quiet < 3:
                if self._ended:
                    raise EOFError
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no answer to {marker}")
                arrived = any(b'"%s"' % marker.encode() in line for line in self._lines[-200:])
                quiet = quiet + 1 if arrived and len(self._lines) == found else 0
                found = len(self._lines)
                self._news.wait(0.01 if arrived else 1.0)
            lines, self._lines = self._lines, []
        return [normal(line.decode(errors="replace")) for line in lines]

    def close(self) -> int:
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass  # it ended before
        code = self.process.wait(_SECONDS)
        self._reader.join(_SECONDS)
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self._lines.append(line)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


class Http:
    """Each chunk is the body of a POST on one connection that is kept."""

    def __init__(self, kind: str, directory: Path, transport: str, *, modern: bool = False) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        self.process = start(kind, transport, directory, self.port)
        self.modern = modern
        self.session: str | None = None
        self._connection = self._connect()
        if not modern:
            status, _ = self._post(message(0, "initialize", INITIALIZE))
            assert status == 200
            self._post(message(None, "notifications/initialized", {}))

    def exchange(self, chunks: list[bytes]) -> list[str]:
        found = []
        for chunk in chunks:
            try:
                status, body = self._post(chunk)
            except TimeoutError:
                self._connection = self._connect()
                found.append("no answer")
                continue
            except (ConnectionError, http.client.HTTPException):
                if self.process.poll() is not None:
                    raise EOFError from None
                # What the server closed it over may differ from request to request only as it does without us.
                self._connection = self._connect()
                found.append("closed")
                continue
            found.append(f"{status} {body}")
        return found

    def close(self) -> int:
        self._connection.close()
        self.process.terminate()
        return self.process.wait(_SECONDS)

    def _connect(self) -> http.client.HTTPConnection:
        deadline = time.monotonic() + _SECONDS
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE)
            try:
                connection.connect()
                return connection
            except ConnectionError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.05)

    def _post(self, body: bytes) -> tuple[int, str]:
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        if self.session is not None:
            headers["mcp-session-id"] = self.session
        if self.modern:
            body = enveloped(body)
            headers["mcp-protocol-version"] = "2026-07-28"
            headers |= _modern_headers(body)
        self._connection.request("POST", "/mcp", body, headers)
        answer = self._connection.getresponse()
        text = normal(answer.read().decode(errors="replace"))
        if self.session is None and not self.modern:
            self.session = answer.headers.get("mcp-session-id")
        # Of a stream of events the data; the ids of events are random.
        data = "\n".join(line for line in text.split("\n") if not line.startswith(("id:", ":", "\r")))
        return answer.status, data


def enveloped(body: bytes) -> bytes:
    """A request with the envelope that 2026-07-28 wants, where it has parameters and no ``_meta`` of its own."""
    try:
        sent = json.loads(body)
        sent["params"].setdefault("_meta", ENVELOPE)
        return json.dumps(sent).encode()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return body


def _modern_headers(body: bytes) -> dict[str, str]:
    """The method and name that the 2026-07-28 transport wants in headers too, where the body has such."""
    try:
        sent = json.loads(body)
        told = {"mcp-method": sent["method"], "mcp-name": sent["params"].get("name", sent["params"].get("uri"))}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    usable = {
        name: text for name, text in told.items() if isinstance(text, str) and text.isascii() and text.isprintable()
    }
    return {name: text for name, text in usable.items() if text.strip() == text and text}


def message(number: Any, method: str, params: dict[str, Any]) -> bytes:
    """One JSON-RPC message, a notification when ``number`` is None."""
    numbered = {} if number is None else {"id": number}
    return json.dumps({"jsonrpc": "2.0", **numbered, "method": method, "params": params}).encode()
