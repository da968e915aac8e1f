# SPDX-License-Identifier: Apache-2.0
"""The order of steps, one record a request, and that no failing step reaches the server."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import INVALID_SPAN, Span, set_span_in_context

from opentelemetry.instrumentation.mcp_audit.auditor import Auditor
from opentelemetry.instrumentation.mcp_audit.call import Call
from opentelemetry.instrumentation.mcp_audit.parts import Parts
from opentelemetry.instrumentation.mcp_audit.policy.model import Policy, Rule, builtin
from opentelemetry.instrumentation.mcp_audit.record.attributes import TABLE
from opentelemetry.instrumentation.mcp_audit.record.content import Content
from opentelemetry.instrumentation.mcp_audit.record.record import Actor, AuditRecord, Invocation, Origin, Outcome
from opentelemetry.instrumentation.mcp_audit.record.refusal import Refusal
from opentelemetry.instrumentation.mcp_audit.sinks.protocol import Entry


class _Receipt(NamedTuple):
    stream_id: str
    number: int
    previous_hash: str | None
    hash: str
    line: bytes

    async def durable(self, deadline: float | None = None) -> None:
        if self.number == 2:
            raise TimeoutError("so slow a disk")


class _Counted(Exception):
    """What a journal raises for a record that it could not write and has counted."""

    counted = True


class _World:
    """Fakes of everything around an Auditor; ``steps`` is what was called, in order."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.steps: list[str] = []
        self.records: list[AuditRecord] = []
        self.entries: list[Entry] = []
        self.errors: dict[str, type[Exception]] = {"append": _Counted}
        self.begun: list[tuple[str, int, dict[str, Any], str, str]] = []
        self.marks: list[int | None] = []
        self.reports: list[str] = []
        self.spans: list[Span | None] = []
        self.failing: set[str] = set()
        self.actor_seen: list[Mapping[str, Any]] = []
        self.origin_found = Origin()
        parts = Parts(
            policy=policy or builtin(),
            identity=self,
            journal=self,
            keyed=lambda value: f"keyed({value})",
            new_content=self._content,
            emit=self._emit,
            sinks=(self,),
            report=self.reports.append,
        )
        self.auditor = Auditor(parts)

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if name in self.failing:
            raise self.errors.get(name, RuntimeError)(f"{name} is broken")

    # journal
    def open(self) -> None:
        self._step("open")

    def begin(self, event: str, received: int, attributes: dict[str, Any], trace_id: str, span_id: str) -> int | None:
        self._step("begin")
        self.begun.append((event, received, attributes, trace_id, span_id))
        return len(self.begun)

    def append(self, record: AuditRecord, mark: int | None = None) -> _Receipt:
        self._step("append")
        self.marks.append(mark)
        self.records.append(record)
        return _Receipt("stream", len(self.records), "ab" * 32, "cd" * 32, b"{}\n")

    # identity
    def actor(self, call: Invocation, bound: Mapping[str, Any]) -> Actor:
        self._step("actor")
        self.actor_seen.append(bound)
        return Actor("ada", "user", "verified")

    def origin(self, call: Invocation) -> Origin:
        return self.origin_found

    # sink
    def write(self, entry: Entry) -> None:
        self._step("sink")
        self.entries.append(entry)

    def close(self) -> None:
        return None

    def _content(self) -> Content:
        self._step("content")
        return Content()

    def _emit(self, entry: Entry, span: Span | None) -> None:
        self._step("emit")
        self.spans.append(span)

    def call(self, method: str = "tools/call", **options: Any) -> Call:
        options.setdefault("params", {"name": "search", "arguments": {"q": "x"}})
        invocation = Invocation(method, received=time.time_ns(), started=time.monotonic_ns(), **options)
        call = self.auditor.begin(invocation)
        assert call is not None
        return call

    def only(self) -> dict[str, Any]:
        (record,) = self.records
        return dict(record.attributes)


def test_the_order_of_steps() -> None:
    world = _World()
    call = world.call()
    assert world.steps == ["open", "actor", "content", "begin"]
    call.finish(Outcome("ok"))
    assert world.steps == ["open", "actor", "content", "begin", "content", "append", "emit", "sink"]
    assert world.reports == []
    world.call().finish(Outcome("ok"))
    assert world.steps.count("open") == 1


def test_one_request_one_record() -> None:
    world = _World()
    call = world.call()
    call.finish(Outcome("tool_error"))
    call.finish(Outcome("ok"))
    assert world.only()["mcp_audit.outcome.detail"] == "tool_error"


