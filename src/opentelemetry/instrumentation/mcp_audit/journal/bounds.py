# SPDX-License-Identifier: Apache-2.0
"""The journal's share of the disk: measured off the calls' path, warned of from 80 %, and never exceeded by records.

Between measures a process counts what it writes itself; what others write meanwhile it learns with the next one. Near
the limit acknowledged segments go, oldest first (``prune.py``); when none may go, records are refused at the limit and
counted in a gap. The reserve's size is kept free below the limit for what must be written even then.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .acknowledged import acknowledged_until
from .disk import Disk
from .ledger import Ledger
from .prune import Pruner
from .reserve import RESERVE, RESERVE_BYTES, Reserve, is_full

_MEASURE_SECONDS: Final = 10.0
_AT_MOST_SECONDS: Final = 1.0
_MUCH_BYTES: Final = 1024 * 1024
_SHARE: Final = 16
_WARN_AT: Final = 0.80
# A journal at the edge of the warning, or of its limit, must not say so again and again.
_CALM_BELOW: Final = 0.75
_ROOM_AGAIN_BELOW: Final = 0.95
# Pruning begins so far below the limit that no record is lost until it has been done, and makes room for a while. Room for
# what one tick may bring counts where a twentieth is little.
_PRUNE_SHARE: Final = 20
_PRUNE_BYTES: Final = 2 * 1024 * 1024
_BELOW: Final = frozenset(("quarantine", "status"))


class JournalFull(OSError):
    """The directory holds as much as it may, and nothing in it may be deleted yet."""


class Bounds:
    """The limit of one directory, as one process keeps it.

    ``check`` and ``wrote`` are for the path of a call, under the append lock, and touch no disk. ``measure`` and ``tick``
    are for the journal's thread. None but ``check`` raises.
    """

    def __init__(
        self,
        directory: Path,
        disk: Disk,
        ledger: Ledger,
        max_bytes: int,
        on_full: str,
        min_age_seconds: float,
        say: Callable[[str], None],
    ) -> None:
        """``on_full``: ``drop_acknowledged`` prunes; anything else (``stop``) never deletes."""
        self.reserve = Reserve(directory, disk)
        self._directory = directory
        self._max = max_bytes
        self._limit = max(0, max_bytes - RESERVE_BYTES)
        self._prune_from = self._limit - max(self._limit // _PRUNE_SHARE, min(_PRUNE_BYTES, self._limit // 4))
        self._on_full = on_full
        self._say = say
        self._pruner = Pruner(directory, disk, ledger, self.reserve, min_age_seconds, say)
        self._measuring = threading.Lock()
        # Bytes that this process wrote, and what the directory held beside them: two numbers, so that each has one
        # writer and no addition of one thread is lost to the other.
        self._written = 0
        self._beside = 0
        self._measured = -1  # nothing is known yet: the first tick measures
        self._much = min(_MUCH_BYTES, self._limit // _SHARE)
        self._measure_at = self._much
        self._due = 0.0
        self._full = False
        # ``_no_room``: a write failed for it since the last measure; ``_failing``: also before that, and nothing could go.
        self._no_room = self._failing = False
        self._warned = self._pruned = False
        self._said: str | None = None

    @property
    def used(self) -> int:
        """Bytes in the directory, as far as this process knows; without the reserve."""
        return self._beside + self._written

    @property
    def max_bytes(self) -> int:
        return self._max

    @property
    def full(self) -> bool:
        """Whether records are refused. Only a measure ends that."""
        return self._full

    def check(self, size: int) -> None:
        """Raise :class:`JournalFull` when a record of ``size`` bytes would go over the limit."""
        if self._full or self._beside + self._written + size > self._limit:
            if not self._full:
                # The next tick looks whether something may be deleted, or whether only this one was too big.
                self._full, self._due = True, 0.0
            raise JournalFull(
                f"it holds {self.used} bytes, and no more than {self._max} are allowed (OTEL_MCP_AUDIT_MAX_BYTES)"
            )

    def wrote(self, size: int) -> None:
        """``size`` more bytes stand in the directory."""
        self._written += size

    def failed(self, error: Exception) -> None:
        """A write failed. For want of room on the disk itself, the next tick prunes as if the limit were reached."""
        if is_full(error):
            if not self._failing:
                self._due = 0.0
            self._failing = self._no_room = True

    def tick(self) -> None:
        """Measure if it is time: every 10 s while something is written or refused, and at once when that begins; sooner
        where much is written for the room that is left, because others may write as much."""
        now = time.monotonic()
        waited = now >= self._due and (self._full or self._no_room or self._written != self._measured)
        if waited or (self._written >= self._measure_at and now >= self._due - _MEASURE_SECONDS + _AT_MOST_SECONDS):
            self.measure()

    def measure(self, may_prune: bool = True) -> None:
        """Sum up the directory, warn, prune, end a refusal, see to the reserve.

        ``may_prune`` False: delete nothing now (before the first record, where somebody waits).
        """
        if not self._measuring.acquire(blocking=False):
            return  # another thread is at it
        try:
            self._measure(may_prune)
            if not may_prune:
                self._due = 0.0  # what opening adds to the directory is not measured yet
        except OSError as error:
            self._once(f"the journal in {self._directory} cannot be measured or pruned: {error}")
        finally:
            self._measuring.release()

    def after_fork_in_child(self) -> None:
        """The parent may have been measuring: its lock and the segments that it held are not ours."""
        self._measuring = threading.Lock()
        self._pruner.release()

    def _measure(self, may_prune: bool) -> None:
        self._due = time.monotonic() + _MEASURE_SECONDS
        no_room, self._no_room = self._no_room, False
        self._failing, freed = no_room, 0
        used = self._sum_up()
        need = self._too_much(used, no_room)
        if may_prune and self._on_full == "drop_acknowledged" and need > 0:
            freed = self._prune(need)
            used = self._sum_up()
        self._full = used > self._limit * (_ROOM_AGAIN_BELOW if self._full else 1)
        self._measure_at = self._written + max(self._much, (self._limit - used) // _SHARE)
        self._warn(used)
        if freed:
            # The next want of room is a new one, to be met at its first tick, and with the reserve: without it no segment
            # could be told to go.
            self._failing = False
        if freed or not no_room:
            self.reserve.restore()

    def _sum_up(self) -> int:
        # What is written while the directory is read may count twice: until the next measure.
        before = self._written
        used = used_bytes(self._directory)
        self._beside, self._measured = used - before, before
        return used

    def _too_much(self, used: int, no_room: bool) -> int:
        """Bytes that should go. On a disk without room the reserve and a tenth of what is there: it does not say more."""
        over = used - self._prune_from
        return max(over + self._limit // _PRUNE_SHARE if over > 0 else 0, used // 10 + RESERVE_BYTES if no_room else 0)

    def _prune(self, need: int) -> int:
        freed = self._pruner.prune(need, acknowledged_until(self._directory, self._once))
        if freed and not self._pruned:
            # From here on this is how it goes; the ledger has each of them.
            self._pruned = True
            self._say(f"the journal in {self._directory} is full: {freed} bytes of acknowledged segments were deleted")
        return freed

    def _warn(self, used: int) -> None:
        share = used / self._max if self._max else 1.0
        if share >= _WARN_AT and not self._warned:
            self._warned = True
            self._say(
                f"the journal in {self._directory} holds {used} of at most {self._max} bytes "
                f"(OTEL_MCP_AUDIT_MAX_BYTES); {self._outlook()}"
            )
        elif share < _CALM_BELOW and self._warned:
            self._warned = self._pruned = False
            self._said = None
            self._say(f"the journal in {self._directory} holds {used} of at most {self._max} bytes: enough room again")

    def _outlook(self) -> str:
        if self._on_full == "stop":
            return "when they are used up, audit records are lost"
        if acknowledged_until(self._directory, self._once) == 0:
            return (
                "nothing in it is acknowledged, so nothing will be deleted: when they are used up, audit records are "
                "lost; otel-mcp-audit ack says what is kept elsewhere"
            )
        return "when they are used up, its oldest acknowledged segments are deleted"

    def _once(self, sentence: str) -> None:
        """Say it unless it was said last."""
        if sentence != self._said:
            self._said = sentence
            self._say(sentence)


def used_bytes(directory: Path) -> int:
    """The sizes of all regular files in a journal directory and its side directories, without the reserve.

    Other directories may be other services' journals. Raises OSError when the directory cannot be read.
    """
    total = 0
    below = []
    with os.scandir(directory) as entries:
        for entry in entries:
            # Segments are pruned and markers removed while this goes on.
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode) and entry.name in _BELOW:
                    below.append(entry.path)
                elif stat.S_ISREG(status.st_mode) and entry.name != RESERVE:
                    total += status.st_size
    for path in below:
        with contextlib.suppress(OSError), os.scandir(path) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if entry.is_file(follow_symlinks=False):
                        total += entry.stat(follow_symlinks=False).st_size
    return total
