# SPDX-License-Identifier: Apache-2.0
"""Which answer a transport broke on, and which it had delivered before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from recording import RecordingAuditor, RecordingCall

from opentelemetry.instrumentation.mcp_audit.hooks.delivery import Connection, WriteEnd, remember, until_over
from opentelemetry.instrumentation.mcp_audit.hooks.exchange import SCOPE_EXCHANGE, Exchange, answered_nobody
from opentelemetry.instrumentation.mcp_audit.hooks.running import Switch
from opentelemetry.instrumentation.mcp_audit.record.record import Invocation


class Message:
    """An answer, which can be remembered."""


class Group(Exception):
    """As a task group raises; Python 3.10 has none of its own."""

    def __init__(self, error: Exception) -> None:
        super().__init__("of a task group")
        self.exceptions = (error,)


class Stream:
    """A write stream that takes everything."""

    async def send(self, item: Any) -> None: ...

    def send_nowait(self, item: Any) -> None: ...

    def clone(self) -> Stream:
        return Stream()


class Transport:
    """Gives two streams; ends as its writer did."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def __aenter__(self) -> Any:
        return Stream(), Stream()

    async def __aexit__(self, *exit_: Any) -> None:
        def sse_writer() -> None:
            raise self.error

        try:
            sse_writer()
        except Exception as error:
            raise Group(error) from None


def switch() -> Switch:
    return Switch(lambda: RecordingAuditor(), lambda sentence: None)  # type: ignore[arg-type, return-value]


def answer_of(switch: Switch) -> tuple[SimpleNamespace, RecordingCall]:
    message, call = Message(), RecordingCall(Invocation("tools/call"))
    remember(switch, message, call)  # type: ignore[arg-type]
    return SimpleNamespace(message=message), call


@pytest.mark.parametrize("way", ["send", "send_nowait", "clone"])
async def test_the_message_that_was_handed_over_last_is_lost(way: str) -> None:
    on = switch()
    (first, delivered), (second, lost) = answer_of(on), answer_of(on)
    with pytest.raises(Exception, match="of a task group"):
        async with Connection(Transport(ValueError("no text")), on) as (_, writer):
            await writer.send(first)
            if way == "send_nowait":
                writer.send_nowait(second)
            else:
                await (writer.clone() if way == "clone" else writer).send(second)
    assert (delivered.not_delivered, lost.not_delivered) == ([], [("ValueError", True)])


async def test_the_write_end_is_a_stream_in_every_way() -> None:
    """A server's own code may hold it: what it does with anyio's stream it can do with this."""
    send, receive = anyio.create_memory_object_stream[Any](1)
    end = WriteEnd(send)
    with end.clone() as clone:
        clone.send_nowait("one")
    assert (await receive.receive(), end.statistics().open_send_streams) == ("one", 1)
    async with end as same:
        assert same is end
    assert end.statistics().open_send_streams == 0
    receive.close()


@pytest.mark.parametrize("stores_events", [False, True])
async def test_an_exchange_is_over_when_its_handler_ends(stores_events: bool) -> None:
    scope: dict[str, Any] = {"type": "http"}
    scope[SCOPE_EXCHANGE] = Exchange(scope, "transport")
    seen = []

    async def handle_request(scope: Any, receive: Any, send: Any) -> None:
        seen.append(answered_nobody(scope))
        raise ConnectionError

    transport = SimpleNamespace(_event_store=object() if stores_events else None)
    with pytest.raises(ConnectionError):
        await until_over(switch())(handle_request, transport, (scope, None, None), {})
    assert (seen, answered_nobody(scope)) == ([False], not stores_events)
    assert not answered_nobody(None) and not answered_nobody({"type": "http"})
