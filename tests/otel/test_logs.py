# SPDX-License-Identifier: Apache-2.0
"""The record as an OpenTelemetry log record, seen through the real SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import opentelemetry._logs as api
import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import TraceFlags

from opentelemetry.instrumentation.mcp_audit.integrity.canonical import canonical_form, sha256_hex
from opentelemetry.instrumentation.mcp_audit.otel.logs import LogEmitter, silent
from opentelemetry.instrumentation.mcp_audit.record.encode import encode, seal
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord
from opentelemetry.instrumentation.mcp_audit.sinks.protocol import Entry

STREAM = "6f1d1c1e-0000-4000-8000-000000000001"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
BODY = '{"arguments":{"query":"customers"},"salt":"00"}'
ATTRIBUTES: dict[str, Any] = {
    "audit.record.id": "0199f9b0-0000-7000-8000-000000000001",
    "audit.outcome": "success",
    "mcp_audit.duration_us": 2**62,
    "client.port": 0,
    "x.flag": False,
    "user.roles": ["admin", ""],
    "user.id": "",
    "gen_ai.tool.name": "\u00e9\U0001f600",
}


def entry(previous: str | None = "ab" * 32, trace: str = TRACE, span: str = SPAN) -> Entry:
    record = AuditRecord(
        "mcp_audit.tool_call", 1_764_000_000_000_000_001, 1_764_000_000_000_002_000, dict(ATTRIBUTES), BODY
    )
    record.trace_id, record.span_id = trace, span
    sealed = seal(encode(record), STREAM, 7, previous)
    return Entry(record, STREAM, 7, previous, sealed.hash, sealed.text.encode())


class _Out:
    """A logger provider of the SDK and what came out of it."""

    def __init__(self) -> None:
        self.exporter = InMemoryLogRecordExporter()
        self.provider = LoggerProvider()
        self.provider.add_log_record_processor(SimpleLogRecordProcessor(self.exporter))

    def only(self) -> Any:
        (found,) = self.exporter.get_finished_logs()
        return found


@pytest.fixture
def out() -> _Out:
    return _Out()


@pytest.fixture
def no_global_provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The API as it is before anybody set a provider."""
    from opentelemetry._logs import _internal
    from opentelemetry.util._once import Once

    monkeypatch.setattr(_internal, "_LOGGER_PROVIDER", None)
    monkeypatch.setattr(_internal, "_LOGGER_PROVIDER_SET_ONCE", Once())
    yield


def test_the_metadata_view_has_no_body_and_everything_else(out: _Out) -> None:
    LogEmitter(out.provider, "metadata", "9.9")(entry(), None)
    found = out.only()
    log = found.log_record
    assert log.body is None
    assert log.event_name == "mcp_audit.tool_call"
    assert (log.timestamp, log.observed_timestamp) == (1_764_000_000_000_000_001, 1_764_000_000_000_002_000)
    assert f"{log.trace_id:032x}" == TRACE
    assert f"{log.span_id:016x}" == SPAN
    assert log.severity_number in (None, api.SeverityNumber.UNSPECIFIED) and not log.severity_text
    scope = found.instrumentation_scope
    assert (scope.name, scope.version) == ("opentelemetry.instrumentation.mcp_audit", "9.9")


def test_attributes_keep_their_exact_types(out: _Out) -> None:
    made = entry()
    LogEmitter(out.provider, "metadata", "1")(made, None)
    expected = {
        **ATTRIBUTES,
        "user.roles": ("admin", ""),
        "audit.sequence.stream_id": STREAM,
        "audit.sequence.number": 7,
        "audit.sequence.previous_hash": "ab" * 32,
        "mcp_audit.record.hash": made.hash,
        "audit.integrity.canonicalization": "otlp-json-jcs",
    }
    found = dict(out.only().log_record.attributes)
    assert found == expected
    assert {key: type(value) for key, value in found.items()} == {key: type(value) for key, value in expected.items()}


def test_the_full_view_has_the_bodys_very_text(out: _Out) -> None:
    LogEmitter(out.provider, "full", "1")(entry(), None)
    assert out.only().log_record.body == BODY


