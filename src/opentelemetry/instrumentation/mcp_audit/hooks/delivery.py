# SPDX-License-Identifier: Apache-2.0
"""Answers between the session that gave them away and the transport that makes text of them.

A stream takes an answer long before it is text; that it cannot be text (a lone surrogate) or not be written (stdout is
closed) shows only in the transport, where nothing tells which call it was. The message object itself does: it is the
same one all the way, and is remembered here, by weak reference, for as long as it lives.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from .exchange import Exchange, found
from .running import Switch, Wrapper

if TYPE_CHECKING:
    from opentelemetry.instrumentation.mcp_audit.call import Call

# The models of answers, by name in both SDK generations; all else that is written is a notification or a question.
ANSWERS: Final = frozenset({"JSONRPCResponse", "JSONRPCError"})
# The functions in which both SDK generations make text of an answer for stdout and for HTTP+SSE; others there read.
_WRITERS: Final = frozenset({"stdout_writer", "sse_writer"})


def remember(switch: Switch, message: Any, call: Call) -> None:
    """Note that ``message`` is the answer of ``call``. Forgotten when the SDK drops the message."""
    key, answers = id(message), switch.answers
    answers[key] = (ref(message, partial(_forget, answers, key)), call)


def _forget(answers: dict[int, Any], key: int, _: Any) -> None:
    answers.pop(key, None)


def failed(switch: Switch, message: Any, error: BaseException) -> None:
    """The transport could not deliver ``message``: said of its call, if it is an audited call's answer."""
    known = switch.answers.get(id(message))
    if known is not None and known[0]() is message:
        known[1].undelivered(type(error).__name__)


def as_text(switch: Switch) -> Wrapper:
    """Wrapper of ``StreamableHTTPServerTransport._create_event_data(self, event_message)`` and
    ``._create_json_response(self, message, …)``, which make text of an answer."""

    def seen(wrapped: Callable[..., Any], transport: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return wrapped(*args, **kwargs)
        except Exception as error:
            given = args[0] if args else None
            if switch.on:
                switch.guarded(
                    "recording an undelivered answer", failed, switch, getattr(given, "message", given), error
                )
            raise

    return seen


def until_over(switch: Switch) -> Wrapper:
    """Wrapper of ``StreamableHTTPServerTransport.handle_request(self, scope, receive, send)``: with it the answer ends.

    A tool of a session that is kept goes on when its client has hung up. Where the server stores events the client may
    come back for the answer, so nothing is said of those.
    """

    def watched(wrapped: Callable[..., Any], transport: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        exchange = found(args[0] if args else kwargs.get("scope")) if switch.on else None
        answering = wrapped(*args, **kwargs)
        if exchange is None or getattr(transport, "_event_store", None) is not None:
            return answering
        return _until_over(exchange, answering)

    return watched


async def _until_over(exchange: Exchange, answering: Awaitable[Any]) -> Any:
    try:
        return await answering
    finally:
        exchange.over = True


def connection(switch: Switch) -> Wrapper:
    """Wrapper of ``SseServerTransport.connect_sse(self, scope, receive, send) -> async context manager``."""

    def watched(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        manager = wrapped(*args, **kwargs)
        return Connection(manager, switch) if switch.on else manager

    return watched


class Connection(AbstractAsyncContextManager[Any, Any]):
    """A transport's context manager, which gives a read and a write stream: the answer on which its writer broke is told."""

    def __init__(self, manager: Any, switch: Switch) -> None:
        self._manager = manager
        self._switch = switch
        self._end: WriteEnd | None = None

    async def __aenter__(self) -> Any:
        streams = await self._manager.__aenter__()
        if type(streams) is not tuple or len(streams) != 2:
            return streams
        self._end = WriteEnd(streams[1])
        return streams[0], self._end

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any:
        try:
            return await self._manager.__aexit__(kind, error, trace)
        except BaseException as broken:
            if self._end is not None:
                self._switch.guarded("recording an undelivered answer", self._end.broke, self._switch, broken)
            raise


class WriteEnd:
    """The write stream of a transport: remembers which message it handed over last, and so do its clones."""

    def __init__(self, stream: Any, handed: list[Any] | None = None) -> None:
        self._stream = stream
        self._handed: list[Any] = [None] if handed is None else handed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def __aenter__(self) -> Any:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *exit_: Any) -> Any:
        return await self._stream.__aexit__(*exit_)

    def __enter__(self) -> Any:
        self._stream.__enter__()
        return self

    def __exit__(self, *exit_: Any) -> Any:
        return self._stream.__exit__(*exit_)

    async def send(self, item: Any) -> Any:
        sent = await self._stream.send(item)
        # Handed over, and nothing else before it is written: the stream has no buffer.
        self._handed[0] = getattr(item, "message", None)
        return sent

    def send_nowait(self, item: Any) -> Any:
        sent = self._stream.send_nowait(item)
        self._handed[0] = getattr(item, "message", None)
        return sent

    def clone(self) -> WriteEnd:
        return WriteEnd(self._stream.clone(), self._handed)

    def broke(self, switch: Switch, error: BaseException) -> None:
        """The transport ended with ``error``: where its writer raised it, the last message was not written."""
        for each in _leaves(error):
            if isinstance(each, Exception) and _raised_by_writer(each):
                failed(switch, self._handed[0], each)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions in a group of groups; the tree is the SDK's and the task group's, not a client's."""
    inner = getattr(error, "exceptions", None)
    if not isinstance(inner, tuple):
        yield error
        return
    for each in inner:
        yield from _leaves(each)


def _raised_by_writer(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name in _WRITERS:
            return True
        trace = trace.tb_next
    return False
