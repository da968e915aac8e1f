# SPDX-License-Identifier: Apache-2.0
"""The order of steps of an audited call, and nothing else: ``recording.py`` makes the record, ``handover.py`` hands it on.

begin:  the policy's rule for the method -> a Call with its record id -> its mark, which a kill leaves behind
finish: who -> the record (normalised, redacted, bounded, digested) -> the journal -> OpenTelemetry -> sinks
        (-> with fsync ``always`` the hooks await that it is on the disk, then release the answer)
refuse: who, from where -> within the budget of its source? -> a record -> the journal -> OpenTelemetry -> sinks,
        else counted, and told in a summary at the end of the minute

Nothing here raises into the server: a step that fails is counted, said on stderr, and the next one is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from .call import Call
from .handover import Handover
from .notices import describe, guarded
from .parts import Parts
from .record import attributes as a
from .record.ids import RANDOM_BYTES, Randomness
from .record.polled import POLLS
from .record.record import Invocation, Outcome
from .record.refusal import Kind, Refusal, Summary
from .recording import Recording
from .refusals.budget import Budget, source_of
from .refusals.gate import Gate
from .relations import Relations

# Of a body's digest: 128 bits, so that nobody can try contents against it.
_SALT_BYTES: Final = 16


class Audits(Protocol):
    """What the hooks ask of an Auditor."""

    def begin(self, invocation: Invocation) -> Call | None: ...

    def refuse(self, refusal: Refusal) -> None: ...


AuditorSource = Callable[[], Audits]


class Auditor:
    """Makes one outcome record of each request that the policy wants recorded. Safe to use from any thread."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._opened = False
        self._recording = Recording(parts)
        self._handover = Handover(parts)
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
        guarded(self.parts.report, "finding the call that a request belongs to", self._relate, call)
        # A poll leaves a record only when it brings something: one that a kill cut short has nothing to tell.
        if invocation.method not in POLLS:
            guarded(self.parts.report, "marking a call as begun", self._mark, call)
        return call

    def finish(self, call: Call, outcome: Outcome) -> None:
        """The steps after the tool, in their order. Called once a call, before the answer is released. Never raises."""
        duration = time.monotonic_ns() - call.invocation.started
        if outcome.detail in ("input_required", "task_created"):
            guarded(self.parts.report, "remembering a call that goes on", self._goes_on, call, outcome)
        try:
            record = self._recording.outcome(call, outcome, duration)
        except Exception as error:
            self.parts.report(f"A CALL WAS NOT AUDITED: {describe(error)}")
            return
        self._handover.of_call(record, call)

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
                self._handover.of_refusal(self._recording.refusal(refusal, call, actor, origin))
        except Exception as error:
            self.parts.report(f"A REFUSAL WAS NOT AUDITED: {describe(error)}")

    def end(self) -> None:
        """Write what is only counted yet. The Auditor goes on; called before its journal is closed. Never raises."""
        guarded(self.parts.report, "counting refusals", self._end_refusals)

    def _end_refusals(self) -> None:
        lost = self._refusals.end()
        if lost:
            self.parts.report(
                f"REFUSALS WERE NOT AUDITED: {lost} were counted, and no summary of them could be written"
            )

    def _summarise(self, summaries: Sequence[Summary]) -> Sequence[Summary]:
        return [one for one in summaries if not self._handover.of_refusal(self._recording.summary(one))]

    def _open(self) -> None:
        if not self._opened:
            # Any first request of a session, so that no audited call waits for files to be made.
            self._opened = True
            guarded(self.parts.report, "opening the journal", self.parts.journal.open)

    def undelivered(self, call: Call, error_type: str, certain: bool) -> None:
        """The event that an answer, whose record is kept, did not reach its client. Never raises."""
        guarded(self.parts.report, "recording an undelivered answer", self._undelivered, call, error_type, certain)

    def _undelivered(self, call: Call, error_type: str, certain: bool) -> None:
        self._handover.after_a_call(self._recording.undelivered(call, error_type, certain), call.span)

    def _relate(self, call: Call) -> None:
        call_id, call.related = self._relations.given(call.invocation, call.actor)
        if call_id is not None:
            call.call_id = call_id

    def _goes_on(self, call: Call, outcome: Outcome) -> None:
        issued = self._relations.issued(call.invocation, outcome, call.call_id, call.actor)
        if issued is not None:
            call.related = {**(call.related or {}), **issued}

    def _mark(self, call: Call) -> None:
        invocation = call.invocation
        event = a.event_of(invocation.method, invocation.role)
        attributes = self._recording.open_attributes(call)
        call.mark = self.parts.journal.begin(event, invocation.received, attributes, *call.trace_ids())
