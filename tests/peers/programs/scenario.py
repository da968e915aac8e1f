# SPDX-License-Identifier: Apache-2.0
"""``scenario.py PEER ORDER``: the same calls with one peer's instrumentation, and with ours or without.

PEER: none, sentry, openinference, traceloop. ORDER: without, first (ours before the peer's), last.
Prints one JSON object: the answers, the peer's spans in a form that two runs share, our records, or the error.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from opentelemetry import trace
from opentelemetry.instrumentation.mcp_audit.testing import AuditCapture, capture_audit

# By version and not by feature: looking into the SDK would import it before the peers wait for that.
V2 = version("mcp").startswith("2.")
FASTMCP = find_spec("fastmcp") is not None
# What no two runs share: ids, addresses, clocks.
_RANDOM = re.compile(
    r"\b[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\b|\b[0-9a-f]{16}\b|0x[0-9a-f]+"
)


def stable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: stable(inner) for key, inner in sorted(value.items())}
    if isinstance(value, (list, tuple)):
        return [stable(item) for item in value]
    return _RANDOM.sub("<random>", value) if isinstance(value, str) else value


def start_sentry() -> Callable[[], list[Any]]:
    import sentry_sdk
    from sentry_sdk.integrations.mcp import MCPIntegration
    from sentry_sdk.transport import Transport

    envelopes: list[Any] = []

    class Collecting(Transport):
        def capture_envelope(self, envelope: Any) -> None:
            envelopes.append(envelope)

    sentry_sdk.init(
        dsn="http://key@127.0.0.1:9/1",
        transport=Collecting,
        traces_sample_rate=1.0,
        default_integrations=False,
        integrations=[MCPIntegration()],
    )

    def spans() -> list[Any]:
        sentry_sdk.flush(5)
        found = []
        for envelope in envelopes:
            event = envelope.get_transaction_event() or envelope.get_event()
            if event is None:
                continue
            told = [(one.get("op"), one.get("description"), one.get("data")) for one in event.get("spans", [])]
            root = event.get("contexts", {}).get("trace", {})
            found.append([event.get("transaction"), event.get("exception", {}).get("values", [{}])[0].get("type")])
            found.append([root.get("op"), root.get("status"), *told])
        return found

    return spans


def start(peer: str) -> tuple[Callable[[], list[Any]], str | None]:
    """Instrument; what gives the spans in the end, and with what the peer broke, if it did."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    spans, broken = None, None
    try:
        spans = _instrument(peer, provider)
    except Exception as error:
        broken = f"{type(error).__name__}: {error}"
    return spans or (lambda: described(exporter.get_finished_spans())), broken


def _instrument(peer: str, provider: TracerProvider) -> Callable[[], list[Any]] | None:
    if peer == "sentry":
        return start_sentry()
    if peer == "openinference":
        from openinference.instrumentation.mcp import MCPInstrumentor

        MCPInstrumentor().instrument(tracer_provider=provider)
    if peer == "traceloop":
        from opentelemetry.instrumentation.mcp import McpInstrumentor

        McpInstrumentor().instrument(tracer_provider=provider)
    return None


def described(spans: tuple[ReadableSpan, ...]) -> list[Any]:
    names = {span.get_span_context().span_id: span.name for span in spans}  # type: ignore[union-attr]
    traces = list(dict.fromkeys(span.get_span_context().trace_id for span in spans))  # type: ignore[union-attr]
    return [
        [
            span.name,
            span.kind.name,
            span.status.status_code.name,
            span.status.description,
            names.get(span.parent.span_id, "?") if span.parent is not None else None,
            traces.index(span.get_span_context().trace_id),  # type: ignore[union-attr]
            dict(span.attributes or {}),
            # Ours is what we add on purpose.
            [
                [event.name, sorted(event.attributes or {})]
                for event in span.events
                if not event.name.startswith("mcp_audit.")
            ],
        ]
        for span in spans
    ]


def server() -> Any:
    if FASTMCP:
        from fastmcp import FastMCP
    elif V2:
        from mcp.server.mcpserver import MCPServer as FastMCP  # type: ignore[no-redef]
    else:
        from mcp.server.fastmcp import FastMCP  # type: ignore[no-redef]
    made: Any = FastMCP("peers")

    @made.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @made.tool()
    def crash() -> str:
        """Fail."""
        raise KeyError("missing")

    @made.resource("data://text")
    def text() -> str:
        """A text."""
        return "text"

    @made.prompt()
    def greet(name: str) -> str:
        """A prompt."""
        return f"hello {name}"

    return made


async def converse() -> list[Any]:
    answers: list[Any] = []

    async def keep(call: Any) -> None:
        try:
            answer = await call
            answers.append(repr(answer))
        except Exception as error:
            answers.append(repr(error))

    async def ask(session: Any) -> None:
        from pydantic import AnyUrl

        await keep(session.call_tool("add", {"a": 1, "b": 2}))
        await keep(session.call_tool("crash", {}))
        await keep(session.call_tool("nowhere", {}))
        await keep(session.read_resource("data://text" if V2 or FASTMCP else AnyUrl("data://text")))
        await keep(session.get_prompt("greet", {"name": "Ada"}))

    if FASTMCP:
        from fastmcp import Client

        async with Client(server()) as client:
            await ask(client)
    elif V2:
        from mcp.client import Client as SdkClient

        async with SdkClient(server(), mode="legacy") as sdk_client:
            await ask(sdk_client.session)
    else:
        from mcp.shared.memory import create_connected_server_and_client_session

        async with create_connected_server_and_client_session(server()._mcp_server) as session:
            await ask(session)
    return answers


def main(peer: str, order: str) -> dict[str, Any]:
    audit: AuditCapture | None = None
    with ExitStack() as exits:
        if order == "first":
            audit = exits.enter_context(capture_audit())
        spans, broken = start(peer)
        if order == "last":
            audit = exits.enter_context(capture_audit())
        try:
            answers, error = asyncio.run(converse()), None
        except BaseException as raised:
            answers, error = [], f"{type(raised).__name__}: {raised}"
        return {
            "answers": stable(answers),
            "error": stable(error),
            "broken": stable(broken),
            "spans": stable(spans()),
            "records": None
            if audit is None
            else [
                [record.event, record.attributes["audit.target.id"], record.attributes["mcp_audit.outcome.detail"]]
                for record in audit.outcomes()
            ],
        }


if __name__ == "__main__":
    told = main(*sys.argv[1:])
    print("RESULT " + json.dumps(told, default=str))
