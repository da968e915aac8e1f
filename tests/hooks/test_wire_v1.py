# SPDX-License-Identifier: Apache-2.0
"""The taps on a 1.x session's streams, around fakes of its loop: what they pass on, and which answers are the loop's."""

from __future__ import annotations

import asyncio
import contextvars
from types import SimpleNamespace
from typing import Any

import pytest
from recording import RecordingAuditor

from opentelemetry.instrumentation.mcp_audit.hooks import wire_v1


class JSONRPCRequest(SimpleNamespace):
    """Named as the SDK's model is: names are how the tap tells them apart."""


class JSONRPCError(SimpleNamespace):
    """A fake of the SDK's error answer."""


def message(root: Any) -> Any:
    return SimpleNamespace(message=Message(root), metadata=None)


class Message:
    """Can be referred to weakly, as the SDK's models can."""

    def __init__(self, root: Any) -> None:
        self.root = root


def request(request_id: Any = 1, method: str = "tools/call") -> Any:
    return message(JSONRPCRequest(id=request_id, method=method, params={"name": "t", "_meta": {"k": 1}}))


def refusal(request_id: Any = 1) -> Any:
    error = SimpleNamespace(code=-32602, message="Invalid request parameters", data="")
    return message(JSONRPCError(id=request_id, error=error))


class Stream:
    """A fake of both streams: gives ``items`` and keeps what is sent, or raises ``fails`` for it."""

    def __init__(self, *items: Any, fails: BaseException | None = None) -> None:
        self.items = list(items)
        self.sent: list[Any] = []
        self.fails = fails
        self.other = "attribute"

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        if not self.items:
            raise StopAsyncIteration
        return self.items.pop(0)

    async def send(self, item: Any) -> str:
        if self.fails is not None:
            raise self.fails
        self.sent.append(item)
        return "sent"


class Session:
    """A fake of ``ServerSession``; ``loop`` is what its receive loop does with each message."""

    client_params = None

    def __init__(self, read: Stream, write: Stream) -> None:
        self._read_stream: Any = read
        self._write_stream: Any = write
        models = SimpleNamespace(model_fields={"root": SimpleNamespace(annotation=None)})
        self._receive_request_type = models

    async def run(self, loop: Any) -> None:
        async for each in self._read_stream:
            await loop(self, each)


def run(auditor: RecordingAuditor, session: Session, loop: Any) -> None:
    tapped = wire_v1.receive_loop(auditor.switch())
    asyncio.run(tapped(session.run, session, (loop,), {}))


async def refuse(session: Session, each: Any) -> None:
    assert await session._write_stream.send(refusal(each.message.root.id)) == "sent"


def test_what_the_loop_answers_is_recorded() -> None:
    auditor, write = RecordingAuditor(), Stream()
    run(auditor, Session(Stream(request(1), request(2)), write), refuse)
    assert [call.invocation.request_id for call in auditor.calls] == [1, 2]
    assert [call.outcomes[0].status_code for call in auditor.calls] == ["-32602", "-32602"]
    assert auditor.calls[0].invocation.params == {"name": "t"}
    assert auditor.calls[0].invocation.meta == {"k": 1}
    assert len(write.sent) == 2
    assert auditor.problems == []


def test_what_another_task_answers_is_not() -> None:
    auditor, write = RecordingAuditor(), Stream()

    async def loop(session: Session, each: Any) -> None:
        # A handler is started outside the loop's context, as the SDK's server does.
        await outside.copy().run(asyncio.ensure_future, session._write_stream.send(refusal()))

    outside = contextvars.copy_context()
    run(auditor, Session(Stream(request()), write), loop)
    assert (auditor.calls, len(write.sent), auditor.problems) == ([], 1, [])


def test_an_answer_to_another_request_is_not() -> None:
    auditor, write = RecordingAuditor(), Stream()

    async def loop(session: Session, each: Any) -> None:
        await session._write_stream.send(refusal("another"))

    run(auditor, Session(Stream(request()), write), loop)
    assert (auditor.calls, len(write.sent), auditor.problems) == ([], 1, [])


@pytest.mark.parametrize(("error", "certain"), [(BrokenPipeError(), True), (asyncio.CancelledError(), False)])
def test_a_write_that_fails_is_undelivered_and_raised(error: BaseException, certain: bool) -> None:
    auditor = RecordingAuditor()
    with pytest.raises(type(error)):
        run(auditor, Session(Stream(request()), Stream(fails=error)), refuse)
    assert len(auditor.only.outcomes) == 1
    assert auditor.only.not_delivered == [(type(error).__name__, certain)]


def test_odd_messages_pass() -> None:
    auditor, seen = RecordingAuditor(), []

    async def loop(session: Session, each: Any) -> None:
        seen.append(each)

    odd = [ValueError("line"), None, SimpleNamespace(message=None), object()]
    run(auditor, Session(Stream(*odd), Stream()), loop)
    assert seen == odd
    assert (auditor.calls, auditor.problems) == ([], [])


def test_the_streams_keep_what_they_have() -> None:
    session = Session(Stream(), Stream())
    run(RecordingAuditor(), session, refuse)
    assert session._read_stream.other == session._write_stream.other == "attribute"


def test_a_session_of_another_shape_is_left_alone() -> None:
    auditor = RecordingAuditor()

    async def loop() -> str:
        return "ran"

    tapped = wire_v1.receive_loop(auditor.switch())
    assert asyncio.run(tapped(loop, object(), (), {})) == "ran"
    assert auditor.problems == ["mcp_audit: watching a session failed: AttributeError"]
