# SPDX-License-Identifier: Apache-2.0
"""The HTTP side of the sink: ``POST /v1/logs``, ``GET /healthz``, ``GET /metrics``.

An answer of 200 says that every place has the records on its disk. 503 with ``Retry-After`` says that one has not, now;
the sender keeps them and comes again. Nothing else is ever said of a place that is away: a Collector drops what it gets
any other refusal for.
"""

from __future__ import annotations

import base64
import hmac
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from anyio import CapacityLimiter, create_task_group, sleep, to_thread
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from .body import Refused, encoding_of, read
from .counts import Counts
from .received import MAX_REJECTED_CHARACTERS, Batch, Encoding, Rejected, Undecodable
from .store import Away, Kept, Store

LOG: Final = logging.getLogger("otel-mcp-audit.sink")
_RETRY_SECONDS: Final = 5
_BUSY_SECONDS: Final = 1
_TEND_SECONDS: Final = 3600
_MEDIA: Final[dict[Encoding, str]] = {"json": "application/json", "protobuf": "application/x-protobuf"}


@dataclass(frozen=True, slots=True)
class Limits:
    """``body``: bytes of one request, unpacked. ``in_flight``: bytes of all requests that are being worked on.
    ``workers``: batches written at the same time."""

    body: int = 16 * 1024 * 1024
    in_flight: int = 32 * 1024 * 1024
    workers: int = 4


class Service:
    """One sink: its places, its limits, what it counted. ``token``: what a sender must show, None: nothing."""

    def __init__(self, stores: Sequence[Store], limits: Limits, token: bytes | None) -> None:
        self.counts = Counts([store.name for store in stores])
        self._stores = stores
        self._limits = limits
        self._token = token
        self._in_flight = 0
        self._workers = CapacityLimiter(limits.workers)

    def asgi(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/logs", self._logs, methods=["POST"]),
                Route("/healthz", self._health, methods=["GET"]),
                Route("/metrics", self._metrics, methods=["GET"]),
            ],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        async with create_task_group() as tasks:
            tasks.start_soon(self._tend)
            yield
            tasks.cancel_scope.cancel()

    async def _tend(self) -> None:
        while True:
            await sleep(_TEND_SECONDS)
            for store in self._stores:
                for sentence in await to_thread.run_sync(store.tend, limiter=self._workers):
                    LOG.warning("%s: %s", store.name, sentence)

    async def _logs(self, request: Request) -> Response:
        encoding: Encoding = "json"
        try:
            self._authenticated(request)
            encoding = encoding_of(request.headers.get("content-type", ""))
            return await self._take(request, encoding)
        except Refused as refused:
            self.counts.refused(refused.status)
            return _failure(encoding, refused.status, str(refused))
        except ClientDisconnect:
            return Response(status_code=499)

    async def _take(self, request: Request, encoding: Encoding) -> Response:
        limits, headers = self._limits, request.headers
        # Counted before it is read: at most this much of it will be in memory.
        length = headers.get("content-length", "")
        room = int(length) if length.isdigit() and "content-encoding" not in headers else limits.body
        room = min(room, limits.body)
        if self._in_flight and self._in_flight + room > limits.in_flight:
            self.counts.refused(503)
            return _failure(encoding, 503, "busy", retry=_BUSY_SECONDS)
        self._in_flight += room
        try:
            body = await read(
                request.stream(), headers.get("content-encoding", ""), headers.get("content-length"), limits.body
            )
            kept = await to_thread.run_sync(self._write, Batch(body, encoding), limiter=self._workers)
        except (Refused, ClientDisconnect):
            raise
        except Undecodable as error:
            return await self._undecodable(body, encoding, str(error))
        except Away as error:
            self.counts.refused(503)
            LOG.warning("records are not kept, and their sender must send them again: %s", error)
            return _failure(encoding, 503, "a store is away; send it again", retry=_RETRY_SECONDS)
        except Exception:
            # A defect of ours must not cost records: whoever sent them keeps them, and this is in the log.
            self.counts.refused(503)
            LOG.exception("records are not kept, and their sender must send them again")
            return _failure(encoding, 503, "a defect; send it again", retry=_RETRY_SECONDS)
        finally:
            self._in_flight -= room
        self.counts.requests += 1
        if kept.conflicts or kept.rejected:
            LOG.warning(
                "%d records differ from the copy that is there (audit_conflict), %d are none (audit_rejected)",
                kept.conflicts,
                kept.rejected,
            )
        return Response(b'{"partialSuccess":{}}' if encoding == "json" else b"", media_type=_MEDIA[encoding])

    async def _undecodable(self, body: bytearray, encoding: Encoding, why: str) -> Response:
        """Kept, so that nothing that was sent is lost without a trace; and refused, so that its sender knows."""
        self.counts.refused(400)
        text = base64.b64encode(body[: MAX_REJECTED_CHARACTERS // 2]).decode()
        try:
            for store in self._stores:
                await to_thread.run_sync(store.reject, Rejected(f"no OTLP: {why}", text), limiter=self._workers)
        except Away as error:
            LOG.warning("a body that is no OTLP could not be kept: %s", error)
            return _failure(encoding, 503, "a store is away; send it again", retry=_RETRY_SECONDS)
        LOG.warning("a body of %d bytes is no OTLP: %s", len(body), why)
        return _failure(encoding, 400, f"no OTLP: {why}")

    def _write(self, batch: Batch) -> Kept:
        total = Kept()
        for store in self._stores:
            kept = store.write(batch)
            self.counts.kept(store.name, kept)
            total += kept
        return total

    def _authenticated(self, request: Request) -> None:
        if self._token is None:
            return
        shown = request.headers.get("authorization", "").encode("latin-1", "replace")
        scheme, _, token = shown.partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(token.strip(), self._token):
            raise Refused(401, "a bearer token is needed")

    async def _health(self, request: Request) -> Response:
        """200 while every place can be reached; asks them."""
        try:
            for store in self._stores:
                await to_thread.run_sync(store.ping, limiter=self._workers)
        except Away as error:
            LOG.warning("%s", error)
            return PlainTextResponse("a store is away\n", 503)
        return PlainTextResponse("ok\n")

    async def _metrics(self, request: Request) -> Response:
        try:
            self._authenticated(request)
        except Refused as refused:
            return PlainTextResponse(f"{refused}\n", refused.status)
        return PlainTextResponse(self.counts.exposition(), media_type="text/plain; version=0.0.4")


def _failure(encoding: Encoding, status: int, why: str, retry: int | None = None) -> Response:
    """An OTLP/HTTP failure: a google.rpc.Status in the encoding of the request."""
    headers = {} if retry is None else {"retry-after": str(retry)}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    message = why.encode("ascii", "backslashreplace")[:127]
    if encoding == "protobuf":
        # Field 2, the message, a string of fewer than 128 bytes.
        content = b"\x12" + bytes([len(message)]) + message
    else:
        content = b'{"message":"' + message.replace(b"\\", b"/").replace(b'"', b"'") + b'"}'
    return Response(content, status, headers, media_type=_MEDIA[encoding])
