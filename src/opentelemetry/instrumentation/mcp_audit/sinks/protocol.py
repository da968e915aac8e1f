# SPDX-License-Identifier: Apache-2.0
"""What a sink is: somebody who gets every record after it is in the journal."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord


class Entry(NamedTuple):
    """A journaled record: the record, its place in its stream, and the line as it stands in the journal."""

    record: AuditRecord
    stream_id: str
    number: int
    previous_hash: str | None
    hash: str
    line: bytes


@runtime_checkable
class Sink(Protocol):
    """Gets every record, on the thread of the call, after the journal has it and before the answer is released.

    An exception is counted and said on stderr, never raised into the call. A slow sink delays calls: wrap it in
    :class:`~opentelemetry.instrumentation.mcp_audit.sinks.queued.QueuedSink`.
    """

    def write(self, entry: Entry) -> None: ...

    def close(self) -> None:
        """The instrumentation ends or is reconfigured; after the latter :meth:`write` is called again."""
        ...
