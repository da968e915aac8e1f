# SPDX-License-Identifier: Apache-2.0
"""What a place that keeps records must do, and what it says of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from .received import Batch, Rejected


class Away(Exception):
    """The place cannot be written to now: nothing of the batch counts, and whoever sent it must send it again."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a batch: rows new, the same there already, other than what is there, no record of the trail."""

    stored: int = 0
    repeated: int = 0
    conflicts: int = 0
    rejected: int = 0

    def __add__(self, other: Kept) -> Kept:
        return Kept(
            self.stored + other.stored,
            self.repeated + other.repeated,
            self.conflicts + other.conflicts,
            self.rejected + other.rejected,
        )


class Store(Protocol):
    """A place that keeps records. ``write`` returns when all of the batch is on the disk. Used from several threads."""

    @property
    def name(self) -> str:
        """How it is called in messages and metrics: never with a password in it."""

    def write(self, batch: Batch) -> Kept:
        """Keep the batch, all or nothing. Raises :class:`Away`, and :class:`Undecodable` for what is none."""

    def reject(self, item: Rejected) -> None:
        """Keep what came and is no OTLP at all. Raises :class:`Away`."""

    def ping(self) -> None:
        """Raises :class:`Away` when the place cannot be reached."""

    def tend(self) -> list[str]:
        """What is to be done now and then (partitions ahead). Sentences about what could not be done."""

    def close(self) -> None: ...
