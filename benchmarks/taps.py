# SPDX-License-Identifier: Apache-2.0
"""What each tap that is not the dispatch hook itself adds to an ordinary call: one row a tap. None may cost over 15 us.

    python benchmarks/taps.py [--rounds 15] [--calls 2000]

A tap is put around a function that does nothing and is called as its SDK calls it. The figure is the median over the
rounds of (with the tap − without it) a call; both are timed in turns in one process, so that drift hits both alike.
Ends with 1 when a tap is over the bar. Needs no SDK.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import wrapt

from opentelemetry.instrumentation.mcp_audit.call import Call
from opentelemetry.instrumentation.mcp_audit.hooks import delivery, mcp_v2, refusals_http, wire_v1, wire_v2
from opentelemetry.instrumentation.mcp_audit.hooks.exchange import SCOPE_EXCHANGE, Exchange, dispatched
from opentelemetry.instrumentation.mcp_audit.hooks.running import RUNNING, Running, Switch, Wrapper

BAR_US = 15.0
START = {"type": "http.response.start", "status": 200, "headers": []}
BODY = {"type": "http.response.body", "body": b"{}"}
HEADERS = [
    (b"host", b"127.0.0.1:8000"),
    (b"user-agent", b"python-httpx2/2.16.2"),
    (b"accept", b"application/json, text/event-stream"),
    (b"content-type", b"application/json"),
    (b"authorization", b"Bearer 0123456789abcdef"),
    (b"mcp-protocol-version", b"2026-07-28"),
]

Once = Callable[[], Awaitable[Any]]


@dataclass(frozen=True)
class Tap:
    """``make`` returns one ordinary call with the tap, and the same without it."""

    name: str
    make: Callable[[], tuple[Once, Once]]


def nobody() -> Any:
    """The auditor of calls that are not refused is not asked."""
    raise AssertionError("an ordinary call was taken for a refusal")


SWITCH = Switch(nobody, print)


async def receive() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Any) -> None:
    return None


async def answer(scope: Any, receive_: Any, send_: Any) -> None:
    """An application that answers 200 in two messages, as every HTTP answer is sent."""
    await send_(START)
    await send_(BODY)


async def within(scope: Any, receive_: Any, send_: Any) -> None:
    """An inner layer: the outermost one watches the answer."""


async def modern(
    app: Any, security: Any, json_response: bool, state: Any, scope: Any, receive_: Any, send_: Any
) -> None:
    """What serves 2026-07-28, by its arguments."""


def fresh_scope() -> dict[str, Any]:
    return {"type": "http", "method": "POST", "path": "/mcp", "headers": HEADERS, "client": ("10.0.0.1", 4711)}


def seen_scope() -> dict[str, Any]:
    scope: dict[str, Any] = fresh_scope()
    scope[SCOPE_EXCHANGE] = Exchange(scope, "transport")
    return scope


def outermost(wrapper: Wrapper) -> tuple[Once, Once]:
    tapped = wrapt.FunctionWrapper(answer, wrapper)
    return lambda: tapped(fresh_scope(), receive, send), lambda: answer(fresh_scope(), receive, send)


def inner(wrapper: Wrapper) -> tuple[Once, Once]:
    tapped, scope = wrapt.FunctionWrapper(within, wrapper), seen_scope()
    return lambda: tapped(scope, receive, send), lambda: within(scope, receive, send)


def of_modern(wrapper: Wrapper) -> tuple[Once, Once]:
    tapped, scope = wrapt.FunctionWrapper(modern, wrapper), seen_scope()
    return (
        lambda: tapped(None, None, False, None, scope, receive, send),
        lambda: modern(None, None, False, None, scope, receive, send),
    )


def of_dispatch() -> tuple[Once, Once]:
    scope = seen_scope()

    async def marked() -> None:
        dispatched(scope)

    async def bare() -> None:
        return None

    return marked, bare


class JSONRPCResponse:
    """An answer, told by this name in both SDKs; mcp 1.x has it in a ``root``, a transport in a ``message``."""

    id = 7

    @property
    def root(self) -> JSONRPCResponse:
        return self

    @property
    def message(self) -> JSONRPCResponse:
        return self


class JSONRPCRequest(JSONRPCResponse):
    """A request, likewise."""


CALL = cast(Call, SimpleNamespace(invocation=SimpleNamespace(request_id=7, scope=seen_scope())))


class Stream:
    """Either stream of a session."""

    async def send(self, item: Any) -> None:
        return None

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> JSONRPCRequest:
        return JSONRPCRequest()


def session_of_v1() -> Any:
    """A session whose streams are tapped, in the context of a call whose answer comes."""
    RUNNING.set(Running(CALL, "tools/call"))
    session = SimpleNamespace(_read_stream=Stream(), _write_stream=Stream())

    async def loop() -> None:
        return None

    wrapt.FunctionWrapper(
        loop, lambda wrapped, _, *rest: wire_v1.receive_loop(SWITCH)(wrapped, session, *rest)
    )().close()
    return session


def of_write_stream() -> tuple[Once, Once]:
    tapped, bare = session_of_v1()._write_stream, Stream()
    return lambda: tapped.send(JSONRPCResponse()), lambda: bare.send(JSONRPCResponse())


def of_read_stream() -> tuple[Once, Once]:
    tapped, bare = aiter(session_of_v1()._read_stream), Stream()
    return lambda: anext(tapped), lambda: anext(bare)


def of_transport() -> tuple[Once, Once]:
    bare = Stream()
    tapped = delivery.WriteEnd(bare)
    return lambda: tapped.send(JSONRPCResponse()), lambda: bare.send(JSONRPCResponse())


def of_text() -> tuple[Once, Once]:
    def as_text(message: Any) -> str:
        return ""

    tapped = wrapt.FunctionWrapper(as_text, delivery.as_text(SWITCH))

    async def once(make: Callable[[Any], str]) -> None:
        make(JSONRPCResponse())

    return lambda: once(tapped), lambda: once(as_text)


def of_dispatcher() -> tuple[Once, Once]:
    async def handled(request: Any, dctx: Any, scope: Any, on_request: Any) -> None:
        await on_request(dctx, "tools/call", {})

    async def on_request(dctx: Any, method: str, params: Any) -> None:
        return None

    on_request.__module__ = "mcp.server.runner"
    tapped = wrapt.FunctionWrapper(handled, wire_v2.handle_request(SWITCH))
    request = JSONRPCRequest()
    return lambda: tapped(request, None, None, on_request), lambda: handled(request, None, None, on_request)


def of_written() -> tuple[Once, Once]:
    async def written(message: Any, metadata: Any) -> None:
        return None

    exchange = mcp_v2.Exchange(7)
    exchange.call = CALL
    mcp_v2.EXCHANGE.set(exchange)
    tapped = wrapt.FunctionWrapper(written, wire_v2.write(SWITCH))
    return lambda: tapped(JSONRPCResponse(), None), lambda: written(JSONRPCResponse(), None)


TAPS = (
    Tap("mcp 1.x: read stream of a session", of_read_stream),
    Tap("mcp 1.x: write stream of a session", of_write_stream),
    Tap("mcp 2.x: dispatcher of a stream", of_dispatcher),
    Tap("mcp 2.x: answer written by the dispatcher", of_written),
    Tap("stdio, http+sse: answer handed to the transport", of_transport),
    Tap("http: answer made text", of_text),
    Tap("http: outermost layer, watches the answer", lambda: outermost(refusals_http.auth(SWITCH))),
    Tap("http: fastmcp's guard of Host and Origin", lambda: outermost(refusals_http.guard(SWITCH))),
    Tap("http: authentication inside another layer", lambda: inner(refusals_http.auth(SWITCH))),
    Tap("http: session manager inside another layer", lambda: inner(refusals_http.transport(SWITCH))),
    Tap("http: limit on bodies inside another layer", lambda: inner(refusals_http.body_limit(SWITCH))),
    Tap("http: sessions are kept", lambda: inner(refusals_http.stateful(SWITCH))),
    Tap("http: 2026-07-28", lambda: of_modern(refusals_http.modern(SWITCH))),
    Tap("http+sse: message posted", lambda: inner(refusals_http.sse_post(SWITCH))),
    Tap("http: the end of the answer", lambda: inner(delivery.until_over(SWITCH))),
    Tap("dispatch: marks its HTTP request", of_dispatch),
)


async def timed(once: Once, calls: int) -> float:
    """Microseconds of processor time a call: other programs on the machine do not count."""
    began = time.thread_time_ns()
    for _ in range(calls):
        await once()
    return (time.thread_time_ns() - began) / calls / 1000


async def cost(tap: Tap, rounds: int, calls: int) -> float:
    with_tap, without = tap.make()
    await timed(with_tap, calls)
    return statistics.median([await timed(with_tap, calls) - await timed(without, calls) for _ in range(rounds)])


async def main(rounds: int, calls: int) -> int:
    print(f"{rounds} rounds of {calls} calls; Python {sys.version.split()[0]}; medians\n")
    print(f"{'tap':<50}{'us a call':>10}")
    found = {tap.name: await cost(tap, rounds, calls) for tap in TAPS}
    for name, microseconds in found.items():
        print(f"{name:<50}{microseconds:>10.2f}{'   OVER THE BAR' if microseconds > BAR_US else ''}")
    print(f"\nbar: {BAR_US:.0f} us a tap")
    return int(any(microseconds > BAR_US for microseconds in found.values()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=2000)
    options = parser.parse_args()
    sys.exit(asyncio.run(main(options.rounds, options.calls)))
