# SPDX-License-Identifier: Apache-2.0
"""A server whose tools are busy at the same time and careless with context variables, and a memory of how each ended.

Every call has a number, in its arguments, in what the tool annotates and binds, and in its answer: whatever gets mixed
up shows as two numbers in one record. ``python busy.py`` serves it on stdin and stdout.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
import stack

from opentelemetry.instrumentation import mcp_audit

KINDS = ("plain", "threaded", "nested", "leaking", "crashing")
MEETING = 32
LEAKED: ContextVar[int] = ContextVar("leaked")


class Busy:
    """The tools of one server, and what became of each call by its number."""

    def __init__(self, meeting: int = 0, lasting: float = 0.2) -> None:
        """``meeting``: no tool goes on before so many calls are in flight at once; ``lasting``: seconds of that tool."""
        self.meeting = meeting
        self.lasting = lasting
        self.arrived = 0
        self.met: asyncio.Event | None = None
        self.started: set[int] = set()
        self.ended: dict[int, str] = {}
        self.made: Any = None

    def server(self, *, auth: bool = False) -> Any:
        self.made = stack.bare_server("busy", auth=auth)
        for kind in KINDS:
            self.made.tool(name=kind)(self._tool(getattr(self, f"_{kind}")))
        self.made.tool(name="inner")(inner)
        self.made.tool(name="lasting")(self._tool(self._lasting))
        return self.made

    def _tool(self, body: Callable[[int, str], Awaitable[str]]) -> Callable[..., Awaitable[str]]:
        async def tool(n: int, text: str) -> str:
            self.started.add(n)
            try:
                await self._meet()
                answer = await body(n, text)
            except BaseException as error:
                self.ended[n] = type(error).__name__
                raise
            self.ended[n] = "returned"
            return answer

        return tool

    async def _meet(self) -> None:
        self.met = self.met or asyncio.Event()
        self.arrived += 1
        if self.arrived >= self.meeting:
            self.met.set()
        await self.met.wait()

    async def _plain(self, n: int, text: str) -> str:
        _say(n)
        await asyncio.sleep(0)
        return f"{n} {text}"

    async def _threaded(self, n: int, text: str) -> str:
        def work() -> str:
            time.sleep(0.002)
            _say(n)
            return f"{n} {text}"

        return await asyncio.to_thread(work)

    async def _nested(self, n: int, text: str) -> str:
        _say(n)
        if hasattr(self.made, "call_tool"):
            await self.made.call_tool("inner", {"n": -n})
        else:
            await (await self.made.get_tool("inner")).run({"n": -n})
        return f"{n} {text}"

    async def _leaking(self, n: int, text: str) -> str:
        LEAKED.set(n)
        _say(n)
        # What outlives a call keeps the call's context and speaks when others are in flight.
        asyncio.get_running_loop().call_later(0.01, partial(mcp_audit.annotate, resources=[f"late/{n}"]))
        await asyncio.sleep(0.001)
        assert LEAKED.get() == n
        return f"{n} {text}"

    async def _crashing(self, n: int, text: str) -> str:
        _say(n)
        await asyncio.sleep(0)
        raise KeyError(n)

    async def _lasting(self, n: int, text: str) -> str:
        _say(n)
        await asyncio.sleep(self.lasting)
        return f"{n} {text}"


async def inner(n: int) -> str:
    """What `nested` calls; it annotates the call that it is part of."""
    await asyncio.sleep(0)
    mcp_audit.annotate(data_classes=[f"inner/{-n}"])
    return str(n)


def _say(n: int) -> None:
    mcp_audit.bind(purpose=f"purpose/{n}")
    mcp_audit.annotate(resources=[f"call/{n}"])


if __name__ == "__main__":
    stack.serve_stdio(Busy(meeting=MEETING).server())
