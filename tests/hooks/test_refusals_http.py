# SPDX-License-Identifier: Apache-2.0
"""The taps alone, on ASGI callables made for the test: one refusal a request, everything passed through unchanged."""

from __future__ import annotations

import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import wrapt
from recording import RecordingAuditor

from opentelemetry.instrumentation import mcp_audit
from opentelemetry.instrumentation.mcp_audit.hooks import refusals_http
from opentelemetry.instrumentation.mcp_audit.hooks.exchange import dispatched
from opentelemetry.instrumentation.mcp_audit.record.record import Invocation


class Layer:
    """An ASGI callable that answers with ``status`` or hands on to ``within``."""

    def __init__(self, status: int | None, body: bytes = b"no", within: Any = None) -> None:
        self.status, self.body, self.within = status, body, within

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.status is None:
            await self.within(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": self.body})


def tapped(auditor: RecordingAuditor, tap: Any, layer: Layer, switch: Any = None) -> Any:
    kind = type("Tapped", (Layer,), {})
    kind.__call__ = wrapt.FunctionWrapper(Layer.__call__, tap(switch or auditor.switch()))
    layer.__class__ = kind
    return layer


def scope(**more: Any) -> dict[str, Any]:
    return {"type": "http", "method": "POST", "path": "/mcp", "headers": [], "client": ("10.0.0.1", 1), **more}


async def ask(app: Any, asked: dict[str, Any]) -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await app(asked, None, send)
    return sent


def told(auditor: RecordingAuditor) -> list[tuple[Any, ...]]:
    return [(one.status, one.decided_by, one.reason) for one in auditor.refusals]


async def test_nested_layers_record_one_refusal_by_the_innermost_that_was_reached() -> None:
    auditor = RecordingAuditor()
    transport = tapped(auditor, refusals_http.transport, Layer(404))
    manager = tapped(auditor, refusals_http.transport, Layer(None, within=transport))
    auth = tapped(auditor, refusals_http.auth, Layer(None, within=manager))
    guard = tapped(auditor, refusals_http.guard, Layer(None, within=auth))
    sent = await ask(guard, scope())
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert told(auditor) == [(404, "session", "unknown_session")]
    auth.status = 401
    await ask(guard, scope())
    guard.status = 421
    await ask(guard, scope())
    assert told(auditor)[1:] == [(401, "auth", "missing_token"), (421, "transport_security", "bad_host")]


async def test_what_the_application_gets_is_send_to_whoever_compares_it() -> None:
    """As the SDK's own tests of its authentication do."""
    auditor = RecordingAuditor()
    got: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        got.append(send)
        await send({"type": "http.response.start", "status": 401, "headers": []})

    async def send(message: Any) -> None: ...

    await tapped(auditor, refusals_http.auth, Layer(None, within=application))(scope(), None, send)
    assert got == [send]
    assert told(auditor) == [(401, "auth", "missing_token")]


async def test_the_record_comes_before_the_answer_goes_out() -> None:
    auditor = RecordingAuditor()
    app = tapped(auditor, refusals_http.auth, Layer(401))
    seen: list[int] = []

    async def send(message: Any) -> None:
        seen.append(len(auditor.refusals))

    await app(scope(), None, send)
    assert seen == [1, 1]
    # A 400 says why in its body: the record comes before that goes out.
    app = tapped(auditor, refusals_http.transport, Layer(400))
    seen.clear()
    await app(scope(), None, send)
    assert seen == [1, 2]


async def test_what_is_known_of_it() -> None:
    auditor = RecordingAuditor()
    app = tapped(auditor, refusals_http.auth, Layer(401))
    headers = [(b"mcp-session-id", b"s"), (b"mcp-method", b"tools/call"), (b"mcp-protocol-version", b"2026-07-28")]
    asked = scope(headers=headers)

    async def bound(scope: Any, receive: Any, send: Any) -> None:
        mcp_audit.bind(tenant_id="acme")
        await app(scope, receive, send)

    await ask(bound, asked)
    (refusal,) = auditor.refusals
    invocation = refusal.invocation
    assert (invocation.method, invocation.session_id, invocation.protocol_version) == ("tools/call", "s", "2026-07-28")
    assert (invocation.transport, invocation.bound["tenant_id"]) == ("tcp", "acme")
    assert invocation.scope is asked
    assert invocation.received > 0 and invocation.started > 0


async def test_what_dispatch_answers_for_is_no_refusal() -> None:
    auditor = RecordingAuditor()
    switch = auditor.switch()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        switch.begin(Invocation("no/such", scope=scope))
        await Layer(404)(scope, receive, send)

    await ask(tapped(auditor, refusals_http.transport, Layer(None, within=app), switch), scope())
    assert told(auditor) == []
    assert len(auditor.calls) == 1


async def test_a_middleware_between_may_copy_the_scope() -> None:
    auditor = RecordingAuditor()
    auth = tapped(auditor, refusals_http.auth, Layer(403))

    async def between(scope: Any, receive: Any, send: Any) -> None:
        await auth({**scope, "user": "the copy's"}, receive, send)

    guard = tapped(auditor, refusals_http.guard, Layer(None, within=between))
    await ask(guard, scope())
    (refusal,) = auditor.refusals
    assert refusal.invocation.scope is not None and refusal.invocation.scope["user"] == "the copy's"
    dispatched(refusal.invocation.scope)


async def test_the_application_may_call_by_name() -> None:
    auditor = RecordingAuditor()
    app = tapped(auditor, refusals_http.auth, Layer(401))
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope=scope(), receive=None, send=send)
    await app(scope(), send=send, receive=None)
    assert len(auditor.refusals) == 2
    with pytest.raises(TypeError):
        await app(scope())
    with pytest.raises(TypeError):
        await app(scope(), None, other=send)


