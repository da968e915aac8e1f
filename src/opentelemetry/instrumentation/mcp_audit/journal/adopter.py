# SPDX-License-Identifier: Apache-2.0
"""The thread that adopts, once a process, what dead processes left in a journal's directory (``adopt.py`` says how).

A thread of its own: reading what a dead process left may take long, and the journal's syncs must go on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord

from .adopt import Stopping, adopt
from .disk import Disk
from .gap import describe
from .ledger import Ledger
from .ticket import Ticket


class Adopter:
    """Adopts on behalf of one journal, which ``append`` writes to; ``own`` is the id of its stream, empty before one."""

    def __init__(
        self,
        directory: Path,
        disk: Disk,
        ledger: Ledger,
        append: Callable[[AuditRecord], Ticket],
        own: Callable[[], str],
        say: Callable[[str], None],
    ) -> None:
        self._directory = directory
        self._disk = disk
        self._ledger = ledger
        self._append = append
        self._own = own
        self._say = say
        self._thread: threading.Thread | None = None
        self._adopted: dict[str, Ticket] = {}
        self._stopped = False

    def start(self) -> None:
        """Adopt once, on a thread of its own. A second time does nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="mcp-audit-adopt", daemon=True)
            self._thread.start()

    def adopt(self) -> None:
        """Adopt now, on this thread. Raises OSError."""
        found = adopt(
            self._directory,
            self._disk,
            self._ledger,
            self._append_adopted,
            self._durable,
            self._stream_id,
            self._say,
        )
        if found.processes:
            self._say(
                f"{found.processes} dead processes were found in {self._directory}: "
                f"{found.calls} calls were recorded as abandoned, {found.segments} segments adopted"
            )

    def stop(self) -> None:
        """Begin nothing more, for good: what dead processes left is for those who go on."""
        self._stopped = True

    def _run(self) -> None:
        try:
            self.adopt()
        except Exception as error:
            if not self._stopped:
                self._say(f"what dead processes left in {self._directory} could not be adopted: {describe(error)}")

    def _append_adopted(self, record: AuditRecord) -> None:
        if self._stopped:
            raise Stopping
        ticket = self._append(record)
        self._adopted[ticket.stream_id] = ticket

    def _durable(self) -> None:
        # The last of each stream: a rotation may fall between two of them, and the stream before fail to sync.
        for ticket in self._adopted.values():
            ticket.wait(None)
        self._adopted.clear()

    def _stream_id(self) -> str:
        if self._stopped:
            raise Stopping
        return self._own()
