# SPDX-License-Identifier: Apache-2.0
"""An auditor that only remembers, for tests of the hooks alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.trace import Span

from opentelemetry.instrumentation.mcp_audit.hooks.running import Switch
from opentelemetry.instrumentation.mcp_audit.record.record import Invocation, Outcome
from opentelemetry.instrumentation.mcp_audit.record.refusal import Refusal


class RecordingCall:
    """What a hook did with one call, in order."""

    def __init__(self, invocation: Invocation) -> None:
        self.invocation = invocation
        self.bound: Mapping[str, Any] = invocation.bound
        self.request_id = "request"
        self.call_id = invocation.call_id or "call"
        self.on_disk = None
        self.spans: list[Span] = []
        self.marks: list[Outcome] = []
        self.outcomes: list[Outcome] = []
        self.not_delivered: list[tuple[str, bool]] = []

    def see_span(self, span: Span) -> None:
        self.spans.append(span)

    def mark_span(self, outcome: Outcome) -> None:
        self.marks.append(outcome)

    def annotate(self, **values: Any) -> None:
        raise AssertionError("not used here")

    def finish(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def undelivered(self, error_type: str, *, certain: bool = True) -> None:
        self.not_delivered.append((error_type, certain))


class RecordingAuditor:
    """Begins a call for every method but those in ``ignored``."""

    def __init__(self, *ignored: str) -> None:
        self.calls: list[RecordingCall] = []
        self.problems: list[str] = []
        self.refusals: list[Refusal] = []
        self._ignored = ignored

    def begin(self, invocation: Invocation) -> RecordingCall | None:
        if invocation.method in self._ignored:
            return None
        self.calls.append(RecordingCall(invocation))
        return self.calls[-1]

    def refuse(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)

    @property
    def only(self) -> RecordingCall:
        (call,) = self.calls
        return call

    @property
    def outcome(self) -> Outcome:
        (outcome,) = self.only.outcomes
        return outcome

    def switch(self, **options: Any) -> Switch:
        return Switch(lambda: self, self.problems.append, **options)  # type: ignore[arg-type,return-value]
