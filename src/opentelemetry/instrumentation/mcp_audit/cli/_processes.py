# SPDX-License-Identifier: Apache-2.0
"""What ``doctor`` says of the processes: the live ones each by itself, those that died all together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from opentelemetry.instrumentation.mcp_audit.render.text import iso_milliseconds

from ._checks import Check, Light
from ._status import ProcessStatus

EPHEMERAL: Final = "ephemeral-"
_TOPIC: Final = "processes"
_KEYRING: Final = "keyring"


def processes(statuses: Sequence[ProcessStatus]) -> Iterator[Check]:
    """How each process is doing. Of the dead, who left their status files behind, there may be thousands: more than one
    are told as a group, by the newest."""
    dead = []
    for status in statuses:
        if status.state == "live":
            yield from _process(status)
        else:
            dead.append(status)
    if len(dead) == 1:
        yield from _process(dead[0])
    elif dead:
        yield from _dead(sorted(dead, key=lambda status: (status.updated, status.pid), reverse=True))


def _process(status: ProcessStatus) -> Iterator[Check]:
    """One process. What a dead one left behind is told, and red only if it was losing records."""
    name = f"{status.state} process {_name(status)}"
    worse: Light = "red" if status.state == "live" else "yellow"
    if status.failing:
        yield Check(_TOPIC, "red", f"{name} cannot write its journal: {status.last_error or 'no reason given'}")
    if status.dropped:
        yield Check(_TOPIC, "yellow", f"{name} lost {status.dropped} records; {status.gaps} gap records tell of it")
    if status.delivery_error is not None and status.state == "live":
        yield Check(
            "delivery", "red", f"{name} cannot deliver now: {status.delivery_error}; nothing is lost, it goes on trying"
        )
    for problem in status.problems:
        yield Check(_TOPIC, worse, f"{name}: {problem}")
    if status.kid.startswith(EPHEMERAL):
        yield Check(
            _KEYRING,
            worse,
            f"{name} could not use its keyring: its keyed hashes are of the key {status.kid} and compare with no other "
            "process's",
        )
    if status.state == "live" and status.hooks and not status.hooked():
        yield Check(_TOPIC, "red", f"{name} has no live hook: nothing of it is audited")
    elif not status.failing:
        hooked = ", ".join(sorted({hook.get("stack", "?") for hook in status.hooked()})) or "none told"
        yield Check(_TOPIC, "green", f"{name}: {status.records} records, hooks: {hooked}")


def _dead(newest_first: Sequence[ProcessStatus]) -> Iterator[Check]:
    newest = newest_first[0]
    records = sum(status.records for status in newest_first)
    yield Check(
        _TOPIC,
        "green",
        f"{len(newest_first)} dead processes, the newest {_name(newest)}, last heard of "
        f"{iso_milliseconds(int(newest.updated * 1_000_000_000))}: {records} records in all",
    )
    groups: tuple[tuple[str, Light, Callable[[ProcessStatus], object], str, Callable[[ProcessStatus], str]], ...] = (
        (
            _TOPIC,
            "red",
            lambda status: status.failing,
            "could not write their journal",
            lambda status: status.last_error or "no reason given",
        ),
        (
            _TOPIC,
            "yellow",
            lambda status: status.dropped,
            "lost records",
            lambda status: f"{status.dropped}; {status.gaps} gap records tell of it",
        ),
        (_TOPIC, "yellow", lambda status: status.problems, "had problems", lambda status: status.problems[0]),
        (
            _KEYRING,
            "yellow",
            lambda status: status.kid.startswith(EPHEMERAL),
            "could not use their keyring",
            lambda status: f"the key {status.kid}",
        ),
    )
    for topic, light, fits, what, detail in groups:
        among = [status for status in newest_first if fits(status)]
        if among:
            text = f"{len(among)} of the dead processes {what}, the newest {_name(among[0])}: {detail(among[0])}"
            yield Check(topic, light, text)


def _name(status: ProcessStatus) -> str:
    return f"{status.pid} ({status.service or 'no service name'})"