@pytest.mark.parametrize("kind", ["lifespan", "websocket", None])
async def test_other_protocols_pass(kind: str | None) -> None:
    auditor = RecordingAuditor()
    asked = {"type": kind}
    await ask(tapped(auditor, refusals_http.auth, Layer(401)), asked)
    assert auditor.refusals == []
    assert asked == {"type": kind}


async def test_off_and_successes() -> None:
    auditor = RecordingAuditor()
    switch = auditor.switch()
    app = tapped(auditor, refusals_http.transport, Layer(200), switch)
    await ask(app, scope())
    switch.on = False
    app.status = 401
    asked = scope()
    await ask(app, asked)
    assert auditor.refusals == []
    assert "mcp_audit.exchange" not in asked


async def test_what_goes_wrong_in_us_does_not_reach_the_server() -> None:
    auditor = RecordingAuditor()

    def breaks(refusal: Any) -> None:
        raise RuntimeError("no auditor")

    auditor.refuse = breaks  # type: ignore[method-assign]
    sent = await ask(tapped(auditor, refusals_http.transport, Layer(404)), scope())
    assert [message.get("status") for message in sent] == [404, None]
    assert auditor.problems == ["mcp_audit: refusals are NOT audited: RuntimeError"]


async def test_a_body_that_is_none() -> None:
    auditor = RecordingAuditor()
    app = tapped(auditor, refusals_http.transport, Layer(400, 10**15))  # type: ignore[arg-type]
    sent = await ask(app, scope())
    assert sent[1]["body"] == 10**15
    assert told(auditor) == [(400, "protocol", "unsupported_media_type")]


async def test_a_reason_that_cannot_be_told() -> None:
    """A session manager of another shape: the refusal is recorded all the same."""
    auditor = RecordingAuditor()
    transport = Layer(404)

    class Manager:
        _server_instances = 5

        async def _handle_stateful_request(self, scope: Any, receive: Any, send: Any) -> None:
            await transport(scope, receive, send)

    Manager._handle_stateful_request = wrapt.FunctionWrapper(  # type: ignore[method-assign]
        Manager._handle_stateful_request, refusals_http.stateful(auditor.switch())
    )
    app = tapped(auditor, refusals_http.transport, Layer(None, within=Manager()._handle_stateful_request))
    await ask(app, scope(headers=[(b"mcp-session-id", b"s")]))
    assert told(auditor) == [(404, "protocol", "http_404")]
    assert auditor.problems == ["mcp_audit: why a request was refused could not be told: AttributeError"]


async def test_an_answer_of_an_odd_shape() -> None:
    auditor = RecordingAuditor()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"kind": "?"})

    sent = await ask(tapped(auditor, refusals_http.transport, Layer(None, within=app)), scope())
    assert sent == [{"kind": "?"}]
    assert auditor.problems == ["mcp_audit: looking at an answer failed: KeyError"]


async def test_sse_is_watched_as_long_as_its_stream_lives() -> None:
    auditor = RecordingAuditor()

    class Sse:
        @asynccontextmanager
        async def connect_sse(self, scope: Any, receive: Any, send: Any) -> Any:
            await Layer(403)(scope, receive, send)
            yield "streams"

        handle_post_message = Layer.__call__
        status, body = 400, b"session_id is required"

    Sse.connect_sse = wrapt.FunctionWrapper(Sse.connect_sse, refusals_http.sse_connect(auditor.switch()))
    Sse.handle_post_message = wrapt.FunctionWrapper(Layer.__call__, refusals_http.sse_post(auditor.switch()))
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async with Sse().connect_sse(scope(method="GET"), None, send) as streams:
        assert streams == "streams"
    await Sse().handle_post_message(scope(headers=[(b"content-type", b"application/json")]), None, send)
    assert len(sent) == 4
    assert told(auditor) == [(403, "transport_security", "bad_origin"), (400, "session", "missing_session")]


def test_no_tap_costs_over_15_us() -> None:
    """The benchmark, shortened: it counts processor time, so that a busy machine does not matter."""
    benchmark = Path(__file__).parents[2] / "benchmarks" / "taps.py"
    command = [sys.executable, str(benchmark), "--rounds", "5", "--calls", "500"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