def test_a_poll_is_recorded_when_it_tells_what_became_of_the_task() -> None:
    world = _World()
    for answer in ({"status": "working"}, {"status": "completed"}, {"status": "working", "result": None}):
        poll = world.call("tasks/get", params={"taskId": "t"})
        poll.finish(Outcome("ok", result=answer))
        poll.undelivered("OSError")
    assert (world.records, world.begun, world.reports) == ([], [], [])
    world.call("tasks/get", params={"taskId": "t"}).finish(Outcome("ok", result={"result": {"isError": True}}))
    world.call("tasks/get", params={"taskId": "guessed"}).finish(Outcome("invalid_params"))
    details = [record.attributes["mcp_audit.outcome.detail"] for record in world.records]
    assert (details, world.begun, world.marks) == (["tool_error", "invalid_params"], [], [None, None])


def test_an_answer_to_a_poll_that_cannot_be_read_is_recorded() -> None:
    world = _World()

    def broken() -> None:
        raise RuntimeError("no text")

    world.call("tasks/get", params={"taskId": "t"}).finish(Outcome("ok", result=broken))
    assert world.only()["mcp_audit.outcome.detail"] == "ok"
    assert world.reports[0].startswith("what became of a task could not be read: RuntimeError")


def test_level_none_is_no_call_but_opens_the_journal_ahead() -> None:
    world = _World()
    assert world.auditor.begin(Invocation("initialize")) is None
    assert world.steps == ["open"]


def test_what_every_outcome_record_has() -> None:
    world = _World()
    before = time.time_ns()
    call = world.call()
    call.finish(Outcome("ok", result_count=3))
    (record,) = world.records
    found = world.only()
    journals_own = {
        "audit.sequence.number",
        "audit.sequence.stream_id",
        "audit.integrity.canonicalization",
        "mcp_audit.record.hash",
    }
    assert {name for name, row in TABLE.items() if row.need != "may"} - journals_own <= set(found)
    assert found["audit.record.id"] == found["mcp_audit.call.id"] == found["mcp_audit.request.id"] == call.record_id
    assert (found["audit.actor.id"], found["mcp_audit.actor.provenance"]) == ("ada", "verified")
    assert (found["audit.outcome"], found["mcp_audit.decision"], found["audit.action"]) == (
        "success",
        "allowed",
        "EXECUTE",
    )
    assert (found["mcp_audit.policy.rule"], found["mcp_audit.level"]) == ("calls", "request")
    assert found["mcp_audit.policy.hash"] == builtin().hash
    assert found["mcp_audit.result.count"] == 3
    assert found["mcp_audit.duration_us"] == (record.observed - record.time) // 1000
    assert before <= record.time <= record.observed <= time.time_ns() + 1_000_000
    assert record.event_name == "mcp_audit.tool_call"
    for name, value in found.items():
        kind = {"string": str, "int": int, "bool": bool, "strings": list}[TABLE[name].type]
        assert type(value) is kind, name


def test_a_call_is_marked_before_the_tool_and_its_mark_goes_with_the_record() -> None:
    world = _World()
    first, second = world.call(), world.call()
    (event, received, attributes, trace_id, span_id) = world.begun[0]
    assert (event, trace_id, span_id) == ("mcp_audit.tool_call", "", "")
    assert received == first.invocation.received
    assert attributes["audit.record.id"] == attributes["mcp_audit.call.id"] == first.record_id
    assert (attributes["audit.outcome"], attributes["mcp_audit.outcome.detail"]) == ("unknown", "abandoned")
    second.finish(Outcome("ok"))
    first.finish(Outcome("ok"))
    assert world.marks == [2, 1]


def test_a_call_that_cannot_be_marked_is_audited_all_the_same() -> None:
    world = _World()
    world.failing = {"begin"}
    world.call().finish(Outcome("ok"))
    assert world.marks == [None]
    (report,) = world.reports
    assert report.startswith("marking a call as begun failed: RuntimeError in test_auditor.py:")


def test_the_entry_is_the_journals_receipt() -> None:
    world = _World()
    world.call().finish(Outcome("ok"))
    assert world.entries == [Entry(world.records[0], "stream", 1, "ab" * 32, "cd" * 32, b"{}\n")]


def test_a_journal_that_fails_ends_the_steps_and_not_the_call() -> None:
    world = _World()
    world.failing = {"append"}
    call = world.call()
    call.finish(Outcome("ok"))
    assert world.steps[-1] == "append", "nothing is told of a record that is not in the journal"
    assert world.reports == [], "the journal itself says so"


