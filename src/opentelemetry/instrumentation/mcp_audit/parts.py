# SPDX-License-Identifier: Apache-2.0
"""What an Auditor works with: the protocols of its journal and of who tells identity, and all its parts together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from opentelemetry.trace import Span

from .policy.model import Policy
from .record import attributes as a
from .record.content import Content
from .record.record import Actor, AuditRecord, Invocation, Origin
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
    """Everything that the Auditor works with, put together by ``assembly.py``."""

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
