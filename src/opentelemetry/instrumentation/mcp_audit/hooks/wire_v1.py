# SPDX-License-Identifier: Apache-2.0
"""mcp 1.x (and fastmcp 2 and 3): the requests that a session answers itself, before any handler.

``initialize``, methods that nobody knows, params that fit no schema and requests before ``initialize`` are answered by
the session's receive loop, straight into its write stream. The loop reads one message, deals with it, reads the next;
so whatever it writes under the id of the message it read last is that message's answer. Its two streams are replaced by
:class:`_Read`, which remembers that message, and :class:`_Write`, which sees such answers. What handlers write comes
from other tasks and passes with one look at a context variable.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, get_args

from opentelemetry.instrumentation.mcp_audit.record.record import Outcome

from . import delivery, reasons
from .mcp_v1 import invocation
from .running import RUNNING, Running, Switch, Wrapper, on_disk

_LOOP: Final[ContextVar[_Tap | None]] = ContextVar("mcp_audit.receive_loop", default=None)


def receive_loop(switch: Switch) -> Wrapper:
    """Wrapper of ``ServerSession._receive_loop(self)``, which runs once a session, in a task of its own."""

    def tapped(
        wrapped: Callable[..., Coroutine[Any, Any, Any]], session: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Coroutine[Any, Any, Any]:
        tap = switch.guarded("watching a session", _Tap, switch, session) if switch.on else None
        return wrapped(*args, **kwargs) if tap is None else _marked(tap, wrapped, args, kwargs)

    return tapped


async def _marked(
    tap: _Tap, wrapped: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    # Never reset: the task is the loop, and its context ends with it.
    _LOOP.set(tap)
    return await wrapped(*args, **kwargs)


class _Tap:
    """What the two streams of one session share: the request that the loop is at, and when it came."""

    __slots__ = ("_methods", "came", "pending", "session", "switch")

    def __init__(self, switch: Switch, session: Any) -> None:
        self.switch = switch
        self.session = session
        self.pending: Any = None
        self.came = (0, 0)
        self._methods: frozenset[str] | None = None
        session._read_stream, session._write_stream = (
            _Read(self, session._read_stream),
            _Write(self, session._write_stream),
        )

    def read(self, message: Any) -> None:
        """The loop has read ``message`` and is at it from now on."""
        root = getattr(getattr(message, "message", None), "root", None)
        if type(root).__name__ == "JSONRPCRequest":
            self.came = (time.time_ns(), time.monotonic_ns())
            self.pending = message

    def answered(self, message: Any) -> Any:
        """The audited call whose answer the loop is about to write, its record made; None for anything else."""
        pending, answer = self.pending, message.message.root
        request = pending.message.root
        if type(answer).__name__ not in delivery.ANSWERS or answer.id != request.id:
            return None
        self.pending = None
        asked = request.params if isinstance(request.params, Mapping) else {}
        meta = asked.get("_meta")
        call = self.switch.begin(
            invocation(
                self.session,
                request.method,
                {name: value for name, value in asked.items() if name != "_meta"},
                meta if isinstance(meta, Mapping) else {},
                request.id,
                pending.metadata,
                self.came,
            )
        )
        if call is not None:
            call.finish(self.switch.outcome("protocol_error", self._outcome, answer, request.method))
        return call

    def _outcome(self, answer: Any, method: str) -> Outcome:
        error = getattr(answer, "error", None)
        if error is None:
            return reasons.of_result(answer.result, method, None, None)
        outcome = reasons.of_rpc_error(error.code, error.message, error.data, method)
        if error.code == reasons.INVALID_PARAMS and method not in self._known_methods():
            # 1.x has one answer for all that fits none of its models; 2.x says which it was.
            outcome.detail = "unknown_method"
        elif outcome.detail != "denied" and error.code == reasons.INVALID_PARAMS:
            outcome.detail, outcome.error_type = "invalid_params", None
        return outcome

    def _known_methods(self) -> frozenset[str]:
        """The methods that this session has models for, found when first asked."""
        if self._methods is None:
            union = self.session._receive_request_type.model_fields["root"].annotation
            literals = (get_args(model.model_fields["method"].annotation) for model in get_args(union))
            self._methods = frozenset(name for literal in literals for name in literal)
        return self._methods


class _Stream:
    """A stream of the SDK's with all it has, to which a subclass adds one look."""

    def __init__(self, tap: _Tap, stream: Any) -> None:
        self._tap = tap
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def __aenter__(self) -> Any:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *exit_: Any) -> Any:
        return await self._stream.__aexit__(*exit_)


class _Read(_Stream):
    """The read stream of a session."""

    def __aiter__(self) -> Any:
        self._iterator = self._stream.__aiter__()
        return self

    async def __anext__(self) -> Any:
        # The loop is done with the last one: it was answered, or is a handler's now.
        self._tap.pending = None
        message = await self._iterator.__anext__()
        self._tap.switch.guarded("reading a message", self._tap.read, message)
        return message


class _Write(_Stream):
    """The write stream of a session."""

    async def send(self, item: Any) -> Any:
        tap = self._tap
        if tap.pending is None or _LOOP.get() is not tap or not tap.switch.on:
            # A handler's: the hook around it makes the record, and hears of a failure here.
            running = RUNNING.get()
            if running is not None and tap.switch.on:
                tap.switch.guarded("noting an answer", _note, tap.switch, item, running)
            return await self._stream.send(item)
        call = tap.switch.guarded("recording a request", tap.answered, item)
        if call is None:
            return await self._stream.send(item)
        tap.switch.guarded("noting an answer", delivery.remember, tap.switch, item.message, call)
        await on_disk(call)
        try:
            return await self._stream.send(item)
        except BaseException as error:
            tap.switch.guarded(
                "recording an undelivered answer",
                partial(call.undelivered, type(error).__name__, certain=isinstance(error, Exception)),
            )
            raise


def _note(switch: Switch, item: Any, running: Running) -> None:
    root = item.message.root
    if type(root).__name__ in delivery.ANSWERS and root.id == running.call.invocation.request_id:
        delivery.remember(switch, item.message, running.call)
