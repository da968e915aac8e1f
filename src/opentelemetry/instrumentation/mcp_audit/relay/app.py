# SPDX-License-Identifier: Apache-2.0
"""The relay: bodies and headers pass through, and an answer that would make a Collector drop records does not."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import httpx
from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from .kept import Kept
from .verdict import verdict

LOG: Final = logging.getLogger("otel-mcp-audit.relay")
_RETRY_SECONDS: Final = 10
# RFC 9110, section 7.6.1: these are between two neighbours only; the lengths are made anew.
_HOP: Final = frozenset(
    "connection host keep-alive proxy-authenticate proxy-connection te trailer transfer-encoding upgrade content-length".split()
)
_METRICS: Final = "/-/metrics"


@dataclass(frozen=True, slots=True)
class Limits:
    """``body``: bytes of one request. ``in_flight``: requests at a time. ``timeout``: seconds that the sink may take."""

    body: int = 64 * 1024 * 1024
    in_flight: int = 16
    timeout: float = 60.0


class Relay:
    """Everything that comes goes to ``target``, path and query behind it. ``kept``: for what it will never take."""

    def __init__(self, target: str, kept: Kept, limits: Limits, client: httpx.AsyncClient | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self._target = target.rstrip("/")
        self._kept = kept
        self._limits = limits
        self._client = client
        self._in_flight = 0

    def asgi(self) -> Starlette:
        methods = ["GET", "POST", "PUT", "OPTIONS", "HEAD"]
        return Starlette(
            routes=[Route(_METRICS, self._metrics), Route("/{path:path}", self._pass, methods=methods)],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        if self._client is not None:
            yield
            return
        async with httpx.AsyncClient(timeout=self._limits.timeout, follow_redirects=False) as self._client:
            yield

    async def _pass(self, request: Request) -> Response:
        if self._in_flight >= self._limits.in_flight:
            return self._again("busy", 1)
        self._in_flight += 1
        try:
            return await self._passed(request)
        except ClientDisconnect:
            return Response(status_code=499)
        finally:
            self._in_flight -= 1

    async def _passed(self, request: Request) -> Response:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > self._limits.body:
                # Not 413, for which a Collector drops it; it is told, and comes again until somebody mends one of the two.
                return self._again(f"a body of more than {self._limits.body} bytes", _RETRY_SECONDS)
        query = f"?{request.url.query}" if request.url.query else ""
        target = f"{self._target}{request.url.path}{query}"
        headers = {name: value for name, value in request.headers.items() if name not in _HOP}
        assert self._client is not None
        try:
            answer = await self._client.request(request.method, target, headers=headers, content=bytes(body))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return self._again(f"{type(error).__name__}: {error}", _RETRY_SECONDS)
        said = verdict(answer.status_code)
        if said == "again":
            return self._again(f"HTTP {answer.status_code}: {_excerpt(answer.content)}", _RETRY_SECONDS)
        if said == "keep" and request.method == "POST":
            return await self._keep(target, headers, bytes(body), answer)
        self.counts["passed"] += 1
        return Response(answer.content, answer.status_code, _passed_on(answer.headers))

    async def _keep(self, target: str, headers: Mapping[str, str], body: bytes, answer: httpx.Response) -> Response:
        try:
            await to_thread.run_sync(self._kept.add, self._target, headers, body, answer.status_code, answer.content)
        except OSError as error:
            return self._again(f"what the sink refuses cannot be kept: {error}", _RETRY_SECONDS)
        self.counts["kept"] += 1
        LOG.error(
            "the sink will never take a request of %d bytes (HTTP %d: %s); it is kept",
            len(body),
            answer.status_code,
            _excerpt(answer.content),
        )
        kind = headers.get("content-type", "")
        return Response(b"" if "protobuf" in kind else b"{}", 200, media_type=kind or None)

    def _again(self, why: str, seconds: int) -> Response:
        self.counts["again"] += 1
        LOG.warning("sent again later: %s", why)
        return PlainTextResponse("send it again\n", 503, {"retry-after": str(seconds)})

    async def _metrics(self, request: Request) -> Response:
        """How many requests were passed on, told to come again, kept aside."""
        lines = ["# TYPE mcp_audit_relay_requests_total counter"]
        lines += [
            f'mcp_audit_relay_requests_total{{result="{name}"}} {self.counts[name]}'
            for name in ("passed", "again", "kept")
        ]
        return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")


def _passed_on(headers: httpx.Headers) -> dict[str, str]:
    # The client has unpacked it.
    return {name: value for name, value in headers.items() if name not in _HOP and name != "content-encoding"}


def _excerpt(body: bytes) -> str:
    return " ".join(body[:400].decode("utf-8", "replace").split())[:120]
