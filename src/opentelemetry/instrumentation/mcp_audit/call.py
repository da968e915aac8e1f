# SPDX-License-Identifier: Apache-2.0
"""One request under audit: what is known of it from its beginning to its record, and what its tool may still add."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import Span, get_current_span

from .notices import describe
from .policy.model import Rule
from .record import attributes as a
from .record.ids import RANDOM_BYTES, uuid7
from .record.polled import TASK_ANSWERS
from .record.record import Actor, Invocation, Origin, Outcome

if TYPE_CHECKING:
    from .auditor import Auditor

_LISTS: Final = frozenset({"resources", "data_classes"})
# A tool that annotates in a loop must not grow the process; the record keeps fewer still, and says how many there were.
_ANNOTATED: Final = 1_000


class Call:
    """One request under audit: made by :meth:`Auditor.begin`, ended by exactly one :meth:`finish`."""

    __slots__ = (
        "_actor",
        "_actor_bound",
        "_auditor",
        "_finished",
        "_origin",
        "_undelivered",
        "annotations",
        "bound",
        "call_id",
        "invocation",
        "mark",
        "on_disk",
        "record_id",
        "related",
        "rule",
        "salt",
        "span",
    )

    def __init__(self, auditor: Auditor, invocation: Invocation, rule: Rule) -> None:
        self._auditor = auditor
        self._finished = False
        self._undelivered = False
        self.invocation = invocation
        self.rule = rule
        random = auditor.randomness.take()
        self.record_id = uuid7(random[: 2 * RANDOM_BYTES])
        self.salt = random[2 * RANDOM_BYTES :]
        self.call_id: str = invocation.call_id or self.record_id
        """What the records of one logical call share: this one's own id, or that of the call it belongs to."""
        self.related: dict[str, a.AttributeValue] | None = None
        self.bound: Mapping[str, Any] = invocation.bound
        self.annotations: dict[str, Any] | None = None
        self.span: Span | None = None
        self.mark: int | None = None
        self.on_disk: Callable[[], Awaitable[None]] | None = None
        """After :meth:`finish`: what the answer must await before it is released, None for nothing. Raises nothing of ours."""
        self._actor: Actor | None = None
        self._actor_bound: Mapping[str, Any] | None = None
        self._origin: Origin | None = None

    @property
    def request_id(self) -> str:
        """The id that the tool may pass on to what it calls."""
        bound = self.bound.get("request_id")
        return str(bound) if bound else self.origin().request_id or self.record_id

    def actor(self) -> Actor:
        """Who asks. Found once, and again when the application has bound something since."""
        bound = self.bound
        if self._actor is None or self._actor_bound is not bound:
            self._actor, self._actor_bound = self._auditor.parts.identity.actor(self.invocation, bound), bound
        return self._actor

    def origin(self) -> Origin:
        """From where. Found once."""
        if self._origin is None:
            self._origin = self._auditor.parts.identity.origin(self.invocation)
        return self._origin

    def see_span(self, span: Span) -> None:
        """Remember the server span, so that the record shares its ids. A span without valid ids is ignored."""
        try:
            if span.get_span_context().is_valid:
                self.span = span
        except Exception as error:  # a tracer of somebody's own making
            self._auditor.parts.report(f"a server span could not be read: {describe(error)}")

    def mark_span(self, outcome: Outcome) -> None:
        """Add the pointer event to the server span, while that still records."""
        span, told = self.span, self._told(outcome)
        if span is None or told is None:
            return
        verdict = a.DETAILS[told.detail]
        pointer = {
            a.AUDIT_RECORD_ID: self.record_id,
            a.AUDIT_OUTCOME: verdict.outcome,
            a.OUTCOME_DETAIL: told.detail,
            a.DECISION: verdict.decision,
        }
        try:
            if span.is_recording():
                span.add_event(a.event_of(self.invocation.method, self.invocation.role), pointer)
        except Exception as error:  # a tracer of somebody's own making
            self._auditor.parts.report(f"a server span could not be marked: {describe(error)}")

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
        told = self._told(outcome)
        # Without a record there is no answer to be told of as undelivered either.
        self._undelivered = told is None
        if told is not None:
            self._auditor.finish(self, told)

    def _told(self, outcome: Outcome) -> Outcome | None:
        """What the record says; None where there is nothing to tell, and no record."""
        of_task = TASK_ANSWERS.get(self.invocation.method)
        if of_task is None:
            return outcome
        try:
            return of_task(outcome)
        except Exception as error:  # an answer that cannot be looked into
            self._auditor.parts.report(f"what became of a task could not be read: {describe(error)}")
            return outcome

    def undelivered(self, error_type: str, *, certain: bool = True) -> None:
        """Say that the answer, whose outcome is recorded, did not reach the client. A second time does nothing.

        ``certain``: False where the write was only interrupted. Never raises.
        """
        if not self._finished or self._undelivered:
            return
        self._undelivered = True
        self._auditor.undelivered(self, error_type, certain)
