# SPDX-License-Identifier: Apache-2.0
"""The record as an OpenTelemetry log record, through the Logs API, after the journal has it.

Best effort by nature: what the SDK's processors, limits and exporters do with it is theirs. The default is the metadata
view (attributes, no body); it carries sequence and hash, so it can be verified where it arrives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, TraceFlags

from opentelemetry import trace
from opentelemetry.instrumentation.mcp_audit.record.attributes import (
    AUDIT_INTEGRITY_CANONICALIZATION,
    AUDIT_SEQUENCE_NUMBER,
    AUDIT_SEQUENCE_PREVIOUS_HASH,
    AUDIT_SEQUENCE_STREAM_ID,
    CANONICALIZATION,
    RECORD_HASH,
    AttributeValue,
)
from opentelemetry.instrumentation.mcp_audit.sinks.protocol import Entry

if TYPE_CHECKING:
    from opentelemetry._logs import Logger, LoggerProvider


class LogEmitter:
    """Emits entries to ``provider``, or to the global provider that is set when a record comes."""

    def __init__(self, provider: LoggerProvider | None, view: Literal["metadata", "full"], version: str) -> None:
        self._given = provider
        self._full = view == "full"
        self._version = version
        self._used: LoggerProvider | None = None
        self._logger: Logger | None = None

    def __call__(self, entry: Entry, span: Span | None) -> None:
        logger = self._current_logger()
        if logger is None:
            return
        # Not before the first record: the API module is not needed by processes that never serve a request.
        from opentelemetry._logs import LogRecord

        record = entry.record
        attributes: dict[str, AttributeValue] = {
            **record.attributes,
            AUDIT_SEQUENCE_STREAM_ID: entry.stream_id,
            AUDIT_SEQUENCE_NUMBER: entry.number,
            RECORD_HASH: entry.hash,
            AUDIT_INTEGRITY_CANONICALIZATION: CANONICALIZATION,
        }
        if entry.previous_hash is not None:
            attributes[AUDIT_SEQUENCE_PREVIOUS_HASH] = entry.previous_hash
        logger.emit(
            LogRecord(
                timestamp=record.time,
                observed_timestamp=record.observed,
                context=_context(record.trace_id, record.span_id, span),
                body=record.body if self._full else None,
                attributes=attributes,
                event_name=record.event_name,
            )
        )

    def _current_logger(self) -> Logger | None:
        from opentelemetry._logs import NoOpLoggerProvider, get_logger_provider

        provider = self._given if self._given is not None else get_logger_provider()
        if provider is not self._used:
            # Until somebody sets a provider the API hands out a proxy, whose records go nowhere: spare their cost.
            idle = isinstance(provider, NoOpLoggerProvider) or type(provider).__name__ == "ProxyLoggerProvider"
            self._logger = (
                None if idle else provider.get_logger("opentelemetry.instrumentation.mcp_audit", self._version)
            )
            # Last: another thread that sees this provider must also see its logger.
            self._used = provider
        return self._logger


def _context(trace_id: str, span_id: str, span: Span | None) -> Context:
    """A context with the record's ids, whatever span is current here: on mcp 1.x that is another request's."""
    if span is None and trace_id:
        ids = SpanContext(
            int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)
        )
        span = NonRecordingSpan(ids)
    return trace.set_span_in_context(span if span is not None else trace.INVALID_SPAN, Context())


def silent(entry: Entry, span: Span | None) -> None:
    """The emitter of ``OTEL_MCP_AUDIT_OTEL_LOGS=off``."""
