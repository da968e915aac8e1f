# SPDX-License-Identifier: Apache-2.0
"""Queries over a real socket; the other end is scripted, for what a healthy engine does not do when one wants it."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from certificates import Authority

from opentelemetry.instrumentation.mcp_audit.clickhouse.address import Address
from opentelemetry.instrumentation.mcp_audit.clickhouse.client import ClickHouseError, rows


class Scripted(BaseHTTPRequestHandler):
    """Answers with ``answer``: status, and chunks of a body that ends well or not."""

    protocol_version = "HTTP/1.1"
    answer: tuple[int, list[bytes], bool] = (200, [], True)
    asked: dict[str, Any] = {}

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Scripted.asked = {
            "query": parse_qs(urlsplit(self.path).query, keep_blank_values=True),
            "sql": body.decode(),
            "user": (self.headers["X-ClickHouse-User"], self.headers["X-ClickHouse-Key"]),
        }
        status, chunks, whole = self.answer
        self.send_response(status)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        if whole:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def log_message(self, *arguments: Any) -> None:
        """Quiet."""


@pytest.fixture
def at() -> Iterator[Address]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield Address("127.0.0.1", server.server_port, False, "ada", "s3cret", "audit", "mcp_audit")
    server.shutdown()
    server.server_close()


def test_rows_as_values_and_parameters_apart_from_the_text(at: Address) -> None:
    Scripted.answer = (200, [b'["a",1]\n["', b'\xc3\xa9",2]\n'], True)
    assert list(rows(at, "SELECT x FROM {table:Identifier} WHERE id = {id:String}", id="a\\b\t'c")) == [
        ["a", 1],
        ["é", 2],
    ]
    assert Scripted.asked == {
        "query": {"database": ["audit"], "param_table": ["mcp_audit"], "param_id": ["a\\\\b\\t'c"]},
        "sql": "SELECT x FROM {table:Identifier} WHERE id = {id:String} FORMAT JSONCompactEachRow",
        "user": ("ada", "s3cret"),
    }


def test_a_row_that_is_no_utf8_costs_that_row_only(at: Address) -> None:
    Scripted.answer = (200, [b'["\xff"]\n["b"]\n'], True)
    first, second = rows(at, "SELECT 1")
    assert (type(first), second) == (UnicodeDecodeError, ["b"])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((403, [b"Code: 516. DB::Exception: Authentication failed\n"], True), "Code: 516. DB::Exception"),
        ((302, [], True), "HTTP 302"),
        ((200, [b'["a"]\n', b"Code: 241. DB::Exception: Memory limit\n"], True), "Code: 241. DB::Exception"),
        ((200, [b'["a"]\n["b'], True), '["b'),
        ((200, [b'["a"]\n'], False), "IncompleteRead"),
    ],
)
def test_an_answer_that_is_not_whole_is_an_error(at: Address, answer: Any, said: str) -> None:
    Scripted.answer = answer
    with pytest.raises(ClickHouseError) as error:
        list(rows(at, "SELECT 1"))
    assert said in str(error.value)
    assert "s3cret" not in str(error.value)


def test_over_tls_the_certificate_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path / "certificates")
    pair = authority.issue("engine")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    Scripted.answer = (200, [b"[1]\n"], True)
    secure = Address("127.0.0.1", server.server_port, True, "ada", "s3cret", "audit", "mcp_audit")
    with pytest.raises(ClickHouseError, match="CERTIFICATE_VERIFY_FAILED"):
        list(rows(secure, "SELECT 1"))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.root))
    assert list(rows(secure, "SELECT 1")) == [[1]]
    server.shutdown()
    server.server_close()


def test_a_server_that_is_away(at: Address) -> None:
    away = Address("127.0.0.1", 1, False, "ada", "s3cret", "audit", "mcp_audit")
    with pytest.raises(ClickHouseError, match="ConnectionRefusedError"):
        list(rows(away, "SELECT 1"))