def test_a_journal_that_fails_without_having_counted_it_is_said() -> None:
    world = _World()
    world.failing, world.errors = {"append"}, {}
    world.call().finish(Outcome("ok"))
    (report,) = world.reports
    assert report.startswith("A CALL WAS NOT AUDITED: the journal failed: RuntimeError in test_auditor.py:")


@pytest.mark.parametrize("broken", ["open", "emit", "sink"])
def test_another_step_that_fails_is_said_and_the_next_is_done(broken: str) -> None:
    world = _World()
    world.failing = {broken}
    world.call().finish(Outcome("ok"))
    assert len(world.records) == 1
    assert world.steps == ["open", "actor", "content", "begin", "content", "append", "emit", "sink"]
    what = {"open": "opening the journal", "emit": "OpenTelemetry", "sink": "sink _World"}[broken]
    (report,) = world.reports
    assert report.startswith(f"{what} failed: RuntimeError in test_auditor.py:")
    assert "is broken" not in report, "the text of an exception can hold what a caller sent"


def test_content_that_breaks_us_costs_the_content_not_the_record() -> None:
    world = _World()
    world.failing = {"actor"}
    call = world.call()
    call.finish(Outcome("tool_error"))
    found = world.only()
    assert found["audit.record.id"] == call.record_id
    assert (found["audit.outcome"], found["mcp_audit.outcome.detail"]) == ("failure", "tool_error")
    assert (found["mcp_audit.level"], found["audit.actor.id"]) == ("metadata", "unknown")
    assert world.records[0].body is None
    assert [report.split(":")[0] for report in world.reports] == [
        "marking a call as begun failed",
        "part of a record could not be made",
        "part of a record could not be made",
    ]
    assert [entry.number for entry in world.entries] == [1]


class _Hostile:
    """A value that raises whatever is done with it."""

    def __str__(self) -> str:
        raise RuntimeError("no string")

    __repr__ = __str__

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")


@pytest.mark.parametrize(
    ("bound", "annotations"),
    [
        ({"purpose": _Hostile()}, {}),
        ({"request_id": _Hostile()}, {}),
        ({}, {"data_subject": _Hostile()}),
        ({}, {"resources": [_Hostile()]}),
    ],
)
def test_hostile_values_from_the_application_cost_neither_call_nor_record(
    bound: dict[str, Any], annotations: dict[str, Any]
) -> None:
    world = _World()
    call = world.call(bound=bound)
    call.annotate(**annotations)
    call.finish(Outcome("ok"))
    found = world.only()
    assert (found["audit.record.id"], found["audit.outcome"]) == (call.record_id, "success")


def test_metadata_level_keeps_no_content() -> None:
    world = _World(Policy((Rule("all", "metadata"),)))
    world.call().finish(Outcome("ok", result={"content": [{"text": "secret"}]}))
    (record,) = world.records
    assert record.body is None
    assert "mcp_audit.content.digest" not in record.attributes


def test_whom_the_record_names_is_asked_at_the_end_with_what_was_bound_by_then() -> None:
    world = _World()
    call = world.call(bound={"tenant_id": "t1"})
    call.bound = {**call.bound, "user_id": "eve"}
    call.finish(Outcome("ok"))
    assert world.actor_seen == [{"tenant_id": "t1"}, {"tenant_id": "t1", "user_id": "eve"}]


@pytest.mark.parametrize(
    ("bound", "header", "expected"),
    [({"request_id": "b"}, "h", "b"), ({}, "h", "h"), ({"request_id": ""}, None, None)],
)
def test_the_request_id_that_tools_pass_on_is_the_recorded_one(
    bound: dict[str, Any], header: str | None, expected: str | None
) -> None:
    world = _World()
    world.origin_found = Origin(request_id=header)
    call = world.call(bound=bound)
    passed_on = call.request_id
    call.finish(Outcome("ok"))
    assert passed_on == world.only()["mcp_audit.request.id"] == (expected or call.record_id)


def test_annotations() -> None:
    world = _World()
    call = world.call()
    call.annotate(resources=["a"], data_subject="subject-1", purpose="one")
    call.annotate(resources=["b"], data_classes=["phi"], data_sensitivity="high", purpose="two", data_subject=None)
    call.finish(Outcome("ok"))
    call.annotate(resources=["late"])
    found = world.only()
    assert found["mcp_audit.resources"] == ["a", "b"]
    assert found["mcp_audit.data.classes"] == ["phi"]
    assert found["mcp_audit.data.sensitivity"] == "high"
    assert found["mcp_audit.data.subject"] == "keyed(subject-1)"
    assert (found["mcp_audit.purpose"], found["mcp_audit.purpose.source"]) == ("two", "annotated")


