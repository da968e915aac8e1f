# SPDX-License-Identifier: Apache-2.0
"""OTLP over gRPC by ``grpcio`` (extra ``otel``), with messages of our own encoder: no generated code is needed."""

from __future__ import annotations

import time
from typing import Any

from .answer import Answer, Refused, Retry, rejected, retry_after
from .options import Given, Options, OptionsError
from .otlp import Batch
from .protobuf import NOT_OTLP, encode, rejections

_METHOD = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
# What says that it is the request: gRPC's words for 400 and 413.
_REFUSED = ("INVALID_ARGUMENT", "OUT_OF_RANGE")


def grpc_transport(options: Options) -> GrpcTransport:
    """Raises :class:`OptionsError` when grpcio is missing or a certificate cannot be used."""
    try:
        import grpc  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise OptionsError(
            "OTEL_MCP_AUDIT_OTLP_PROTOCOL: grpc needs grpcio: pip install 'opentelemetry-instrumentation-mcp-audit[otel]'"
        ) from None
    return GrpcTransport(options, grpc, _credentials(options, grpc))


class GrpcTransport:
    """Sends batches over one channel."""

    def __init__(self, options: Options, grpc: Any, credentials: Any) -> None:
        self._options = options
        self._grpc = grpc
        self._credentials = credentials
        self._channel: Any = None
        self._export: Any = None
        self._metadata = tuple(options.headers.items())

    def send(self, batch: Batch) -> Answer:
        if self._channel is None:
            self._open()
        try:
            data = encode(batch)
        except NOT_OTLP as error:
            return Refused(f"cannot be encoded: {type(error).__name__}: {error}")
        try:
            answer = self._export(data, timeout=self._options.timeout, metadata=self._metadata)
            return rejected(*rejections(answer))
        except self._grpc.RpcError as error:
            return self._failed(error)
        except ValueError as error:
            return Retry(f"gRPC OK, but not an answer of an OTLP endpoint: {error}")

    def close(self) -> None:
        channel, self._channel, self._export = self._channel, None, None
        if channel is not None:
            channel.close()

    def _open(self) -> None:
        grpc, options = self._grpc, self._options
        host = f"[{options.host}]" if ":" in options.host else options.host
        target = f"{host}:{options.port}"
        self._channel = (
            grpc.insecure_channel(target)
            if self._credentials is None
            else grpc.secure_channel(target, self._credentials)
        )
        compression = grpc.Compression.Gzip if options.gzip else None
        call = self._channel.unary_unary(_METHOD)
        self._export = lambda data, **how: call(data, compression=compression, **how)

    def _failed(self, error: Any) -> Answer:
        code, details = error.code().name, str(error.details() or "")[:120]
        why = f"gRPC {code}: {details}"
        if code in _REFUSED:
            return Refused(why)
        if code == "RESOURCE_EXHAUSTED" and "larger than max" in details:
            return Refused(why, too_large=True)
        if code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
            # Its own backoff may sleep for minutes; ours decides.
            self.close()
        pushback = dict(error.trailing_metadata() or ()).get("retry-after", "")
        return Retry(why, retry_after(str(pushback), time.time()))


def _credentials(options: Options, grpc: Any) -> Any:
    if not options.secure:
        return None
    return grpc.ssl_channel_credentials(
        _read(options.certificate), _read(options.client_key), _read(options.client_certificate)
    )


def _read(given: Given) -> bytes | None:
    if not given.value:
        return None
    try:
        with open(given.value, "rb") as file:
            return file.read()
    except OSError as error:
        raise OptionsError(f"{given.variable}: {given.value[:200]} cannot be read: {error.strerror}") from None
