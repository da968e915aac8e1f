# SPDX-License-Identifier: Apache-2.0
"""One journal directory as ``doctor`` sees it: its processes, ledger, gaps and room. Reads only, and in bounds."""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict
from typing import Any

from opentelemetry.instrumentation.mcp_audit.integrity.files import segment_files
from opentelemetry.instrumentation.mcp_audit.settings import Settings

from ._checks import Check
from ._dead import markers, markers_checks
from ._delivery import delivery, delivery_checks
from ._gaps import gaps, gaps_checks
from ._ledger import ledger, ledger_checks
from ._room import room, room_checks


def journal(directory: str, settings: Settings) -> tuple[list[Check], dict[str, Any]]:
    """What is to be said, and the same in numbers: ``{"directory", "segments", "markers", "ledger", "gaps", "room", "delivery"}``.

    Raises OSError when the directory cannot be listed or measured.
    """
    segments: list[tuple[str, os.stat_result]] = []
    for file in segment_files(directory):
        with contextlib.suppress(OSError):  # pruned just now
            segments.append((file, os.lstat(file)))
    segments.sort(key=lambda segment: segment[1].st_mtime_ns, reverse=True)
    marks = markers(directory)
    live, dead = bool(marks.live.processes), bool(marks.dead.processes)
    state = ledger(directory)
    looked = gaps([file for file, _ in segments])
    space = room(directory, segments, settings)
    delivered = delivery(directory, segments)
    checks = [
        *_owner(directory),
        *markers_checks(directory, marks),
        *ledger_checks(directory, state, len(segments), live, dead),
        *gaps_checks(directory, looked),
        *room_checks(directory, space, live),
        *delivery_checks(directory, delivered),
    ]
    return checks, {
        "directory": directory,
        "segments": len(segments),
        "markers": asdict(marks),
        "ledger": asdict(state),
        "gaps": asdict(looked),
        "room": asdict(space),
        "delivery": None if delivered is None else asdict(delivered),
    }


def _owner(directory: str) -> list[Check]:
    if not hasattr(os, "geteuid"):
        return []
    owner, user = os.stat(directory).st_uid, os.geteuid()
    if owner == user:
        return []
    return [
        Check(
            "permissions",
            "yellow",
            f"{directory}: owned by user {owner}, this is user {user}: run as the server's user",
        )
    ]
