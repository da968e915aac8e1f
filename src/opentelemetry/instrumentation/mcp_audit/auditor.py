# SPDX-License-Identifier: Apache-2.0
"""The order of steps of an audited call, and nothing else: who does each step is given to the Auditor from outside.

begin:  the policy's rule for the method -> a Call with its record id -> its mark, which a kill leaves behind
finish: who -> the record (normalised, redacted, bounded, digested) -> the journal -> OpenTelemetry -> sinks
        (-> with fsync ``always`` the hooks await that it is on the disk, then release the answer)
refuse: who, from where -> within the budget of its source? -> a record -> the journal -> OpenTelemetry -> sinks,
        else counted, and told in a summary at the end of the minute

Nothing here raises into the server: a step that fails is counted, said on stderr, and the next one is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol

from opentelemetry.trace import Span

from .call import Call
from .notices import describe
from .policy.model import Policy
from .record import attributes as a
from .record.assemble import Facts, assemble
from .record.content import Content
from .record.denied import denied, summarised
from .record.ids import RANDOM_BYTES, Randomness, uuid7
from .record.marker_facts import OpenFacts, open_call_attributes
from .record.record import Actor, AuditRecord, Invocation, Origin, Outcome
from .record.recurring import Recurrences
from .record.refusal import Kind, Refusal, Summary
from .record.undelivered import undelivered
from .refusals.budget import Budget, source_of
from .refusals.gate import Gate
from .relations import Relations
from .sinks.protocol import Entry, Sink


class Journal(Protocol):
    """Where records are kept. ``append`` raises when it could not, and has counted it if the error says ``counted``."""

    def open(self) -> None: ...

    def begin(
        self, event: str, received: int, attributes: dict[str, a.AttributeValue], trace_id: str, span_id: str
    ) -> int | None:
        """Mark a call as begun, so that a process killed in it leaves its name; the mark, which ``append`` takes off."""

    def append(self, record: AuditRecord, mark: int | None = None) -> Receipt: ...


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

    async def durable(self, deadline: float | None = None) -> None:
        """Return when the record is on the disk; raises when that is not known within ``deadline`` seconds."""


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
    disk_deadline: float | None = None
    """Seconds that an answer waits at most for its record to be on the disk; None: it does not wait."""
    refusals_per_minute: int = 10
    """How many refusals of one source get records of their own in a minute; the others are counted."""

    def with_journal(self, journal: Journal) -> Parts:
        """The same parts around another journal."""
        return replace(self, journal=journal)


class Auditor:
    """Makes one outcome record of each request that the policy wants recorded. Safe to use from any thread."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._opened = False
        self._recurrences = Recurrences()
        self._open_recurrences = Recurrences()
        self._relations = Relations(parts.keyed)
        self.randomness = Randomness(RANDOM_BYTES + _SALT_BYTES)
        self._refusals = Gate(Budget(parts.refusals_per_minute), self._summarise)

    def begin(self, invocation: Invocation) -> Call | None:
        """Start the audit of a request; None when its rule says ``none``. Never raises."""
        self._open()
        rule = self.parts.policy.decide(invocation.method)
        if rule.level == "none":
            return None
        call = Call(self, invocation, rule)
        self._guarded("finding the call that a request belongs to", self._relate, call)
        self._guarded("marking a call as begun", self._mark, call)
        return call

    def finish(self, call: Call, outcome: Outcome) -> None:
        """The steps after the tool, in their order. Called once a call, before the answer is released. Never raises."""
        duration = time.monotonic_ns() - call.invocation.started
        if outcome.detail in ("input_required", "task_created"):
            self._guarded("remembering a call that goes on", self._goes_on, call, outcome)
        try:
            record = self._record(call, outcome, duration)
        except Exception as error:
            self.parts.report(f"A CALL WAS NOT AUDITED: {describe(error)}")
            return
        try:
            receipt = self.parts.journal.append(record, call.mark)
        except Exception as error:
            # The journal has counted it and said so, once an episode; or, asked while it was writing (a finaliser) or
            # hung, it keeps the record and writes it later: then nobody else is told of it.
            if not getattr(error, "counted", False):
                self.parts.report(f"A CALL WAS NOT AUDITED: the journal failed: {describe(error)}")
            elif self.parts.disk_deadline is not None:
                self.parts.report(f"an answer goes out before its record is known to be on the disk: {describe(error)}")
            return
        if self.parts.disk_deadline is not None:
            call.on_disk = partial(self._on_disk, receipt, self.parts.disk_deadline)
        self._tell(record, receipt, call.span)

    def refuse(self, refusal: Refusal) -> None:
        """Record, or count, a request that was refused before it reached any method. Never raises."""
        try:
            self._open()
            # By the rule for a method that nobody knows: which one was wanted stands in the body, or nowhere.
            rule = self.parts.policy.decide(a.UNKNOWN_METHOD)
            if rule.level == "none":
                return
            actor = self.parts.identity.actor(refusal.invocation, refusal.invocation.bound)
            origin = self.parts.identity.origin(refusal.invocation)
            kind = Kind(refusal.status, refusal.decided_by, refusal.reason)
            if self._refusals.admit(source_of(origin.address, origin.source_type, actor), kind):
                call = Call(self, refusal.invocation, rule)
                facts = self._facts(call, actor, origin, "metadata", refusal.duration_ns)
                self._keep(denied(refusal, facts, self.parts.new_content(), self.parts.keyed))
        except Exception as error:
            self.parts.report(f"A REFUSAL WAS NOT AUDITED: {describe(error)}")

    def end(self) -> None:
        """Write what is only counted yet. The Auditor goes on; called before its journal is closed. Never raises."""
        self._guarded("counting refusals", self._end_refusals)

    def _end_refusals(self) -> None:
        lost = self._refusals.end()
        if lost:
            self.parts.report(
                f"REFUSALS WERE NOT AUDITED: {lost} were counted, and no summary of them could be written"
            )

    def _summarise(self, summaries: Sequence[Summary]) -> Sequence[Summary]:
        return [one for one in summaries if not self._keep(summarised(one, self.parts.new_content()))]

    def _keep(self, record: AuditRecord) -> bool:
        """Journal and tell a record that no call waits for; False when it will be in no journal."""
        try:
            receipt = self.parts.journal.append(record)
        except Exception as error:
            if not getattr(error, "counted", False):
                self.parts.report(f"A REFUSAL WAS NOT AUDITED: the journal failed: {describe(error)}")
            return bool(getattr(error, "kept", False))
        self._tell(record, receipt, None)
        return True

    def _tell(self, record: AuditRecord, receipt: Receipt, span: Span | None) -> None:
        """What the journal has, to everybody else."""
        entry = Entry(record, receipt.stream_id, receipt.number, receipt.previous_hash, receipt.hash, receipt.line)
        self._guarded("OpenTelemetry", self.parts.emit, entry, span)
        for sink in self.parts.sinks:
            self._guarded(f"sink {type(sink).__name__}", sink.write, entry)

    def _open(self) -> None:
        if not self._opened:
            # Any first request of a session, so that no audited call waits for files to be made.
            self._opened = True
            self._guarded("opening the journal", self.parts.journal.open)

    def undelivered(self, call: Call, error_type: str, certain: bool) -> None:
        """The event that an answer, whose record is kept, did not reach its client. Never raises."""
        self._guarded("recording an undelivered answer", self._undelivered, call, error_type, certain)

    def _undelivered(self, call: Call, error_type: str, certain: bool) -> None:
        facts = self._facts(call, call.actor(), call.origin(), call.rule.level, 0)
        facts.record_id, facts.call_id = uuid7(), call.call_id
        record = undelivered(call.invocation, facts, error_type, certain, self.parts.new_content(), self.parts.keyed)
        receipt = self.parts.journal.append(record)
        entry = Entry(record, receipt.stream_id, receipt.number, receipt.previous_hash, receipt.hash, receipt.line)
        self._guarded("OpenTelemetry", self.parts.emit, entry, call.span)
        for sink in self.parts.sinks:
            self._guarded(f"sink {type(sink).__name__}", sink.write, entry)

    def _relate(self, call: Call) -> None:
        call_id, call.related = self._relations.given(call.invocation, call.actor)
        if call_id is not None:
            call.call_id = call_id

    def _goes_on(self, call: Call, outcome: Outcome) -> None:
        issued = self._relations.issued(call.invocation, outcome, call.call_id, call.actor)
        if issued is not None:
            call.related = {**(call.related or {}), **issued}

    async def _on_disk(self, receipt: Receipt, deadline: float) -> None:
        try:
            await receipt.durable(deadline)
        except Exception as error:
            self.parts.report(f"an answer goes out before its record is known to be on the disk: {describe(error)}")

    def _mark(self, call: Call) -> None:
        invocation = call.invocation
        event = a.event_of(invocation.method, invocation.role)
        attributes = self.open_attributes(call)
        call.mark = self.parts.journal.begin(event, invocation.received, attributes, *call.trace_ids())

    def open_attributes(self, call: Call) -> dict[str, a.AttributeValue]:
        """What the start marker of a call tells, should the process die in it. May raise: a marker is not the record."""
        facts = OpenFacts(
            call.record_id,
            call.request_id,
            call.actor(),
            call.rule.level,
            call.rule.name,
            self.parts.policy.hash,
            call.call_id,
        )
        return open_call_attributes(
            call.invocation, facts, self.parts.new_content, self.parts.keyed, self._open_recurrences
        )

    def _record(self, call: Call, outcome: Outcome, duration: int) -> AuditRecord:
        """The record with everything; else without content, bindings and annotations, one of which broke it; else bare.

        What breaks our own code must not cost the record.
        """
        try:
            return self._full_record(call, outcome, duration)
        except Exception as error:
            self.parts.report(f"part of a record could not be made: {describe(error)}")
        try:
            return self._record_without_content(call, outcome, duration)
        except Exception as error:
            self.parts.report(f"part of a record could not be made: {describe(error)}")
        return self._bare_record(call, outcome, duration)

    def _record_without_content(self, call: Call, outcome: Outcome, duration: int) -> AuditRecord:
        call.bound, call.annotations = {}, None
        whole = call.invocation
        params = {name: whole.params[name] for name in ("name", "uri") if type(whole.params.get(name)) is str}
        actor, origin = self.parts.identity.actor(whole, {}), self.parts.identity.origin(whole)
        facts = self._facts(call, actor, origin, "metadata", duration)
        return assemble(
            replace(whole, params=params, bound={}, meta={}),
            Outcome(outcome.detail),
            facts,
            self.parts.new_content(),
            self.parts.keyed,
        )

    def _bare_record(self, call: Call, outcome: Outcome, duration: int) -> AuditRecord:
        call.related = None
        whole = call.invocation
        bare = Invocation(whole.method, received=whole.received, started=whole.started, role=whole.role)
        facts = self._facts(call, Actor(id="unknown"), Origin(), "metadata", duration)
        return assemble(bare, Outcome(outcome.detail), facts, self.parts.new_content(), self.parts.keyed)

    def _full_record(self, call: Call, outcome: Outcome, duration: int) -> AuditRecord:
        facts = self._facts(call, call.actor(), call.origin(), call.rule.level, duration)
        return assemble(call.invocation, outcome, facts, self.parts.new_content(), self.parts.keyed, self._recurrences)

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
            salt=call.salt,
            trace_id=trace_id,
            span_id=span_id,
            user_agent=origin.user_agent,
            client_address=origin.address,
            client_port=origin.port,
            source_type=origin.source_type,
            bound=call.bound,
            annotations=call.annotations,
            call_id=call.call_id,
            related=call.related,
        )

    def _guarded(self, what: str, step: Callable[..., None], *arguments: object) -> None:
        try:
            step(*arguments)
        except (Exception, SystemExit) as error:  # a sink that wants to exit must not take the call with it
            self.parts.report(f"{what} failed: {describe(error)}")


# Of a body's digest: 128 bits, so that nobody can try contents against it.
_SALT_BYTES: Final = 16


class Audits(Protocol):
    """What the hooks ask of an Auditor."""

    def begin(self, invocation: Invocation) -> Call | None: ...

    def refuse(self, refusal: Refusal) -> None: ...


AuditorSource = Callable[[], Audits]
