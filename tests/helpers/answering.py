# SPDX-License-Identifier: Apache-2.0
"""An HTTP server that keeps what it gets and answers as it is told: the other end where the real one cannot run."""

from __future__ import annotations

import http.server
import threading
from typing import Any


class Answering:
    """On a free port of 127.0.0.1. ``requests``: path, headers by lower-case name, body, of those answered with 200
    (``refused``: of the others). ``status``, ``headers``, ``body`` of the next answers may be changed at any time."""

    def __init__(self) -> None:
        self.status, self.body = 200, b""
        self.headers: dict[str, str] = {}
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.refused: list[tuple[str, dict[str, str], bytes]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                status = outer.status
                seen = outer.requests if 200 <= status < 300 else outer.refused
                seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body)

            do_OPTIONS = do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                """Not on stderr."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Answering:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
