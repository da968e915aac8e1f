# SPDX-License-Identifier: Apache-2.0
"""What ``doctor`` sees of the processes of a journal by what they lock: calls in flight, and who died and was not adopted.

A lock is only asked for, shared and for the moment of the question: no file is changed, and nobody alive can be held up.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opentelemetry.instrumentation.mcp_audit.integrity.files import MARKER_SUFFIX
from opentelemetry.instrumentation.mcp_audit.journal.marker_contents import read_descriptor
from opentelemetry.instrumentation.mcp_audit.journal.slots import NewerVersion

from ._checks import Check
from ._words import age, some

_TOPIC: Final = "processes"
# Each is 65 KiB or more. What is beyond is counted, not read.
_MAX_MARKERS: Final = 2000
_ADOPT: Final = "the next server that starts there adopts them, or: otel-mcp-audit adopt"


@dataclass(slots=True)
class Marks:
    """The start markers of the live processes of a directory, or of its dead ones.

    ``calls`` are in flight, the oldest of them received at ``oldest`` (nanoseconds since the epoch, 0: none). ``torn``
    slots cannot be read.
    """

    processes: int = 0
    calls: int = 0
    oldest: int = 0
    torn: int = 0


@dataclass(slots=True)
class Markers:
    """All start markers of a directory. ``odd``: sentences about those that tell nothing; ``unread``: how many beyond
    what is looked at."""

    live: Marks
    dead: Marks
    odd: list[str]
    unread: int = 0


def markers(directory: str) -> Markers:
    """Read them. Raises OSError when the directory cannot be listed."""
    found = Markers(Marks(), Marks(), [])
    with os.scandir(directory) as entries:
        names = sorted(entry.name for entry in entries if entry.name.endswith(MARKER_SUFFIX))
    found.unread = max(0, len(names) - _MAX_MARKERS)
    for name in names[-_MAX_MARKERS:]:
        try:
            _look(os.path.join(directory, name), found)
        except FileNotFoundError:
            continue  # closed well or adopted just now
        except NewerVersion as error:
            found.odd.append(f"{name} is of a newer release ({error})")
        except (OSError, ValueError) as error:
            reason = error.strerror or error if isinstance(error, OSError) else error
            found.odd.append(f"{name}: {reason}")
    return found


def markers_checks(directory: str, found: Markers, now: float | None = None) -> Iterator[Check]:
    """What is to be said of them."""
    seconds = time.time() if now is None else now
    live, dead = found.live, found.dead
    if live.processes:
        yield Check(
            _TOPIC,
            "green",
            f"{directory}: {some(live.processes, 'live process', 'live processes')} with a start marker, "
            f"{some(live.calls, 'call')} in flight{_since(live, seconds)}",
        )
    if dead.processes:
        torn = f"; {some(dead.torn, 'more')} cannot be read" if dead.torn else ""
        yield Check(
            _TOPIC,
            "yellow",
            f"{directory}: {some(dead.processes, 'dead process', 'dead processes')} not adopted yet, with "
            f"{some(dead.calls, 'call')} that nobody has answered for{_since(dead, seconds)}{torn}; {_ADOPT}",
        )
    if found.odd:
        more = f" ({len(found.odd)} such)" if len(found.odd) > 1 else ""
        yield Check(_TOPIC, "yellow", f"{directory}: a start marker tells nothing: {found.odd[0]}{more}")
    if found.unread:
        yield Check(_TOPIC, "yellow", f"{directory}: {found.unread} more start markers, not looked at; {_ADOPT}")


def unlocked(directory: str, names: Sequence[str]) -> list[str]:
    """Those of the segments that are there and that no living process holds. Unknown counts as held."""
    free = []
    for name in names:
        try:
            descriptor = _open(os.path.join(directory, name))
        except OSError:
            continue
        try:
            if not _held(descriptor):
                free.append(name)
        finally:
            os.close(descriptor)
    return free


def _look(path: str, found: Markers) -> None:
    descriptor = _open(path)
    try:
        held = _held(descriptor)
        contents = read_descriptor(descriptor)
        if not held and not os.path.samestat(os.fstat(descriptor), os.lstat(path)):
            return  # adopted between the two
    finally:
        os.close(descriptor)
    marks = found.live if held else found.dead
    if contents.header is None and not contents.calls and not contents.blank:
        raise ValueError("not a start marker")
    marks.processes += 1
    marks.calls += len(contents.calls)
    # In a live one a slot may be half written at this very moment.
    marks.torn += 0 if held else contents.torn
    marks.oldest = min(
        [slot.call.received for slot in contents.calls] + ([marks.oldest] if marks.oldest else []) or [0]
    )


def _since(marks: Marks, now: float) -> str:
    return f" (the oldest received {age(now - marks.oldest / 1e9)} ago)" if marks.oldest else ""


def _open(path: str) -> int:
    """Only to read, no link followed, no pipe waited for. Raises OSError for what is no regular file."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(Path(path), flags | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{os.path.basename(path)} is not a regular file")
    return descriptor


if sys.platform == "win32":  # pragma: no cover

    def _held(descriptor: int) -> bool:
        return True  # no flock there: nothing tells
else:
    import fcntl

    def _held(descriptor: int) -> bool:
        """Whether a living process has the file locked. A shared lock, given back at once, is enough to know."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return False
