# SPDX-License-Identifier: Apache-2.0
"""A real OTLP/HTTP endpoint on the loopback that keeps what it acknowledges and answers as a script says."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

OK = b'{"partialSuccess":{}}'


class Reply(NamedTuple):
    """What to answer. ``close``: hang up instead, before (``body`` empty) or behind the answer's head."""

    status: int = 200
    body: bytes = OK
    headers: tuple[tuple[str, str], ...] = ()
    close: bool = False
    after: float = 0.0
    keep: bool | None = None


class Request(NamedTuple):
    path: str
    headers: dict[str, str]
    ids: list[str]
    body: bytes


Script = Callable[[Request], "Reply | None"]


class Endpoint:
    """``script`` is asked for each request; None: acknowledge it. ``kept`` is what was acknowledged, in order."""

    def __init__(self, script: Script = lambda request: None, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.kept: list[str] = []
        self.connections = 0
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                endpoint.connections += 1
                super().setup()

            def do_POST(self) -> None:
                endpoint.answer(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Quiet."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Clients that go away are part of the tests."""

        self._server = Server(("127.0.0.1", port), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.url = f"{'http' if tls is None else 'https'}://localhost:{self.port}"
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(0.01), daemon=True)
        self._thread.start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["content-length"]))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        request = Request(handler.path, headers, record_ids(body, headers["content-type"]), body)
        self.requests.append(request)
        reply = self.script(request) or Reply()
        time.sleep(reply.after)
        if reply.close and not reply.body:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        kept = reply.status == 200 and reply.body == OK if reply.keep is None else reply.keep
        if kept:
            self.kept += request.ids
        handler.send_response(reply.status)
        content = OK if headers["content-type"] == "application/json" else b""
        answer = content if reply.body == OK else reply.body
        for name, value in (
            *reply.headers,
            ("Content-Type", headers["content-type"]),
            ("Content-Length", str(len(answer))),
        ):
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(answer)
        if reply.close:
            handler.close_connection = True

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def endpoint(script: Script = lambda request: None, **options: Any) -> Iterator[Endpoint]:
    made = Endpoint(script, **options)
    try:
        yield made
    finally:
        made.close()


def record_ids(body: bytes, content_type: str) -> list[str]:
    """The record ids in an export request; raises for what is none."""
    if content_type == "application/x-protobuf":
        from google.protobuf.json_format import MessageToDict
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

        tree = MessageToDict(ExportLogsServiceRequest.FromString(body))
    else:
        try:
            tree = json.loads(body)
        except ValueError:
            return []
    return [
        attribute["value"]["stringValue"]
        for resource in tree.get("resourceLogs", ())
        for scope in resource["scopeLogs"]
        for record in scope["logRecords"]
        for attribute in record["attributes"]
        if attribute["key"] == "audit.record.id"
    ]
