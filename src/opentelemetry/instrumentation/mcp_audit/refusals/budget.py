# SPDX-License-Identifier: Apache-2.0
"""How many refusals get records of their own, and the exact counts of the others. No clock, no lock, no file.

Refusals before authentication are sized by strangers. In each window (one minute) the first so many of a source are
admitted, the rest is counted by source and kind. Sources are bounded too: what comes from further ones is admitted and
counted as from one.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

from opentelemetry.instrumentation.mcp_audit.record.record import Actor
from opentelemetry.instrumentation.mcp_audit.record.refusal import Kind, Source, Summary

WINDOW_SECONDS: Final = 60.0
SOURCES_MAX: Final = 1_024
# An IPv6 customer has at least so large a network to choose addresses from.
_IPV6_PREFIX: Final = 64


class Budget:
    """One window after the other. ``now`` is seconds of a clock that never goes back, ``wall`` nanoseconds of the epoch.

    Admitted plus counted is always what came: a count leaves by :meth:`take` and nowhere else.
    """

    def __init__(self, per_window: int, *, window: float = WINDOW_SECONDS, sources: int = SOURCES_MAX) -> None:
        self._per_window = per_window
        self._window = window
        self._sources = sources
        self._began: float | None = None
        self._wall = 0
        self._admitted: dict[Source | None, int] = {}
        self._counted: dict[tuple[Source | None, Kind], Summary] = {}

    def anew(self) -> Budget:
        """The same budget with nothing spent or counted."""
        return Budget(self._per_window, window=self._window, sources=self._sources)

    @property
    def counting(self) -> bool:
        """Whether there is anything to take."""
        return bool(self._counted)

    def ends_in(self, now: float) -> float:
        """Seconds until the current window is over; 0 when it is, or none has begun."""
        return 0.0 if self._began is None else max(0.0, self._began + self._window - now)

    def admit(self, source: Source, kind: Kind, now: float, wall: int) -> bool:
        """Whether this refusal gets a record of its own; if not it is counted.

        Call :meth:`take` first where :meth:`ends_in` is 0, else counts of two windows are one.
        """
        if self.ends_in(now) == 0:
            self._began, self._wall = now, wall
            self._admitted.clear()
        known: Source | None = source
        if source not in self._admitted and len(self._admitted) >= self._sources:
            known = None
        spent = self._admitted.get(known, 0)
        if spent < self._per_window:
            self._admitted[known] = spent + 1
            return True
        if known is not None and spent == 0:
            # With nothing to spend every source is new: it must be known to be bounded.
            self._admitted[known] = 0
        self._add(Summary(1, self._wall, wall, known, kind))
        return False

    def take(self, wall: int) -> list[Summary]:
        """Everything that was counted and is not taken yet, up to ``wall``; the counts begin anew."""
        taken = [
            Summary(one.count, one.since, max(one.until, wall), one.source, one.kind) for one in self._counted.values()
        ]
        self._counted.clear()
        return taken

    def put_back(self, summaries: Iterable[Summary]) -> None:
        """Count again what was taken and could not be written."""
        for summary in summaries:
            self._add(summary)

    def _add(self, more: Summary) -> None:
        key = (more.source, more.kind)
        before = self._counted.get(key)
        if before is None and len(self._counted) >= 4 * self._sources and more.source is not None:
            # Only counts that could not be written pile up over windows; then the sources are told apart no longer.
            self._add(Summary(more.count, more.since, more.until, None, more.kind))
            return
        if before is not None:
            more = Summary(
                before.count + more.count,
                min(before.since, more.since),
                max(before.until, more.until),
                more.source,
                more.kind,
            )
        self._counted[key] = more


def source_of(address: str | None, address_type: str | None, actor: Actor) -> Source:
    """Whose budget a refusal is taken from."""
    verified = actor.provenance == "verified"
    return Source(
        _network(address) if address_type == "ipv6" and address else address or "",
        address_type or "",
        actor.id if verified else "",
        actor.type if verified else "",
    )


def _network(address: str) -> str:
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(IPv6Network((int(ip), _IPV6_PREFIX), strict=False)) if isinstance(ip, IPv6Address) else address
