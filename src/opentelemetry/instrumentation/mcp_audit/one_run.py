# SPDX-License-Identifier: Apache-2.0
"""One run of the audit, from the first request under some settings to the end of its journal's stream.

An Auditor and its journal, the delivery of that journal, the status file: how they start together and end together. Not
imported before a server of this process gets a request.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from .assembly import Extras, assemble, delivery
from .fail_closed import end_process
from .hooks.install import HookState
from .journal.events import Turn
from .journal.journal import Journal
from .notices import Notices, describe
from .otel.metrics import Metrics
from .settings import Settings
from .sinks.protocol import Sink
from .status import StatusFile
from .totals import Totals

if TYPE_CHECKING:
    from .delivery.live import LiveDelivery


class Run:
    """``extras``: what only code can give, by name. Made, it has opened nothing but the keyring: see :meth:`start`."""

    def __init__(self, settings: Settings, extras: Mapping[str, Any], notices: Notices, metrics: Metrics) -> None:
        given = Extras(**{field.name: extras[field.name] for field in fields(Extras) if field.name in extras})
        self._settings = settings
        self._notices = notices
        self._metrics = metrics
        self._assembled = assemble(settings, given, notices, os.environ, observe=metrics.operation)
        self.auditor = self._assembled.auditor
        self.journal = self._assembled.journal
        self._delivery: LiveDelivery | None = None
        self._status: StatusFile | None = None

    def start(self, hook_states: Callable[[], Sequence[HookState]]) -> None:
        """Open the journal, begin delivery and the status file, and say so. Requests are audited without it, too."""
        journal, current = self.journal, self._settings
        journal.open()
        if journal.failing and current.fail_closed:
            end_process(self._notices, f"the journal in {journal.directory} cannot be written")
        journal.note("instrumented")
        self._delivery = shipping = self._deliver(journal, current)
        self._status = status = StatusFile(self._assembled, current, self._notices, hook_states, shipping)
        journal.after_tick = status.write
        if shipping is not None:
            journal.after_tick = _both(shipping.notify, status.write)
            shipping.notify()
        status.write(force=True)
        self._notices.say(
            f"auditing MCP calls to {journal.directory} (level {current.level}, default redaction on, mode journaled); "
            "read them with: otel-mcp-audit tail"
        )

    def added_to(self, before: Totals) -> Totals:
        """Those totals and what this run did so far."""
        counters = self.journal.counters
        totals = before.plus(emitted=counters.records, dropped=counters.lost)
        if self._delivery is not None:
            counts = self._delivery.counts
            totals = totals.plus(
                exported=counts.exported, quarantined=counts.quarantined_ever, waiting=counts.waiting_records
            )
        return totals

    def end_journal(self, turn: Turn, keep: Sequence[Sink], settings_hash: str | None) -> None:
        """Last words, sinks closed but for those to ``keep``, the stream ended. ``settings_hash``: of what comes next."""
        # While journal and sinks still take records.
        self.auditor.end()
        for sink in self.auditor.parts.sinks:
            if any(sink is kept for kept in keep):
                continue
            try:
                sink.close()
            except Exception as error:
                self._notices.report(f"closing sink {type(sink).__name__} failed: {describe(error)}")
        if self.journal.path is not None:
            self.journal.note(turn, settings_hash)
        self.journal.close()
        self.journal.after_tick = _nothing

    def end_delivery(self) -> int:
        """Deliver the journal's last words within the bound, then take the status file away; how many were delivered."""
        delivered = 0
        shipping, self._delivery = self._delivery, None
        if shipping is not None:
            before = shipping.counts.exported
            shipping.stop(self._assembled.shutdown_seconds)
            delivered = shipping.counts.exported - before
        status, self._status = self._status, None
        if status is not None:
            status.end()
        return delivered

    def after_fork_in_child(self) -> None:
        self.journal.after_fork_in_child()
        if self._delivery is not None:
            self._delivery.after_fork_in_child()

    def _deliver(self, journal: Journal, current: Settings) -> LiveDelivery | None:
        if not current.otlp_endpoint:
            return None
        from .delivery.options import OptionsError

        try:
            return delivery(journal, current, self._notices, os.environ, self._metrics.exported)
        except OptionsError as error:
            self._notices.report(f"{error}; NOTHING IS DELIVERED, audit records stay in the journal")
            return None


def _both(first: Callable[[], None], second: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        first()
        second()

    return run


def _nothing() -> None:
    """What follows the ticks of a journal that was closed: its status file is gone."""