@pytest.mark.parametrize("view", ["metadata", "full"])
@pytest.mark.parametrize("previous", [None, "ab" * 32])
def test_what_arrives_verifies(out: _Out, view: Literal["metadata", "full"], previous: str | None) -> None:
    LogEmitter(out.provider, view, "1")(entry(previous), None)
    log = out.only().log_record
    plain = [(key, list(value) if isinstance(value, tuple) else value) for key, value in log.attributes.items()]
    form = canonical_form(plain, log.event_name, log.timestamp, f"{log.trace_id:032x}", f"{log.span_id:016x}")
    assert sha256_hex(form) == log.attributes["mcp_audit.record.hash"]


def test_a_first_record_has_no_previous_hash(out: _Out) -> None:
    LogEmitter(out.provider, "metadata", "1")(entry(None), None)
    assert "audit.sequence.previous_hash" not in out.only().log_record.attributes


def test_ids_are_those_of_the_given_span_whatever_span_is_current(out: _Out) -> None:
    tracer = TracerProvider().get_tracer("t")
    with tracer.start_as_current_span("somebody else's"):
        span = tracer.start_span("ours")
        context = span.get_span_context()
        made = entry(trace=f"{context.trace_id:032x}", span=f"{context.span_id:016x}")
        LogEmitter(out.provider, "metadata", "1")(made, span)
        log = out.only().log_record
        assert (log.trace_id, log.span_id) == (context.trace_id, context.span_id)


def test_without_a_span_the_ids_are_the_records_own(out: _Out) -> None:
    emitter = LogEmitter(out.provider, "metadata", "1")
    with TracerProvider().get_tracer("t").start_as_current_span("somebody else's"):
        emitter(entry(), None)
        emitter(entry(trace="", span=""), None)
    first, second = (found.log_record for found in out.exporter.get_finished_logs())
    assert (f"{first.trace_id:032x}", f"{first.span_id:016x}") == (TRACE, SPAN)
    assert (second.trace_id or 0, second.span_id or 0) == (0, 0)


def test_an_unsampled_span_still_gives_its_ids(out: _Out) -> None:
    span = TracerProvider(sampler=ALWAYS_OFF).get_tracer("t").start_span("dropped")
    context = span.get_span_context()
    LogEmitter(out.provider, "metadata", "1")(
        entry(trace=f"{context.trace_id:032x}", span=f"{context.span_id:016x}"), span
    )
    log = out.only().log_record
    assert (log.trace_id, log.span_id) == (context.trace_id, context.span_id)
    assert not log.trace_flags & TraceFlags.SAMPLED


@pytest.mark.usefixtures("no_global_provider")
def test_nothing_is_emitted_without_a_provider_and_one_set_later_is_used(
    out: _Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    monkeypatch.setattr(api, "LogRecord", lambda **members: made.append(members))
    emitter = LogEmitter(None, "metadata", "1")
    emitter(entry(), None)
    assert made == [], "not even a record is made"
    monkeypatch.undo()
    # undo() put the real global back as well; this process may have one of its own, so it is replaced once more.
    from opentelemetry._logs import _internal

    monkeypatch.setattr(_internal, "_LOGGER_PROVIDER", out.provider)
    emitter(entry(), None)
    assert out.only().log_record.event_name == "mcp_audit.tool_call"


@pytest.mark.usefixtures("no_global_provider")
def test_set_logger_provider_after_the_first_record(out: _Out) -> None:
    emitter = LogEmitter(None, "metadata", "1")
    emitter(entry(), None)
    api.set_logger_provider(out.provider)
    emitter(entry(), None)
    assert len(out.exporter.get_finished_logs()) == 1


@pytest.mark.usefixtures("no_global_provider")
def test_a_given_provider_is_used_whatever_the_global_one(out: _Out) -> None:
    other = _Out()
    api.set_logger_provider(other.provider)
    LogEmitter(out.provider, "metadata", "1")(entry(), None)
    assert other.exporter.get_finished_logs() == ()
    assert out.only()


def test_a_no_op_provider_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    monkeypatch.setattr(api, "LogRecord", lambda **members: made.append(members))
    LogEmitter(api.NoOpLoggerProvider(), "metadata", "1")(entry(), None)
    assert made == []


def test_the_records_attributes_are_not_changed(out: _Out) -> None:
    made = entry()
    LogEmitter(out.provider, "full", "1")(made, None)
    assert made.record.attributes == ATTRIBUTES


def test_off_is_silent(out: _Out) -> None:
    assert silent(entry(), None) is None
    assert out.exporter.get_finished_logs() == ()
