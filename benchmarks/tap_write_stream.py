# SPDX-License-Identifier: Apache-2.0
"""What the taps beside the handler cost a call: ``python benchmarks/tap_write_stream.py``, in an environment with mcp.

Each tap is measured alone, in one loop over the SDK's own object and over the same object behind the tap, with a call's
message and an audited call in force. Printed: the median of the differences of 15 pairs of rounds, in microseconds of CPU a
call. The bar is 15 us for each. What is made only for refused or lost answers is on no call's path and not measured.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

from opentelemetry.instrumentation.mcp_audit.hooks import asked, delivery, mcp_v2, wire_v1, wire_v2
from opentelemetry.instrumentation.mcp_audit.hooks.running import RUNNING, Running, Switch
from opentelemetry.instrumentation.mcp_audit.record.record import Invocation

ROUNDS, CALLS, BAR = 15, 3000, 15.0
V2 = find_spec("mcp.server.runner") is not None

Step = Callable[[], Awaitable[Any]]


def switch_of() -> Switch:
    """Hooks that are on, and an auditor that keeps nothing: only the taps themselves are measured."""
    return Switch(lambda: SimpleNamespace(begin=lambda invocation: None), print)  # type: ignore[arg-type,return-value]


def running_call() -> Any:
    return SimpleNamespace(invocation=Invocation("tools/call", request_id=7), undelivered=print, on_disk=None)


class Bare:
    """A stream that does nothing, so that the difference is the tap."""

    def __init__(self, item: Any) -> None:
        self.item = item

    def __aiter__(self) -> Bare:
        return self

    async def __anext__(self) -> Any:
        return self.item

    async def send(self, item: Any) -> None:
        return None


async def seconds(step: Step) -> float:
    started = time.process_time()
    for _ in range(CALLS):
        await step()
    return time.process_time() - started


async def cost(bare: Step, tapped: Step) -> float:
    """Microseconds a call that ``tapped`` takes more than ``bare``."""
    return statistics.median([(await seconds(tapped) - await seconds(bare)) / CALLS * 1e6 for _ in range(ROUNDS)])


def streams_v1() -> dict[str, tuple[Step, Step]]:
    from mcp.shared.message import SessionMessage
    from mcp.types import JSONRPCMessage, JSONRPCRequest, JSONRPCResponse

    params = {"name": "add", "arguments": {"a": 1}}
    asked_for = SessionMessage(JSONRPCMessage(JSONRPCRequest(jsonrpc="2.0", id=7, method="tools/call", params=params)))

    def answer() -> Any:
        return SessionMessage(JSONRPCMessage(JSONRPCResponse(jsonrpc="2.0", id=7, result={})))

    bare, behind = Bare(asked_for), SimpleNamespace(_read_stream=Bare(asked_for), _write_stream=Bare(asked_for))
    tap = wire_v1._Tap(switch_of(), behind)
    read, write = behind._read_stream.__aiter__(), behind._write_stream

    async def answered() -> None:
        tap.pending = None  # as the loop has it, which has gone on to the next message
        await write.send(answer())

    async def plain() -> None:
        tap.pending = None
        await bare.send(answer())

    return {"read a message": (bare.__anext__, read.__anext__), "write an answer": (plain, answered)}


def streams_v2() -> dict[str, tuple[Step, Step]]:
    from mcp_types import JSONRPCResponse

    switch = switch_of()
    exchange = mcp_v2.Exchange(7)
    exchange.reached, exchange.call = True, running_call()
    written, exchanged = wire_v2.write(switch), wire_v2.handle_request(switch)
    bare = Bare(None)

    async def handler(*args: Any) -> None:
        return None

    handler.__module__ = "mcp.server.runner"
    request = SimpleNamespace(id=7)

    async def dispatch(req: Any, dctx: Any, scope: Any, on_request: Any) -> None:
        await on_request(dctx, "tools/call", {})

    async def dispatched() -> None:
        await exchanged(dispatch, None, (request, None, None, handler), {})

    async def plain_dispatch() -> None:
        await dispatch(request, None, None, handler)

    async def answered() -> None:
        mcp_v2.EXCHANGE.set(exchange)
        await written(bare.send, None, (JSONRPCResponse(jsonrpc="2.0", id=7, result={}),), {})

    async def plain() -> None:
        mcp_v2.EXCHANGE.set(exchange)
        await bare.send(JSONRPCResponse(jsonrpc="2.0", id=7, result={}))

    return {"dispatch a request": (plain_dispatch, dispatched), "write an answer": (plain, answered)}


async def main() -> int:
    """Measure, print one line a tap, and exit 1 if one is over the bar."""
    RUNNING.set(Running(running_call(), "tools/call"))
    item = SimpleNamespace(message=object())
    end, switch = delivery.PipeEnd(Bare(item)), switch_of()
    text, ask = delivery.as_text(switch), asked.send_request(switch)
    model = SimpleNamespace(method="ping", params=None)

    async def nothing(*args: Any) -> None:
        return None

    async def make_text() -> None:
        text(len, None, ("",), {})

    async def plain_text() -> None:
        len("")

    async def question() -> None:
        await ask(nothing, None, (model,), {})

    taps: dict[str, tuple[Step, Step]] = {
        **(streams_v2() if V2 else streams_v1()),
        "stdio: hand an answer over": (lambda: Bare(item).send(item), lambda: end.send(item)),
        "http: make text of an answer": (plain_text, make_text),
        "ask the client, no rule for it": (lambda: nothing(model), question),
    }
    worst = 0.0
    for name, (bare, tapped) in taps.items():
        spent = await cost(bare, tapped)
        worst = max(worst, spent)
        print(f"{'mcp 2.x' if V2 else 'mcp 1.x'}  {name:32} {spent:6.2f} us a call")
    print(f"bar {BAR:.0f} us: {'held' if worst <= BAR else 'MISSED'}")
    return 0 if worst <= BAR else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
