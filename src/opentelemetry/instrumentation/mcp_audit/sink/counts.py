# SPDX-License-Identifier: Apache-2.0
"""What the sink did, in numbers, as Prometheus reads them."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from .store import Kept


class Counts:
    """Counters of one sink. Safe to use from any thread."""

    def __init__(self, stores: Iterable[str]) -> None:
        self.requests = 0
        self._refused: dict[int, int] = {}
        self._kept = dict.fromkeys(stores, Kept())
        self._lock = threading.Lock()

    def refused(self, status: int) -> None:
        """A request was answered with this HTTP status, not 200."""
        with self._lock:
            self._refused[status] = self._refused.get(status, 0) + 1

    def kept(self, store: str, kept: Kept) -> None:
        with self._lock:
            self._kept[store] += kept

    def exposition(self) -> str:
        """The text format of Prometheus, version 0.0.4."""
        with self._lock:
            lines = [
                "# TYPE mcp_audit_sink_requests_total counter",
                f"mcp_audit_sink_requests_total {self.requests}",
                "# TYPE mcp_audit_sink_refused_total counter",
                *(f'mcp_audit_sink_refused_total{{status="{s}"}} {n}' for s, n in sorted(self._refused.items())),
                "# TYPE mcp_audit_sink_records_total counter",
            ]
            for store, kept in self._kept.items():
                label = store.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
                for what in ("stored", "repeated", "conflicts", "rejected"):
                    number = getattr(kept, what)
                    lines.append(f'mcp_audit_sink_records_total{{store="{label}",result="{what}"}} {number}')
        return "\n".join(lines) + "\n"
