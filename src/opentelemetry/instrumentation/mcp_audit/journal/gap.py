# SPDX-License-Identifier: Apache-2.0
"""What is counted while the journal cannot be written, and over the process's life."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Gap:
    """Records that could not be written since ``since`` (nanoseconds since the epoch).

    ``told`` are those that gap records count already, while what should follow such a record did still not fit.
    """

    count: int
    reason: str
    since: int
    until: int
    told: int = 0


@dataclass(slots=True)
class Counters:
    """What the journal did in this process. ``lost`` counts records that are in no segment."""

    records: int = 0
    lost: int = 0
    gaps: int = 0
    segments: int = 0
