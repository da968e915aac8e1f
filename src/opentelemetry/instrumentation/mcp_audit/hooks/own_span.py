# SPDX-License-Identifier: Apache-2.0
"""The SERVER span of our own that mcp 1.x can have on request: that generation makes none."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.instrumentation.mcp_audit.record import attributes as a
from opentelemetry.instrumentation.mcp_audit.record.record import Invocation, Outcome

from .spans import ambient_or_remote, is_valid

if TYPE_CHECKING:
    from opentelemetry.instrumentation.mcp_audit.call import Call

TRACER = "opentelemetry.instrumentation.mcp_audit"

# Clients choose these texts; a span is no place for long ones. The record keeps what was asked.
_TEXT_LIMIT = 128


class OwnSpan:
    """A span around one request: ``tools/call NAME``, child of ``_meta.traceparent`` or of the request's context."""

    def __init__(self, invocation: Invocation, call: Call, provider: trace.TracerProvider | None) -> None:
        name = invocation.params.get("name")
        name = name[:_TEXT_LIMIT] if isinstance(name, str) else None
        # A backend shows the span's name as it is: no line breaks or control characters in it.
        shown = "".join(filter(str.isprintable, name)) if name else ""
        attributes: dict[str, Any] = {a.MCP_METHOD_NAME: invocation.method}
        if invocation.request_id is not None:
            attributes[a.JSONRPC_REQUEST_ID] = str(invocation.request_id)[:_TEXT_LIMIT]
        if invocation.protocol_version is not None:
            attributes[a.MCP_PROTOCOL_VERSION] = invocation.protocol_version[:_TEXT_LIMIT]
        if invocation.method == "tools/call":
            attributes[a.GEN_AI_OPERATION_NAME] = "execute_tool"
        if name is not None:
            attributes[a.GEN_AI_PROMPT_NAME if invocation.method == "prompts/get" else a.GEN_AI_TOOL_NAME] = name
        self._call = call
        self._token: Any = None
        self._span = trace.get_tracer(TRACER, tracer_provider=provider).start_span(
            f"{invocation.method} {shown}" if shown else invocation.method,
            context=ambient_or_remote(invocation.meta, invocation.context),
            kind=trace.SpanKind.SERVER,
            attributes=attributes,
        )
        if is_valid(self._span):
            call.see_span(self._span)

    def enter(self) -> None:
        """Make the span the current one."""
        self._token = otel_context.attach(trace.set_span_in_context(self._span))

    def mark(self, outcome: Outcome) -> None:
        """Add the event and, for a failure, ``error.type``."""
        self._call.mark_span(outcome)
        verdict = a.DETAILS[outcome.detail]
        if verdict.outcome == "failure":
            self._span.set_attribute(a.ERROR_TYPE, outcome.error_type or verdict.error_type or outcome.detail)
            if outcome.status_code is not None:
                self._span.set_attribute(a.RPC_RESPONSE_STATUS_CODE, outcome.status_code)
            self._span.set_status(trace.StatusCode.ERROR)

    def leave(self) -> None:
        """End the span and put back the context of before."""
        try:
            self._span.end()
        finally:
            if self._token is not None:
                with suppress(ValueError):  # closed from another context at loop shutdown: nothing left to restore
                    otel_context.detach(self._token)
