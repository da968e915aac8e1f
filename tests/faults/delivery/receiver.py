# SPDX-License-Identifier: Apache-2.0
"""An OTLP/HTTP endpoint on the loopback that can be told to be ill, and counts the records that it kept.

``tell(Mode(...))`` changes what it answers from the next request on; ``down()`` closes the port and ``up()`` opens the
same one again. A record counts when the endpoint kept it, whatever it answered.
"""

from __future__ import annotations

import gzip
import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, NamedTuple

Kind = Literal["healthy", "down", "status", "reject_half", "reject_poison", "html", "half_open", "drop_answer", "die"]
POISON = "poison"
# Closed at its end: in protobuf the next byte may be a digit.
MARK = re.compile(r"mark-[0-9a-z]+-[0-9]+-end")
_HTML = b"<html><body>It works!</body></html>"
_HALF_OPEN_SECONDS = 60.0


class Mode(NamedTuple):
    """What to answer. ``down``: nobody listens. ``half_open``: the request is read and never answered. ``drop_answer``:
    kept, but hung up without an answer. ``die``: kept and answered, then the port is closed for ``value`` seconds.
    ``status``: ``value``. Any kind may be ``slow``: so many seconds before the answer."""

    kind: Kind = "healthy"
    value: int = 0
    slow: float = 0.0


class Item(NamedTuple):
    """A record: the mark that its emitter gave it, or empty; its id; of how many records it says that they are missing."""

    mark: str
    record_id: str
    gap: int


class Kept:
    """The records somebody kept: how often each was, told by the mark that its emitter gave it; their ids; and gaps."""

    def __init__(self) -> None:
        self.marks: Counter[str] = Counter()
        self.ids: set[str] = set()
        self.gaps: dict[str, int] = {}

    def add(self, items: Iterable[Item]) -> None:
        for item in items:
            if item.gap:
                self.gaps[item.record_id] = item.gap
            elif item.mark:
                self.marks[item.mark] += 1
                self.ids.add(item.record_id)

    @property
    def gap_total(self) -> int:
        """How many records the gap records that arrived speak of."""
        return sum(self.gaps.values())


class Receiver:
    """See above. Started by its constructor; ``close()`` ends it."""

    def __init__(self) -> None:
        self.kept = Kept()
        self.requests = 0
        self._mode = Mode()
        self._lock = threading.Lock()
        self._healed = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.up()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def tell(self, mode: Mode) -> None:
        self._mode = mode
        if mode.kind == "down":
            self.down()
            return
        if mode.kind != "half_open":
            self._healed.set()
        self.up()

    def up(self) -> None:
        with self._lock:
            if self._server is None:
                self._server = _server(self, self._port)
                self._port = self._server.server_port
                threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        """Nobody listens any more, and open connections end with their next request."""
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def close(self) -> None:
        self._healed.set()
        self.down()

    # ---------------------------------------------------------------------------------------------------------------

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        if handler.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        mode, as_json = self._mode, "json" in handler.headers.get("content-type", "")
        if handler.server is not self._server or mode.kind == "down":
            return _hang_up(handler)
        with self._lock:
            self.requests += 1
        time.sleep(mode.slow)
        if mode.kind == "half_open":
            self._healed.wait(_HALF_OPEN_SECONDS)
            return _hang_up(handler)
        if mode.kind == "status":
            return _reply(handler, mode.value, b"no", "text/plain", {"Location": "http://127.0.0.1:9/"})
        if mode.kind == "html":
            return _reply(handler, 200, _HTML, "text/html")
        rejected = self._keep(body, as_json, mode)
        if mode.kind == "drop_answer":
            return _hang_up(handler)
        _reply(handler, 200, *_success(rejected, as_json))
        if mode.kind == "die":
            threading.Thread(target=self._die, args=(mode.value,), daemon=True).start()

    def _keep(self, body: bytes, as_json: bool, mode: Mode) -> int:
        """Keep what this mode keeps; how many records it rejects."""
        items = json_items(json.loads(body)) if as_json else _protobuf_items(body)
        if mode.kind == "reject_half":
            kept = items[: len(items) // 2]
        elif mode.kind == "reject_poison":
            kept = [item for item in items if POISON not in item.mark]
        else:
            kept = items
        with self._lock:
            self.kept.add(kept)
        return len(items) - len(kept)

    def _die(self, seconds: float) -> None:
        self.down()
        time.sleep(seconds)
        self.up()


def _server(receiver: Receiver, port: int) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            receiver.answer(self)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Clients that die are what this is for."""

    return Server(("127.0.0.1", port), Handler)


def _hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    try:
        handler.connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the client went first


def _reply(
    handler: BaseHTTPRequestHandler, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None
) -> None:
    handler.send_response(status)
    for name, value in {**(headers or {}), "Content-Type": kind, "Content-Length": str(len(body))}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def _success(rejected: int, as_json: bool) -> tuple[bytes, str]:
    if as_json:
        partial = {"rejectedLogRecords": str(rejected), "errorMessage": "no"} if rejected else {}
        return json.dumps({"partialSuccess": partial}).encode(), "application/json"
    # ExportLogsServiceResponse.partial_success (1) = {rejected_log_records (1): varint, error_message (2)}.
    inner = b"\x08" + _varint(rejected) + b"\x12\x02no"
    return (b"\x0a" + _varint(len(inner)) + inner if rejected else b""), "application/x-protobuf"


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    return bytes([*made, number])


def json_items(tree: Any) -> list[Item]:
    """The records of an OTLP/JSON request."""
    items = []
    for resource in tree.get("resourceLogs", ()):
        for scope in resource.get("scopeLogs", ()):
            for record in scope.get("logRecords", ()):
                facts = {item["key"]: item["value"] for item in record.get("attributes", ())}
                gap = int(facts.get("mcp_audit.gap.count", {}).get("intValue", 0))
                items.append(Item(_mark(json.dumps(record)), facts["audit.record.id"]["stringValue"], gap))
    return items


def _mark(text: str) -> str:
    found = MARK.search(text)
    return "" if found is None else found.group()


def _protobuf_items(body: bytes) -> list[Item]:
    """By the marks: the stock emitter's record ids are its marks, and stand in each record once."""
    return [Item(mark, mark, 0) for mark in MARK.findall(body.decode("latin-1"))]
