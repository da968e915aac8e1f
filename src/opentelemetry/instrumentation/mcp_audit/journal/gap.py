# SPDX-License-Identifier: Apache-2.0
"""What is counted while the journal cannot be written, and over the process's life, and what is said about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True)
class Gap:
    """Records that could not be written since ``since`` (nanoseconds since the epoch).

    ``told`` are those that gap records count already, while what should follow such a record did still not fit.
    ``failing`` is False while it holds only records that were refused for what they are: others could be written.
    """

    count: int
    reason: str
    since: int
    until: int
    told: int = 0
    failing: bool = False


@dataclass(slots=True)
class Counters:
    """What the journal did in this process. ``lost`` counts records that are in no segment."""

    records: int = 0
    lost: int = 0
    gaps: int = 0
    segments: int = 0


class Losses:
    """The gap that is open now, if any. One sentence an episode: when it begins and when it ends."""

    def __init__(self, directory: Path, say: Callable[[str], None]) -> None:
        self.gap: Gap | None = None
        self.counters = Counters()
        self.last_error: str | None = None
        self._directory = directory
        self._say = say

    def failed(self, error: Exception, lost: int, since: int | None = None) -> None:
        """The journal cannot be written: ``lost`` more records are in no segment."""
        gap = self._count(error, lost, since)
        if not gap.failing:
            gap.failing = True
            self._say(
                f"AUDIT RECORDS ARE BEING LOST: the journal in {self._directory} cannot be written "
                f"({self.last_error}); calls go on unrecorded until it can; otel-mcp-audit doctor says more"
            )

    def refused(self, error: Exception) -> None:
        """One record cannot be written for what is in it; the next may be, at once."""
        first = self.gap is None
        self._count(error, 1, None)
        if first:
            self._say(
                f"AN AUDIT RECORD IS LOST: the journal in {self._directory} cannot hold it ({self.last_error}); "
                "a gap record counts it, and the records of other calls are written"
            )

    def written(self, gap: Gap) -> None:
        """A gap record counts what is in ``gap`` up to here."""
        self.counters.gaps += 1
        gap.told += gap.count
        gap.count, gap.since = 0, time.time_ns()

    def end(self, gap: Gap) -> None:
        """Records can be written again."""
        self.gap = None
        if gap.failing:
            self._say(
                f"the journal in {self._directory} can be written again; "
                f"{gap.told} lost records are counted in gap records"
            )

    def _count(self, error: Exception, lost: int, since: int | None) -> Gap:
        now = time.time_ns()
        self.last_error = describe(error)
        if self.gap is None:
            self.gap = Gap(0, self.last_error, now if since is None else since, now)
        self.gap.count += lost
        self.gap.until = now
        self.counters.lost += lost
        return self.gap


def describe(error: Exception) -> str:
    """What an error says, or at least what it is: a MemoryError says nothing."""
    return str(error) or type(error).__name__
