# SPDX-License-Identifier: Apache-2.0
"""A record's way out of the Auditor: the journal first, then OpenTelemetry and the sinks, which see what the journal has."""

from __future__ import annotations

from functools import partial

from opentelemetry.trace import Span

from .call import Call
from .notices import describe, guarded
from .parts import Parts, Receipt
from .record.record import AuditRecord
from .sinks.protocol import Entry


class Handover:
    """Hands the records of one Auditor over. Safe to use from any thread."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def of_call(self, record: AuditRecord, call: Call) -> None:
        """The record of a call whose answer waits for it. Never raises."""
        try:
            receipt = self._parts.journal.append(record, call.mark)
        except Exception as error:
            # The journal has counted it and said so, once an episode; or, asked while it was writing (a finaliser) or
            # hung, it keeps the record and writes it later: then nobody else is told of it.
            if not getattr(error, "counted", False):
                self._parts.report(f"A CALL WAS NOT AUDITED: the journal failed: {describe(error)}")
            elif self._parts.disk_deadline is not None:
                self._parts.report(
                    f"an answer goes out before its record is known to be on the disk: {describe(error)}"
                )
            return
        if self._parts.disk_deadline is not None:
            call.on_disk = partial(self._on_disk, receipt, self._parts.disk_deadline)
        self._tell(record, receipt, call.span)

    def of_refusal(self, record: AuditRecord) -> bool:
        """A record that no call waits for; False when it will be in no journal."""
        try:
            receipt = self._parts.journal.append(record)
        except Exception as error:
            if not getattr(error, "counted", False):
                self._parts.report(f"A REFUSAL WAS NOT AUDITED: the journal failed: {describe(error)}")
            return bool(getattr(error, "kept", False))
        self._tell(record, receipt, None)
        return True

    def after_a_call(self, record: AuditRecord, span: Span | None) -> None:
        """What is to be said of a call whose record is kept already. Raises what the journal does."""
        self._tell(record, self._parts.journal.append(record), span)

    def _tell(self, record: AuditRecord, receipt: Receipt, span: Span | None) -> None:
        """What the journal has, to everybody else."""
        parts = self._parts
        entry = Entry(record, receipt.stream_id, receipt.number, receipt.previous_hash, receipt.hash, receipt.line)
        guarded(parts.report, "OpenTelemetry", parts.emit, entry, span)
        for sink in parts.sinks:
            guarded(parts.report, f"sink {type(sink).__name__}", sink.write, entry)

    async def _on_disk(self, receipt: Receipt, deadline: float) -> None:
        try:
            await receipt.durable(deadline)
        except Exception as error:
            self._parts.report(f"an answer goes out before its record is known to be on the disk: {describe(error)}")
