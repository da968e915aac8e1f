# SPDX-License-Identifier: Apache-2.0
"""The order of steps of an audited call, and nothing else: who does each step is given to the Auditor from outside.

begin:  the policy's rule for the method -> a Call with its record id
finish: who -> the record (normalised, redacted, bounded, digested) -> the journal -> OpenTelemetry -> sinks

Nothing here raises into the server: a step that fails is counted, said on stderr, and the next one is done.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from opentelemetry.trace import Span, get_current_span

from .policy.model import Policy, Rule
from .record import attributes as a
from .record.assemble import Facts, assemble
from .record.content import Content
from .record.ids import uuid7
from .record.record import Actor, AuditRecord, Invocation, Origin, Outcome
from .sinks.protocol import Entry, Sink


class Journal(Protocol):
    """Where records are kept. ``append`` raises when it could not, and has counted it then."""

    def open(self) -> None: ...

    def append(self, record: AuditRecord) -> Receipt: ...


class Receipt(Protocol):
    """What the journal says of an appended record."""

    @property
    def stream_id(self) -> str: ...
    @property
    def number(self) -> int: ...
    @property
    def previous_hash(self) -> str | None: ...
    @property
    def hash(self) -> str: ...
    @property
    def line(self) -> bytes: ...


class Identity(Protocol):
    """Tells who made a request and from where. Must not raise."""

    def actor(self, call: Invocation, bound: Mapping[str, Any]) -> Actor: ...

    def origin(self, call: Invocation) -> Origin: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that the Auditor works with, put together by ``instrumentor.py``."""

    policy: Policy
    identity: Identity
    journal: Journal
    keyed: Callable[[str], str]
    new_content: Callable[[], Content]
    emit: Callable[[Entry, Span | None], None]
    sinks: Sequence[Sink]
    report: Callable[[str], None]

    def with_journal(self, journal: Journal) -> Parts:
        """The same parts around another journal."""
        return replace(self, journal=journal)


