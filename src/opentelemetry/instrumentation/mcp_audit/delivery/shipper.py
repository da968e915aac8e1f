# SPDX-License-Identifier: Apache-2.0
"""The shipper of one directory: from the journal's files to the endpoint's acknowledgement, which it keeps on the disk.

read what is on the disk -> send -> acknowledged -> state on the disk. A kill anywhere sends at most the last batch again.
It holds the directory's lock; who does not get it waits for it. Nothing here is on a call's path.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from opentelemetry.instrumentation.mcp_audit.journal.acknowledged import acknowledge
from opentelemetry.instrumentation.mcp_audit.journal.delivered import Delivered, Place
from opentelemetry.instrumentation.mcp_audit.journal.disk import REAL_DISK, Disk

from .backoff import pause
from .planning import BOUNDS, Bounds, Plan, place_at, plan
from .quarantine import Item, Quarantine
from .sending import Sender, Sent
from .sources import Source, Sources
from .transport import Transport

_ACKNOWLEDGE_SECONDS: Final = 5.0
_MIN_BYTES: Final = 64 * 1024
_NO_LINE: Final = "no line of a journal"


@dataclass(slots=True)
class Counts:
    """What was done so far. ``waiting``: bytes seen and not acknowledged."""

    exported: int = 0
    exported_bytes: int = 0
    quarantined: int = 0
    quarantined_ever: int = 0
    failures: int = 0
    waiting: int = 0
    last_error: str | None = None
    last_acknowledged: float | None = None

    @property
    def waiting_records(self) -> int:
        """About how many: as long as nothing was sent, records of 1 KiB are assumed."""
        mean = self.exported_bytes / self.exported if self.exported else 1024
        return math.ceil(self.waiting / max(1, mean))


@dataclass(slots=True)
class Observer:
    """Who is told: ``say`` gets one sentence an episode, ``on_refused`` records now in quarantine, with the reason."""

    say: Callable[[str], None]
    on_refused: Callable[[int, str], None]
    on_sent: Callable[[int, float, bool], None] = field(default=lambda count, seconds, good: None)


class Shipper:
    """Delivers one directory. One thread; :meth:`step` does one batch."""

    def __init__(
        self,
        directory: Path,
        transport: Transport,
        observer: Observer,
        *,
        disk: Disk = REAL_DISK,
        bounds: Bounds = BOUNDS,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Reads the state. Raises OSError."""
        self.counts = Counts()
        self._directory = directory
        self._transport = transport
        self._observer = observer
        self._disk = disk
        self._bounds = bounds
        self._chance = chance
        self._sender = Sender(transport)
        self._state = Delivered(directory, disk)
        self._quarantine = Quarantine(directory, disk)
        self._sources = Sources(directory)
        self._empty: dict[str, tuple[int, int]] = {}
        # Whether the last step had something to send: then the files that were not written lately may have more.
        self._more = False
        self._failures = 0
        self._episode: list[Item] = []
        self._told: set[str] = set()
        self._acknowledged_at = -_ACKNOWLEDGE_SECONDS
        self._until = 0

    def step(self, everything: bool = False) -> float | None:
        """Send one batch. None when nothing is left; else how many seconds to wait before the next step (mostly 0).

        ``everything``: look at every file, not only at those written lately. Raises OSError when the directory or the
        state cannot be read.
        """
        sources = self._sources.look(everything or self._more)
        waiting = [source for source in sources if self._has_more(source)]
        self.counts.waiting = sum(source.size - self._offset(source.file) for source in waiting)
        planned = plan(self._directory, waiting, self._state.places, self._bounds)
        self._more = bool(planned.runs or planned.poison)
        self._empty.update(planned.empty)
        for name in planned.changed:
            self._once(f"{name} is not the file that was delivered before: it is delivered again from its beginning")
        if not planned.runs and not planned.poison:
            self.counts.waiting = 0
            self._all_delivered()
            return None
        sent = self._send(planned)
        self._settle(planned, sent)
        if sent.stopped is not None:
            return self._failed(sent.stopped.why, sent.stopped.after)
        self._good()
        return 0.0

    def close(self) -> None:
        """Let connection and files go."""
        self._transport.close()
        self._state.close()

    # ---------------------------------------------------------------------------------------------------------------

    def _offset(self, name: str) -> int:
        place = self._state.places.get(name)
        return 0 if place is None else place.offset

    def _has_more(self, source: Source) -> bool:
        offset = self._offset(source.file)
        return source.size != offset and self._empty.get(source.file) != (offset, source.size)

    def _send(self, planned: Plan) -> Sent:
        if not planned.runs:
            return Sent()
        began = time.monotonic()
        sent = self._sender.send(planned.runs)
        self._observer.on_sent(sent.acknowledged, time.monotonic() - began, sent.stopped is None)
        if sent.too_large:
            smaller = max(_MIN_BYTES, self._bounds.max_bytes // 2)
            self._bounds = Bounds(smaller, self._bounds.max_records)
        return sent

    def _settle(self, planned: Plan, sent: Sent) -> None:
        """Keep what was acknowledged, and what was refused. A file goes no further than its first line that is left."""
        ends = {file: place.offset for file, place in planned.places.items()}
        for run in sent.left:
            ends[run.file] = min(ends[run.file], run.start)
        if sent.ill:
            for item in self._episode:
                ends[item.file] = min(ends.get(item.file, item.start), item.start)
            self._put_back()
        refused = [Item(run.file, run.start, run.end, run.data, why) for run, why in sent.refused]
        poison = [Item(*found, _NO_LINE) for found in planned.poison]
        kept = [item for item in (*refused, *poison) if item.end <= ends[item.file]]
        if kept:
            self._quarantine.add(kept)
            self.counts.quarantined += len(kept)
            self.counts.quarantined_ever += len(kept)
            self._say_refused(kept)
        self._episode = [] if sent.acknowledged and not refused else [*self._episode, *refused]
        self.counts.exported += sent.acknowledged
        self.counts.exported_bytes += sent.acknowledged_bytes
        if sent.acknowledged:
            self.counts.last_acknowledged = time.time()
        self._advance(
            {
                file: planned.places[file]
                if file in planned.places and planned.places[file].offset == end
                else place_at(self._directory, file, end)
                for file, end in ends.items()
            }
        )

    def _put_back(self) -> None:
        if self._episode:
            self._quarantine.put_back(self._episode)
            self.counts.quarantined -= len(self._episode)
            self._observer.say(
                f"{len(self._episode)} quarantined audit records are put back: the endpoint is ill, not they"
            )
            self._episode = []

    def _say_refused(self, kept: list[Item]) -> None:
        first = kept[0]
        self._observer.say(
            f"{len(kept)} AUDIT RECORDS ARE NOT DELIVERED: quarantined in {self._directory / 'quarantine'}, the first "
            f"from {first.file} at byte {first.start} ({first.why}); everything else is delivered"
        )
        self._observer.on_refused(len(kept), f"quarantined: {first.why}")

    def _advance(self, places: Mapping[str, Place]) -> None:
        try:
            self._state.advance(places)
        except OSError as error:
            # What was acknowledged stays so in memory; if the process dies, it is sent once more.
            self._once(f"what was delivered cannot be noted in {self._directory} ({error}); it is tried again")

    def _all_delivered(self) -> None:
        """Nothing is left of what was seen: now and then, say so to those who must make room."""
        self._failures = 0
        listed = self._sources.listed_at
        due = time.monotonic() - self._acknowledged_at >= _ACKNOWLEDGE_SECONDS
        if not due or not self._sources.all_seen or listed <= self._until:
            return
        self._acknowledged_at = time.monotonic()
        self._state.forget(set(self._state.places) - self._sources.names)
        try:
            acknowledge(self._directory, self._disk, listed, by_delivery=True)
            self._until = listed
        except OSError as error:
            self._once(f"what was delivered cannot be acknowledged in {self._directory} ({error}); it is tried again")

    def _failed(self, why: str, after: float) -> float:
        self._failures += 1
        self.counts.failures += 1
        self.counts.last_error = why
        if self._failures == 1:
            self._observer.say(
                f"AUDIT RECORDS ARE NOT DELIVERED NOW: {why}; they are kept in {self._directory} and sent again until the "
                "endpoint takes them"
            )
        return pause(self._failures, after, self._chance())

    def _good(self) -> None:
        if self._failures:
            self._failures, self.counts.last_error = 0, None
            self._observer.say("audit records are delivered again")

    def _once(self, sentence: str) -> None:
        if sentence not in self._told:
            self._told.add(sentence)
            self._observer.say(sentence)
