# SPDX-License-Identifier: Apache-2.0
"""What one batch holds: the next lines of the files that have any, oldest file first, up to a bound of bytes and records."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from opentelemetry.instrumentation.mcp_audit.journal.delivered import Place

from .otlp import Run
from .reading import Open, Poison, anchor, next_run, open_synced
from .sources import Source


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much one batch may hold. Bytes are those of the journal's lines. Twice as many cost twice as much for each
    record: such large pieces of memory are got from the system anew each time."""

    max_bytes: int = 1024 * 1024
    max_records: int = 4000


BOUNDS: Final = Bounds()
# Not worth another read.
_REST: Final = 16 * 1024


@dataclass(slots=True)
class Plan:
    """A batch, what is no record, and where each file is sent up to then.

    ``empty``: files in which no whole line follows behind that offset, as long as they have that size. ``changed``: files that are not
    what was read before. ``more``: not everything fitted.
    """

    runs: list[Run] = field(default_factory=list)
    poison: list[Poison] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)
    empty: dict[str, tuple[int, int]] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    more: bool = False


def plan(directory: Path, sources: Iterable[Source], places: Mapping[str, Place], bounds: Bounds) -> Plan:
    """The next batch. Raises OSError, with the file's name, when one cannot be read."""
    made = Plan()
    left = Bounds(bounds.max_bytes, bounds.max_records)
    for source in sources:
        if left.max_bytes <= _REST or left.max_records <= 0:
            made.more = True
            break
        try:
            opened = open_synced(str(directory / source.file), source.file)
        except FileNotFoundError:
            continue  # pruned since it was listed
        try:
            left = _take(made, opened, places.get(source.file), left)
        finally:
            os.close(opened.descriptor)
    return made


def _take(made: Plan, source: Open, place: Place | None, left: Bounds) -> Bounds:
    """All of this file that there is room for. What room is left then."""
    offset = 0 if place is None else place.offset
    if place is not None and (source.size < offset or anchor(source.descriptor, offset) != place.check):
        made.changed.append(source.file)
        offset = 0
    while left.max_bytes > _REST and left.max_records > 0:
        found = next_run(source, offset, left.max_bytes, left.max_records)
        if found is None:
            made.empty[source.file] = (offset, source.size)
            break
        offset = found.end
        if isinstance(found, Poison):
            made.poison.append(found)
            left = Bounds(left.max_bytes - len(found.data), left.max_records - 1)
        else:
            made.runs.append(found)
            left = Bounds(left.max_bytes - len(found.data), left.max_records - found.records)
        made.places[source.file] = Place(offset, anchor(source.descriptor, offset))
    else:
        made.more = made.more or offset < source.size
    return left


def place_at(directory: Path, file: str, offset: int) -> Place:
    """The place at ``offset`` of a file. Raises OSError."""
    source = open_synced(str(directory / file), file)
    try:
        return Place(offset, anchor(source.descriptor, offset))
    finally:
        os.close(source.descriptor)
