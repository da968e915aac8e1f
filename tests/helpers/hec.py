# SPDX-License-Identifier: Apache-2.0
"""A real HTTP server that speaks Splunk's HEC and is as hostile as a script wants: it stands for Splunk, and is not Splunk.

What it knows of Splunk: ``Authorization: Splunk TOKEN``, JSON objects one after the other in a body that may be gzip, and
the answers of Splunk's table of HEC codes. It stores events as they came, in memory, and looks nothing up.
"""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

Event = dict[str, Any]
ANSWERS = {
    200: {"text": "Success", "code": 0},
    400: {"text": "Incorrect index", "code": 7, "invalid-event-number": 1},
    401: {"text": "Token is required", "code": 2},
    403: {"text": "Invalid token", "code": 4},
    404: {"text": "The requested URL was not found on this server.", "code": 404},
    429: {"text": "Too many requests", "code": 429},
    500: {"text": "Internal server error", "code": 8},
    503: {"text": "Server is busy", "code": 9},
}


class Act(NamedTuple):
    """What to do with a request. ``stored``: index its events. ``status`` None: cut the connection instead of answering.

    ``wait``: answer only after this is set, or the client is gone.
    """

    status: int | None = 200
    stored: bool = True
    wait: threading.Event | None = None


Script = Callable[[list[Event]], Act]


class Hec:
    """On a free port of 127.0.0.1. ``events``: what is indexed. ``answered``: the statuses in order, 0 for a cut."""

    def __init__(self, script: Script = lambda events: Act(), token: str = "secret-token") -> None:
        self.script, self.token = script, token
        self.events: list[Event] = []
        self.answered: list[int] = []
        self.paths: set[str] = set()
        hec = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                hec.answer(self)

            def log_message(self, *_: Any) -> None:
                """Not on stderr."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """A client that gave up waiting is part of the tests."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(0.02), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def ids(self) -> Counter[str]:
        """How often each record id is indexed."""
        return Counter(event["event"]["audit_record_id"] for event in list(self.events))

    def __enter__(self) -> Hec:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["content-length"]))
        if handler.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        events = parsed(body)
        self.paths.add(handler.path)
        right = handler.headers.get("authorization") == f"Splunk {self.token}"
        act = self.script(events) if right else Act(403, stored=False)
        if act.stored:
            self.events += events
        if act.wait is not None:
            act.wait.wait(30)
        self.answered.append(act.status or 0)
        if act.status is None:
            handler.close_connection = True
            # A reset (RST), not a goodbye: nothing is lingered for.
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            handler.connection.close()
            return
        text = json.dumps(ANSWERS[act.status]).encode()
        handler.send_response(act.status)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text)


def parsed(body: bytes) -> list[Event]:
    """The JSON objects that stand one after the other in a HEC request. A ValueError when it is anything else."""
    text, at, found, decoder = body.decode(), 0, [], json.JSONDecoder()
    while at < len(text):
        event, at = decoder.raw_decode(text, at)
        found.append(event)
        while at < len(text) and text[at].isspace():
            at += 1
    return found