def test_the_records_ids_are_the_server_spans() -> None:
    world = _World()
    span = TracerProvider().get_tracer("t").start_span("server")
    call = world.call()
    call.see_span(INVALID_SPAN)
    assert call.span is None
    call.see_span(span)
    call.finish(Outcome("ok"))
    context = span.get_span_context()
    (record,) = world.records
    assert (record.trace_id, record.span_id) == (f"{context.trace_id:032x}", f"{context.span_id:016x}")
    assert world.spans == [span]


def test_without_a_span_they_are_those_of_the_requests_context() -> None:
    world = _World()
    span = TracerProvider().get_tracer("t").start_span("remote")
    world.call(context=set_span_in_context(span)).finish(Outcome("ok"))
    world.call().finish(Outcome("ok"))
    context = span.get_span_context()
    first, second = world.records
    assert (first.trace_id, first.span_id) == (f"{context.trace_id:032x}", f"{context.span_id:016x}")
    assert (second.trace_id, second.span_id) == ("", "")


def test_the_event_on_the_span() -> None:
    world = _World()
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    span = provider.get_tracer("t").start_span("server")
    call = world.call()
    call.mark_span(Outcome("ok"))
    call.see_span(span)
    call.mark_span(Outcome("denied"))
    span.end()
    call.mark_span(Outcome("ok"))
    ((event,),) = [finished.events for finished in exporter.get_finished_spans()]
    assert event.name == "mcp_audit.tool_call"
    assert dict(event.attributes or {}) == {
        "audit.record.id": call.record_id,
        "audit.outcome": "failure",
        "mcp_audit.outcome.detail": "denied",
        "mcp_audit.decision": "denied",
    }


class _BrokenSpan:
    """A span of somebody's own making."""

    def get_span_context(self) -> None:
        raise RuntimeError("no context")

    def is_recording(self) -> bool:
        raise RuntimeError("no state")


def test_a_span_that_raises_does_not_reach_the_call() -> None:
    world = _World()
    call = world.call()
    call.see_span(_BrokenSpan())  # type: ignore[arg-type]
    call.span = _BrokenSpan()  # type: ignore[assignment]
    call.mark_span(Outcome("ok"))
    assert [report.split(":")[0] for report in world.reports] == [
        "a server span could not be read",
        "a server span could not be marked",
    ]


