# SPDX-License-Identifier: Apache-2.0
"""mcp 2.x (and fastmcp 4): what the dispatcher of a stream does around ``ServerRunner._on_request``.

Before it, the server's stream loop refuses requests of the wrong protocol era (an enveloped request on a handshake
connection, ``initialize`` on a modern one, a missing envelope). After it, the dispatcher writes the answer, and only
logs when that fails. Both happen inside ``JSONRPCDispatcher._handle_request``, one task a request.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from . import delivery, reasons
from .exchange import answered_nobody
from .mcp_v2 import EXCHANGE, Exchange, loose_invocation
from .running import Switch, Wrapper, on_disk

# Clients use the same dispatcher; only the server's loops are the server's.
_SERVER: Final = "mcp.server.runner"


def handle_request(switch: Switch) -> Wrapper:
    """Wrapper of ``JSONRPCDispatcher._handle_request(self, req, dctx, scope, on_request)``."""

    async def exchanged(
        wrapped: Callable[..., Awaitable[Any]], dispatcher: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if not switch.on or len(args) != 4 or getattr(args[3], "__module__", None) != _SERVER:
            return await wrapped(*args, **kwargs)
        exchange = Exchange(args[0].id)
        # Never reset: the task is the request's, and its context ends with it.
        EXCHANGE.set(exchange)
        on_request = args[3]
        if hasattr(on_request, "__self__"):
            # The runner itself: nothing is refused before it.
            return await wrapped(*args, **kwargs)
        came = time.time_ns(), time.monotonic_ns()

        async def seen(dctx: Any, method: str, params: Any) -> Any:
            try:
                return await on_request(dctx, method, params)
            except Exception as error:
                if not exchange.reached:
                    call = switch.guarded(
                        "recording a refused request", _refused, switch, dctx, method, params, error, came
                    )
                    if call is not None:
                        exchange.call = call
                        await on_disk(call)
                raise

        return await wrapped(*args[:3], seen)

    return exchanged


def write(switch: Switch) -> Wrapper:
    """Wrapper of ``JSONRPCDispatcher._write(self, message, metadata)``: an answer that cannot be written is told."""

    async def watched(
        wrapped: Callable[..., Awaitable[Any]], dispatcher: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        exchange = EXCHANGE.get()
        call = exchange.call if exchange is not None and switch.on else None
        if call is None or type(args[0]).__name__ not in delivery.ANSWERS or args[0].id != call.invocation.request_id:
            return await wrapped(*args, **kwargs)
        switch.guarded("noting an answer", delivery.remember, switch, args[0], call)
        try:
            written = await wrapped(*args, **kwargs)
        except BaseException as error:
            # No await: a cancelled scope raises again at every one. An interrupted write may have got through.
            switch.guarded(
                "recording an undelivered answer",
                partial(call.undelivered, type(error).__name__, certain=isinstance(error, Exception)),
            )
            raise
        if answered_nobody(call.invocation.scope):
            call.undelivered("client_gone")
        return written

    return watched


def _refused(switch: Switch, dctx: Any, method: str, params: Any, error: Exception, came: tuple[int, int]) -> Any:
    call = switch.begin(loose_invocation(dctx, method, params, came))
    if call is not None:
        call.finish(switch.outcome("protocol_error", partial(reasons.of_exception, error, method, None, 0)))
    return call