class Auditor:
    """Makes one outcome record of each request that the policy wants recorded. Safe to use from any thread."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._opened = False

    def begin(self, invocation: Invocation) -> Call | None:
        """Start the audit of a request; None when its rule says ``none``. Never raises."""
        if not self._opened:
            # Any first request of a session, so that no audited call waits for files to be made.
            self._opened = True
            self._guarded("opening the journal", self.parts.journal.open)
        rule = self.parts.policy.decide(invocation.method)
        return None if rule.level == "none" else Call(self, invocation, rule)

    def finish(self, call: Call, outcome: Outcome) -> None:
        """The steps after the tool, in their order. Called once a call, before the answer is released."""
        duration = time.monotonic_ns() - call.invocation.started
        record = self._record(call, outcome, duration)
        try:
            receipt = self.parts.journal.append(record)
        except Exception as error:  # the journal has counted it and said so
            call.error = error
            return
        entry = Entry(record, receipt.stream_id, receipt.number, receipt.previous_hash, receipt.hash, receipt.line)
        self._guarded("OpenTelemetry", self.parts.emit, entry, call.span)
        for sink in self.parts.sinks:
            self._guarded(f"sink {type(sink).__name__}", sink.write, entry)

    def _record(self, call: Call, outcome: Outcome, duration: int) -> AuditRecord:
        try:
            return self._full_record(call, outcome, duration)
        except Exception as error:
            # Content that breaks our own code must not cost the record: keep what needs no content.
            self.parts.report(f"the content of a {call.invocation.method} could not be recorded: {error!r}")
            bare = Invocation(
                call.invocation.method, received=call.invocation.received, started=call.invocation.started
            )
            # What the application bound or annotated may be what broke it.
            call.bound, call.annotations = {}, None
            facts = self._facts(call, Actor(id="unknown"), Origin(), "metadata", duration)
            return assemble(bare, Outcome(outcome.detail), facts, self.parts.new_content(), self.parts.keyed)

    def _full_record(self, call: Call, outcome: Outcome, duration: int) -> AuditRecord:
        identity = self.parts.identity
        actor = identity.actor(call.invocation, call.bound)
        facts = self._facts(call, actor, identity.origin(call.invocation), call.rule.level, duration)
        return assemble(call.invocation, outcome, facts, self.parts.new_content(), self.parts.keyed)

    def _facts(self, call: Call, actor: Actor, origin: Origin, level: a.Level, duration: int) -> Facts:
        trace_id, span_id = call.trace_ids()
        return Facts(
            record_id=call.record_id,
            request_id=call.bound.get("request_id") or origin.request_id or call.record_id,
            actor=actor,
            level=level,
            rule=call.rule.name,
            policy_hash=self.parts.policy.hash,
            ended=call.invocation.received + duration,
            duration_ns=duration,
            salt=os.urandom(16).hex(),
            trace_id=trace_id,
            span_id=span_id,
            user_agent=origin.user_agent,
            client_address=origin.address,
            client_port=origin.port,
            source_type=origin.source_type,
            bound=call.bound,
            annotations=call.annotations,
        )

    def _guarded(self, what: str, step: Callable[..., None], *arguments: object) -> None:
        try:
            step(*arguments)
        except (Exception, SystemExit) as error:  # a sink that wants to exit must not take the call with it
            self.parts.report(f"{what} failed: {error!r}")


class Call:
    """One request under audit: made by :meth:`Auditor.begin`, ended by exactly one :meth:`finish`."""

    __slots__ = (
        "_auditor",
        "_finished",
        "annotations",
        "bound",
        "error",
        "exception",
        "invocation",
        "record_id",
        "rule",
        "span",
    )

    def __init__(self, auditor: Auditor, invocation: Invocation, rule: Rule) -> None:
        self._auditor = auditor
        self._finished = False
        self.invocation = invocation
        self.rule = rule
        self.record_id = uuid7()
        self.bound: Mapping[str, Any] = invocation.bound
        self.annotations: dict[str, Any] | None = None
        self.span: Span | None = None
        self.exception: BaseException | None = None
        self.error: Exception | None = None

    @property
    def request_id(self) -> str:
        """The id that the tool may pass on to what it calls."""
        bound = self.bound.get("request_id")
        return (
            str(bound) if bound else self._auditor.parts.identity.origin(self.invocation).request_id or self.record_id
        )

    def see_span(self, span: Span) -> None:
        """Remember the server span, so that the record shares its ids. A span without valid ids is ignored."""
        if span.get_span_context().is_valid:
            self.span = span

    def see_exception(self, error: BaseException) -> None:
        """Remember the first exception that a hook saw near the tool: the reason behind an ``isError`` answer."""
        if self.exception is None:
            self.exception = error

    def mark_span(self, outcome: Outcome) -> None:
        """Add the pointer event to the server span, while that still records."""
        span = self.span
        if span is None or not span.is_recording():
            return
        verdict = a.DETAILS[outcome.detail]
        span.add_event(
            a.METHODS.get(self.invocation.method, a.OTHER_METHOD).event,
            {
                a.AUDIT_RECORD_ID: self.record_id,
                a.AUDIT_OUTCOME: verdict.outcome,
                a.OUTCOME_DETAIL: outcome.detail,
                a.DECISION: verdict.decision,
            },
        )

    def annotate(self, **values: Any) -> None:
        """Add what only the tool knows; lists are joined, other values replace earlier ones. Nothing after the end."""
        if self._finished:
            return
        known = self.annotations if self.annotations is not None else {}
        for name, value in values.items():
            if value is None:
                continue
            joined = name in _LISTS
            known[name] = [*known.get(name, ()), *value][:_ANNOTATED] if joined else value
        self.annotations = known

    def trace_ids(self) -> tuple[str, str]:
        """Trace and span id of the server span, else of the request's OpenTelemetry context, as lowercase hex."""
        span = self.span
        if span is None and self.invocation.context is not None:
            span = get_current_span(self.invocation.context)
        context = span.get_span_context() if span is not None else None
        if context is None or not context.is_valid:
            return "", ""
        return f"{context.trace_id:032x}", f"{context.span_id:016x}"

    def finish(self, outcome: Outcome) -> None:
        """Make and journal the record. A second call does nothing: one request, one record."""
        if self._finished:
            return
        self._finished = True
        self._auditor.finish(self, outcome)


_LISTS: Final = frozenset({"resources", "data_classes"})
# A tool that annotates in a loop must not grow the process; the record keeps fewer still, and says how many there were.
_ANNOTATED: Final = 1_000


class Audits(Protocol):
    """What the hooks ask of an Auditor."""

    def begin(self, invocation: Invocation) -> Call | None: ...


AuditorSource = Callable[[], Audits]
