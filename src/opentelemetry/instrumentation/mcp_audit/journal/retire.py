# SPDX-License-Identifier: Apache-2.0
"""How a segment ends (``docs/format.md`` 5): sync -> ledger ``closed`` (or ``adopted``, when it was given up) -> file closed.

In the order in which they were over, and off every call's path. What cannot be done now is done at the next try; if the
process dies before, whoever adopts it does.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass

from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord

from . import events, platform
from .ledger import Ledger
from .segment import Segment, SyncFailed
from .waiting import Commits


@dataclass(slots=True)
class _Over:
    """A segment that takes no more records. ``ended``: its last record says so. ``entry``: what the ledger is told."""

    segment: Segment
    ended: bool
    entry: AuditRecord | None = None


class Retired:
    """Segments that are over and not yet settled. ``settle`` is called by one thread at a time."""

    def __init__(self, ledger: Ledger, commits: Commits) -> None:
        self._ledger = ledger
        self._commits = commits
        self._waiting: deque[_Over] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, segment: Segment, ended: bool) -> None:
        self._waiting.append(_Over(segment, ended))

    def settle(self, timeout: float) -> None:
        """Settle all that wait. Raises OSError at the first that cannot be; it and the rest stay for the next time.

        A segment that cannot be synced is settled all the same, as given up; SyncFailed, for the first of
        them that nobody was told of yet, comes last.
        """
        failure: SyncFailed | None = None
        while self._waiting:
            over = self._waiting[0]
            segment = over.segment
            if segment.synced < segment.count:
                after, told = segment.synced, segment.lost_sync is not None
                try:
                    self._commits.advanced(segment.stream_id, segment.sync())
                except SyncFailed as error:
                    # What is in the file is told as it is; the gap names the numbers that may not outlive a power cut.
                    over.ended, segment.synced = False, segment.count
                    self._commits.failed(segment.stream_id, after, str(error))
                    failure = failure or (None if told else error)
            if over.entry is None:
                over.entry = _entry(over)
            self._ledger.append(over.entry, timeout=timeout)
            self._waiting.popleft()
            segment.release()
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Let go of what still waits: whoever adopts this process settles it."""
        while self._waiting:
            segment = self._waiting.popleft().segment
            self._commits.failed(segment.stream_id, None, "the journal was closed before it was synced")
            segment.close()


def _entry(over: _Over) -> AuditRecord:
    segment = over.segment
    assert segment.head is not None
    where = (segment.stream_id, segment.path.name, segment.count, segment.head)
    if over.ended:
        return events.ledger_closed(*where)
    # What a write left behind that could not be cut off.
    torn = max(0, os.fstat(segment.descriptor).st_size - segment.size)
    return events.ledger_adopted(*where, torn_bytes=torn, reason="sealed", open_calls=0, boot_id=platform.boot_id())
