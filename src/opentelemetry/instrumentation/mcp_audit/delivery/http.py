# SPDX-License-Identifier: Apache-2.0
"""OTLP over HTTP with the standard library: one connection, kept open."""

from __future__ import annotations

import gzip
import http.client
import ssl
from collections.abc import Callable
from typing import Final

from .answer import Answer, Refused, Retry, http_answer
from .options import Options
from .otlp import Batch

# Longer answers are none of an OTLP endpoint.
_ANSWER_BYTES: Final = 64 * 1024
# Level 1: audit records are text full of repetition, which it already cuts to a tenth.
_GZIP_LEVEL: Final = 1


class HttpTransport:
    """Posts batches to one URL. ``encode`` makes the body, of the type ``content_type``; it raises one of
    ``not_otlp`` for what cannot be encoded."""

    def __init__(
        self,
        options: Options,
        tls: ssl.SSLContext | None,
        content_type: str,
        encode: Callable[[Batch], bytes],
        not_otlp: tuple[type[Exception], ...] = (),
    ) -> None:
        self._options = options
        self._encode = encode
        self._not_otlp = not_otlp
        self._protobuf = content_type.endswith("protobuf")
        self._tls = tls
        self._connection: http.client.HTTPConnection | None = None
        self._headers = {
            "User-Agent": "otel-mcp-audit",
            **options.headers,
            "Content-Type": content_type,
        }
        if options.gzip:
            self._headers["Content-Encoding"] = "gzip"

    def send(self, batch: Batch) -> Answer:
        try:
            data = self._encode(batch)
        except self._not_otlp as error:
            return Refused(f"cannot be encoded: {type(error).__name__}: {error}")
        if self._options.gzip:
            data = gzip.compress(data, _GZIP_LEVEL)
        reused = self._connection is not None
        try:
            try:
                return self._post(data)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                # A connection that was kept may have been closed meanwhile by the other side, which says nothing.
                self.close()
                if not reused:
                    raise
                return self._post(data)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return Retry(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _post(self, data: bytes) -> Answer:
        options = self._options
        if self._connection is None:
            self._connection = (
                http.client.HTTPConnection(options.host, options.port, timeout=options.timeout)
                if self._tls is None
                else http.client.HTTPSConnection(options.host, options.port, timeout=options.timeout, context=self._tls)
            )
        connection = self._connection
        connection.request("POST", options.path, body=data, headers=self._headers)
        response = connection.getresponse()
        body = response.read(_ANSWER_BYTES)
        if response.will_close or not response.isclosed():
            self.close()
        return http_answer(
            response.status, {name.lower(): value for name, value in response.getheaders()}, body, self._protobuf
        )
