# SPDX-License-Identifier: Apache-2.0
"""ClickHouse's HTTP interface in front of the real engine (chdb), for want of a server that a test could install.

The engine is ClickHouse itself, in this process, on the disk: parsing, tables, inserts, merges, mutations, results and errors
are its own. Ours is the HTTP around it, as far as clickhouse-go (the Collector's exporter) and plain queries use it: one
statement a request, by query string or body; settings of an INSERT; `param_…`; users by Basic or X-ClickHouse headers; native
blocks, LZ4 frames. Answers to clickhouse-go in the Native format are encoded here, because chdb writes that format without the
header that the protocol asks for; it asks for nothing but strings and small integers.

    python clickhouse_shim.py PORT DIRECTORY     user and password from CLICKHOUSE_USER and CLICKHOUSE_PASSWORD
"""

from __future__ import annotations

import base64
import json
import os
import re
import struct
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import lz4.block
from chdb import session
from clickhouse_cityhash.cityhash import CityHash128

_INSERT: Final = re.compile(r"\s*(INSERT\s+INTO\s.*?)\s+FORMAT\s+(\w+)\s*", re.I | re.S)
_FORMAT: Final = re.compile(r"\s+FORMAT\s+(\w+)\s*;?\s*$", re.I)
# Of the query string these say how to talk; the rest are settings.
_PROTOCOL: Final = frozenset(
    ("query", "database", "default_format", "client_protocol_version", "compress", "decompress", "query_id")
)
# From this revision of the protocol on each column says how it is serialised (0: as ever).
_CUSTOM_SERIALISATION: Final = 54454
_NONE, _LZ4 = 0x02, 0x82
_INTEGERS: Final = {"UInt8": "<B", "UInt16": "<H", "UInt32": "<I", "UInt64": "<Q"}


def uncompressed(data: bytes) -> bytes:
    """What is in ClickHouse's compressed frames: checksum (16), method (1), size with header (4), size of content (4)."""
    made, at = b"", 0
    while at < len(data):
        method, size, content = struct.unpack_from("<BII", data, at + 16)
        inner = data[at + 25 : at + 16 + size]
        if method not in (_NONE, _LZ4):
            raise ValueError(f"compression method {method:#x} is not known here")
        made += inner if method == _NONE else lz4.block.decompress(inner, uncompressed_size=content)
        at += 16 + size
    return made


def framed(data: bytes) -> bytes:
    """A frame around data that is not compressed."""
    inner = struct.pack("<BII", _NONE, len(data) + 9, len(data)) + data
    checksum = CityHash128(inner)
    return struct.pack("<QQ", checksum >> 64, checksum & (2**64 - 1)) + inner


def native_block(names: list[str], types: list[str], rows: list[list[Any]], revision: int) -> bytes:
    """Rows as one block of the Native format. Raises ValueError for types that clickhouse-go's own questions never have."""
    header = b"\x01\x00\x02" + struct.pack("<i", -1) + b"\x00" if revision else b""
    made = header + _varint(len(names)) + _varint(len(rows))
    for place, (name, kind) in enumerate(zip(names, types, strict=True)):
        made += _text(name) + _text(kind) + (b"\x00" if revision >= _CUSTOM_SERIALISATION and rows else b"")
        for row in rows:
            if kind == "String":
                made += _text(row[place])
            elif kind in _INTEGERS:
                made += struct.pack(_INTEGERS[kind], int(row[place]))
            else:
                raise ValueError(f"a column of type {kind} in the Native format")
    return made


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*made, number])


def _text(text: str) -> bytes:
    data = text.encode()
    return _varint(len(data)) + data


class Engine:
    """chdb, one statement at a time."""

    def __init__(self, directory: str) -> None:
        self._session = session.Session(directory)
        self._lock = threading.Lock()

    def insert(self, statement: str, form: str, data: bytes, database: str, settings: Mapping[str, str]) -> int:
        """How many rows were written."""
        said = ", ".join(f"{name} = {_quoted(value)}" for name, value in settings.items())
        with self._lock:
            self._use(database)
            with self._session.send_insert(f"{statement} SETTINGS {said}" if said else statement, form) as into:
                into.append(data)
                return int(into.finish().rows_written)

    def query(self, statement: str, form: str, database: str, parameters: Mapping[str, str]) -> bytes:
        with self._lock:
            self._use(database)
            return bytes(self._session.query(statement, form, params=dict(parameters)).bytes())

    def _use(self, database: str) -> None:
        self._session.query(f"USE `{database.replace('`', '``')}`")


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


class Handler(BaseHTTPRequestHandler):
    """One request: authentication, decompression, the statement, the answer."""

    protocol_version = "HTTP/1.1"
    engine: Engine
    user: tuple[str, str] = ("default", "")

    def log_message(self, *arguments: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._answer(200, b"Ok.\n") if self.path == "/ping" else self.do_POST()

    def do_POST(self) -> None:
        body = self._body()
        query = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        compressed = query.get("compress") == "1"
        try:
            if self._who() != self.user:
                code, made = 403, b"Code: 516. DB::Exception: Authentication failed. (AUTHENTICATION_FAILED)\n"
            else:
                code, made = 200, self._done(query, body)
        except Exception as error:
            # Whatever the engine says, or what this interface does not know: the client is told, as by a server.
            code, made = 500, f"{error}\n".encode()
        self._answer(code, framed(made) if compressed and made else made)

    def _done(self, query: Mapping[str, str], body: bytes) -> bytes:
        database, revision = query.get("database", "default"), int(query.get("client_protocol_version", 0))
        data = uncompressed(body) if query.get("decompress") == "1" else body
        statement = query["query"] if "query" in query else data.decode()
        insert = _INSERT.match(statement)
        if insert is not None:
            rest = statement[insert.end() :].encode()
            settings = {name: value for name, value in query.items() if name not in _PROTOCOL}
            settings.pop("client_info_product", None)
            self.engine.insert(insert[1], insert[2], data if "query" in query else rest, database, settings)
            return b""
        named = _FORMAT.search(statement)
        form = named[1] if named else query.get("default_format", "TabSeparated")
        statement = statement[: named.start()] if named else statement
        # As the server does: values come escaped as in TSV.
        parameters = {name[6:]: value for name, value in query.items() if name.startswith("param_")}
        if form != "Native":
            return self.engine.query(statement, form, database, parameters)
        lines = self.engine.query(statement, "JSONCompactEachRowWithNamesAndTypes", database, parameters).splitlines()
        if not lines:
            return b""
        names, types, *rows = map(json.loads, lines)
        return native_block(names, types, rows, revision)

    def _who(self) -> tuple[str, str]:
        basic = self.headers.get("Authorization", "")
        if basic.startswith("Basic "):
            user, _, password = base64.b64decode(basic[6:]).decode().partition(":")
            return user, password
        return self.headers.get("X-ClickHouse-User", "default"), self.headers.get("X-ClickHouse-Key", "")

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        made = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            made += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return made

    def _answer(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(port: int, directory: str) -> None:
    """Serve until the process is ended."""
    Handler.engine = Engine(directory)
    Handler.user = (os.environ.get("CLICKHOUSE_USER", "default"), os.environ.get("CLICKHOUSE_PASSWORD", ""))
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
