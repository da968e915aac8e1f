# SPDX-License-Identifier: Apache-2.0
"""What becomes a record: of a call that ends, of one in flight, of an answer that was lost, of refusals. No I/O."""

from __future__ import annotations

from dataclasses import replace

from .call import Call
from .notices import describe
from .parts import Parts
from .record import attributes as a
from .record.assemble import Facts, assemble
from .record.denied import denied, summarised
from .record.ids import uuid7
from .record.marker_facts import OpenFacts, open_call_attributes
from .record.record import Actor, AuditRecord, Invocation, Origin, Outcome
from .record.recurring import Recurrences
from .record.refusal import Refusal, Summary
from .record.undelivered import undelivered


class Recording:
    """Makes the records of one Auditor. Safe to use from any thread."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._recurrences = Recurrences()
        self._open_recurrences = Recurrences()

    def outcome(self, call: Call, outcome: Outcome, duration: int) -> AuditRecord:
        """The record with everything; else without content, bindings and annotations, one of which broke it; else bare.

        What breaks our own code must not cost the record: raises only when not even the bare one can be made.
        """
        try:
            return self._full_record(call, outcome, duration)
        except Exception as error:
            self._parts.report(f"part of a record could not be made: {describe(error)}")
        try:
            return self._record_without_content(call, outcome, duration)
        except Exception as error:
            self._parts.report(f"part of a record could not be made: {describe(error)}")
        return self._bare_record(call, outcome, duration)

    def open_attributes(self, call: Call) -> dict[str, a.AttributeValue]:
        """What the start marker of a call tells, should the process die in it. May raise: a marker is not the record."""
        facts = OpenFacts(
            call.record_id,
            call.request_id,
            call.actor(),
            call.rule.level,
            call.rule.name,
            self._parts.policy.hash,
            call.call_id,
        )
        return open_call_attributes(
            call.invocation, facts, self._parts.new_content, self._parts.keyed, self._open_recurrences
        )

    def undelivered(self, call: Call, error_type: str, certain: bool) -> AuditRecord:
        """That an answer, whose record is kept, did not reach its client. May raise."""
        facts = self._facts(call, call.actor(), call.origin(), call.rule.level, 0)
        facts.record_id, facts.call_id = uuid7(), call.call_id
        return undelivered(call.invocation, facts, error_type, certain, self._parts.new_content(), self._parts.keyed)

    def refusal(self, refusal: Refusal, call: Call, actor: Actor, origin: Origin) -> AuditRecord:
        """That a request was refused before it reached any method. May raise."""
        facts = self._facts(call, actor, origin, "metadata", refusal.duration_ns)
        return denied(refusal, facts, self._parts.new_content(), self._parts.keyed)

    def summary(self, summary: Summary) -> AuditRecord:
        """How many refusals were only counted. May raise."""
        return summarised(summary, self._parts.new_content())

    def _record_without_content(self, call: Call, outcome: Outcome, duration: int) -> AuditRecord:
        call.bound, call.annotations = {}, None
        whole = call.invocation
        params = {name: whole.params[name] for name in ("name", "uri") if type(whole.params.get(name)) is str}
        actor, origin = self._parts.identity.actor(whole, {}), self._parts.identity.origin(whole)
        facts = self._facts(call, actor, origin, "metadata", duration)
        return assemble(
            replace(whole, params=params, bound={}, meta={}),
            Outcome(outcome.detail),
            facts,
            self._parts.new_content(),
            self._parts.keyed,
        )

    def _bare_record(self, call: Call, outcome: Outcome, duration: int) -> AuditRecord:
        call.related = None
        whole = call.invocation
        bare = Invocation(whole.method, received=whole.received, started=whole.started, role=whole.role)
        facts = self._facts(call, Actor(id="unknown"), Origin(), "metadata", duration)
        return assemble(bare, Outcome(outcome.detail), facts, self._parts.new_content(), self._parts.keyed)

    def _full_record(self, call: Call, outcome: Outcome, duration: int) -> AuditRecord:
        facts = self._facts(call, call.actor(), call.origin(), call.rule.level, duration)
        return assemble(
            call.invocation, outcome, facts, self._parts.new_content(), self._parts.keyed, self._recurrences
        )

    def _facts(self, call: Call, actor: Actor, origin: Origin, level: a.Level, duration: int) -> Facts:
        trace_id, span_id = call.trace_ids()
        return Facts(
            record_id=call.record_id,
            request_id=call.bound.get("request_id") or origin.request_id or call.record_id,
            actor=actor,
            level=level,
            rule=call.rule.name,
            policy_hash=self._parts.policy.hash,
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
