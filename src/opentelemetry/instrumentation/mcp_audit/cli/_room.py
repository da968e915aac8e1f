# SPDX-License-Identifier: Apache-2.0
"""How much room a journal has and how long it will do: its own limit, the disk, its inodes, the reserve."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opentelemetry.instrumentation.mcp_audit.journal.acknowledged import acknowledged_until
from opentelemetry.instrumentation.mcp_audit.journal.bounds import used_bytes
from opentelemetry.instrumentation.mcp_audit.journal.reader import start_of
from opentelemetry.instrumentation.mcp_audit.journal.reserve import RESERVE, RESERVE_BYTES
from opentelemetry.instrumentation.mcp_audit.render.text import iso_milliseconds
from opentelemetry.instrumentation.mcp_audit.settings import Settings

from ._checks import Check, Light
from ._words import age, size

_DAY: Final = 86_400.0
# What was written in less time than this says nothing about a day.
_LEAST_SECONDS: Final = 3600.0
_MIB: Final = 1024 * 1024
_WARN_AT: Final = 0.8
_HALF: Final = 0.5


@dataclass(slots=True)
class Room:
    """Sizes in bytes, times in nanoseconds since the epoch, ``day``: bytes a day at the rate of the last 24 hours (None:
    too young to tell). ``may_go``: bytes of segments that pruning may delete now. ``days``: until records are refused,
    or the disk is full, whichever comes first (None: not to be foreseen)."""

    used: int
    max_bytes: int
    on_full: str
    acknowledged_until: int
    acknowledged_problem: str | None
    may_go: int
    day: int | None
    free: int | None
    total: int | None
    inodes_free: int | None
    inodes_total: int | None
    reserve: str
    days: float | None


def room(directory: str, segments: Sequence[tuple[str, os.stat_result]], settings: Settings) -> Room:
    """Measure. ``segments``: path and status of each. Raises OSError when the directory cannot be read."""
    now = time.time()
    problems: list[str] = []
    until = acknowledged_until(Path(directory), problems.append)
    used = used_bytes(Path(directory))
    oldest_touch = min(until / 1e9, now - settings.min_age)
    may_go = 0
    if settings.on_full == "drop_acknowledged":
        may_go = sum(status.st_size for _, status in segments if status.st_mtime <= oldest_touch)
    free = total = inodes_free = inodes_total = None
    if hasattr(os, "statvfs"):
        disk = os.statvfs(directory)
        free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        if disk.f_files:  # some file systems make inodes as they need them, and count none
            inodes_free, inodes_total = disk.f_favail, disk.f_files
    day = _day(segments, now)
    spaces = [max(0, settings.max_bytes - RESERVE_BYTES - used) + may_go]
    spaces += [] if free is None else [free + may_go]
    days = None if not day else min(spaces) / day
    return Room(
        used,
        settings.max_bytes,
        settings.on_full,
        until,
        problems[0] if problems else None,
        may_go,
        day,
        free,
        total,
        inodes_free,
        inodes_total,
        _reserve(directory),
        days,
    )


def room_checks(directory: str, found: Room, live: bool) -> Iterator[Check]:
    """What is to be said of it. ``live``: a living process writes there."""
    limit = found.max_bytes - RESERVE_BYTES
    share = found.used / found.max_bytes
    light: Light = "green"
    if found.used >= limit and not found.may_go:
        light = "red"
    elif found.days is not None and found.days < 1:
        # A busy first hour of an empty journal is no emergency yet.
        light = "yellow" if found.may_go or (share < _HALF and not _disk_first(found)) else "red"
    elif (share >= _WARN_AT and not found.may_go) or (found.days is not None and found.days < 7):
        light = "yellow"
    yield Check(
        "room",
        light,
        f"{directory}: {size(found.used)} of OTEL_MCP_AUDIT_MAX_BYTES={found.max_bytes} ({share:.0%}); "
        f"{_forecast(found)}; when full: {_when_full(found)}",
    )
    if found.acknowledged_problem is not None:
        yield Check("room", "yellow", f"{directory}: {found.acknowledged_problem}")
    yield from _inodes(directory, found)
    if found.reserve == "there":
        yield Check("room", "green", f"{directory}: the reserve for the last words on a full disk is there")
    elif live or found.reserve != "absent":
        yield Check(
            "room",
            "yellow",
            f"{directory}: the reserve for the last words on a full disk is {found.reserve}; a server makes it when the "
            "disk has room",
        )


def _inodes(directory: str, found: Room) -> Iterator[Check]:
    if found.inodes_free is None or found.inodes_total is None:
        return
    light: Light = "green"
    if found.inodes_free < 100:
        light = "red"
    elif found.inodes_free < 10_000 and found.inodes_free < found.inodes_total // 50:
        light = "yellow"
    yield Check("disk", light, f"{found.inodes_free} inodes free of {found.inodes_total} at {directory}")


def _forecast(found: Room) -> str:
    if found.day is None or found.days is None:
        return "nothing written in the last 24 h by which to foresee when it is full"
    if found.days <= 0:
        return "it is full"
    what = "the disk is full" if _disk_first(found) else "full"
    left = "in more than ten years" if found.days > 3650 else f"in about {age(found.days * _DAY)}"
    return f"at the rate of the last 24 h ({size(found.day)} a day) {what} {left}"


def _disk_first(found: Room) -> bool:
    return found.free is not None and found.free < found.max_bytes - RESERVE_BYTES - found.used


def _when_full(found: Room) -> str:
    if found.on_full == "stop":
        return "records are lost, counted in gap records (OTEL_MCP_AUDIT_ON_FULL=stop)"
    if not found.acknowledged_until:
        return "records are lost, counted in gap records: nothing is acknowledged (otel-mcp-audit ack)"
    return (
        f"segments acknowledged until {iso_milliseconds(found.acknowledged_until)} and older than OTEL_MCP_AUDIT_MIN_AGE "
        f"are deleted, {size(found.may_go)} by now; then records are lost"
    )


def _day(segments: Sequence[tuple[str, os.stat_result]], now: float) -> int | None:
    """Bytes a day. A segment that was begun before the last 24 hours counts for the part of its life within them."""
    written, first = 0.0, now
    for path, status in segments:
        begun = start_of(path) / 1e9
        touched = min(status.st_mtime, now)
        first = min(first, begun or touched)
        if touched <= now - _DAY:
            continue
        life = max(touched - begun, 1.0)
        written += status.st_size * min(1.0, max(touched - max(begun, now - _DAY), 1.0) / life)
    if not written:
        return None
    return int(written * _DAY / min(_DAY, max(now - first, _LEAST_SECONDS)))


def _reserve(directory: str) -> str:
    try:
        status = os.lstat(os.path.join(directory, RESERVE))
    except FileNotFoundError:
        return "absent"
    except OSError as error:
        return f"not readable ({error.strerror})"
    if not stat.S_ISREG(status.st_mode):
        return "no regular file"
    return "there" if status.st_size >= RESERVE_BYTES else "used up"