def test_threads_make_one_record_a_call() -> None:
    world = _World()
    calls = [world.call() for _ in range(200)]

    def work(mine: list[Call]) -> None:
        for call in mine:
            call.finish(Outcome("ok"))

    threads = [threading.Thread(target=work, args=(calls[place::4],)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(str(record.attributes["audit.record.id"]) for record in world.records) == sorted(
        call.record_id for call in calls
    )


def test_an_answer_waits_for_the_disk_only_where_it_shall_and_a_disk_that_is_late_is_said() -> None:
    world = _World()
    call = world.call()
    call.finish(Outcome("ok"))
    assert call.on_disk is None
    world.auditor = Auditor(replace(world.auditor.parts, disk_deadline=0.5))
    call = world.call()
    call.finish(Outcome("ok"))
    assert call.on_disk is not None
    asyncio.run(call.on_disk())
    (report,) = world.reports
    assert report.startswith("an answer goes out before its record is known to be on the disk: TimeoutError")


def _refusal(address: str = "10.0.0.1", **options: Any) -> Refusal:
    scope = {"type": "http", "method": "BREW", "path": "/mcp", "client": (address, 1), "headers": []}
    invocation = Invocation(
        options.pop("method", "unknown"), received=time.time_ns(), started=time.monotonic_ns(), scope=scope, **options
    )
    return Refusal(invocation, 401, "auth", "missing_token", 1_234_567)


def test_a_refusal_takes_its_steps() -> None:
    world = _World()
    world.origin_found = Origin("agent/1", "10.0.0.1", 4711, "ipv4", "request-1")
    world.auditor.refuse(_refusal(session_id="s", protocol_version="2025-11-25"))
    assert world.steps == ["open", "actor", "content", "append", "emit", "sink"]
    (record,) = world.records
    assert record.event_name == "mcp_audit.access_denied"
    assert record.body is None
    attributes = record.attributes
    assert (record.observed - record.time, attributes["mcp_audit.duration_us"]) == (1_234_567, 1234)
    assert attributes["audit.record.id"] == attributes["mcp_audit.call.id"]
    expected = {
        "audit.action": "EXECUTE",
        "audit.outcome": "failure",
        "audit.actor.id": "ada",
        "audit.target.id": "/mcp",
        "audit.target.type": "endpoint",
        "http.request.method": "_OTHER",
        "http.response.status_code": 401,
        "error.type": "401",
        "mcp.method.name": "unknown",
        "mcp.session.id": "keyed(s)",
        "mcp.protocol.version": "2025-11-25",
        "mcp_audit.decision": "denied",
        "mcp_audit.decision.by": "auth",
        "mcp_audit.decision.reason": "missing_token",
        "mcp_audit.outcome.detail": "denied",
        "mcp_audit.level": "metadata",
        "mcp_audit.request.id": "request-1",
        "client.address": "10.0.0.1",
        "client.port": 4711,
        "user_agent.original": "agent/1",
    }
    assert {name: attributes.get(name) for name in expected} == expected
    assert {name: _TYPES[TABLE[name].type] for name in attributes} == {
        name: type(value) for name, value in attributes.items()
    }


def test_what_a_refused_stranger_says_is_redacted_and_cut() -> None:
    world = _World()
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJlLXRoYXQtaXMtbG9uZw"
    world.origin_found = Origin(user_agent=f"agent {token}", address="10.0.0.1", source_type="ipv4")
    world.auditor.refuse(_refusal(method="x" * 5_000, bound={"purpose": "treatment"}))
    attributes = world.records[0].attributes
    assert token not in str(attributes)
    assert attributes["mcp_audit.redactions"]
    assert len(str(attributes["mcp.method.name"])) < 1_100
    assert attributes["mcp_audit.truncated"] == ["mcp.method.name 5000"]
    assert (attributes["mcp_audit.purpose"], attributes["mcp_audit.purpose.source"]) == ("treatment", "declared")


def test_beyond_the_budget_refusals_are_counted_and_told_at_the_end() -> None:
    world = _World()
    world.origin_found = Origin(address="2001:db8::1", source_type="ipv6")
    for _ in range(25):
        world.auditor.refuse(_refusal())
    assert len(world.records) == 10
    world.auditor.end()
    summary = world.records[-1]
    assert summary.event_name == "mcp_audit.summary"
    attributes = dict(summary.attributes)
    assert len(str(attributes.pop("audit.record.id"))) == 36
    since, until = int(str(attributes.pop("mcp_audit.summary.from"))), int(str(attributes.pop("mcp_audit.summary.to")))
    assert since <= until == summary.time == summary.observed
    assert attributes == {
        "audit.action": "EXECUTE",
        "audit.outcome": "failure",
        "audit.actor.id": "ada",
        "audit.actor.type": "user",
        "audit.schema.version": "1.0",
        "audit.source.id": "2001:db8::/64",
        "audit.source.type": "ipv6",
        "http.response.status_code": 401,
        "mcp_audit.decision": "denied",
        "mcp_audit.decision.by": "auth",
        "mcp_audit.decision.reason": "missing_token",
        "mcp_audit.summary.count": 15,
        "mcp_audit.summary.kind": "refusals",
        "mcp_audit.summary.others": False,
    }
    assert world.steps[-3:] == ["append", "emit", "sink"]
    world.auditor.end()
    assert len(world.records) == 11


def test_level_none_records_no_refusal() -> None:
    world = _World(builtin("none"))
    world.auditor.refuse(_refusal())
    world.auditor.end()
    assert world.records == []


@pytest.mark.parametrize("step", ["actor", "content", "append", "emit", "sink", "open"])
def test_a_failing_step_of_a_refusal_never_raises(step: str) -> None:
    world = _World()
    world.failing.add(step)
    world.auditor.refuse(_refusal())
    assert len(world.records) == (0 if step in ("actor", "content", "append") else 1)
    # What the journal could not write it has counted and said itself.
    assert len(world.reports) == (0 if step == "append" else 1)


def test_a_summary_that_cannot_be_written_is_kept_and_said_at_the_end() -> None:
    world = _World()
    for _ in range(12):
        world.auditor.refuse(_refusal())
    world.failing.add("append")
    world.auditor.end()
    assert world.reports == ["REFUSALS WERE NOT AUDITED: 2 were counted, and no summary of them could be written"]


def test_a_summary_that_the_journal_queued_is_not_counted_twice() -> None:
    class Queued(Exception):
        counted = kept = True

    world = _World()
    for _ in range(12):
        world.auditor.refuse(_refusal())
    world.failing.add("append")
    world.errors["append"] = Queued
    world.auditor.end()
    assert world.reports == []


_TYPES = {"string": str, "int": int, "bool": bool, "strings": list}
