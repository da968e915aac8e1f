# SPDX-License-Identifier: Apache-2.0
"""What the HTTP hooks of one request share: it stands in the request's ASGI scope, where each of them finds it.

Authentication, session manager and transport are nested ASGI callables; whichever of them answers, the request is one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, Literal

SCOPE_EXCHANGE: Final = "mcp_audit.exchange"

Layer = Literal["guard", "auth", "transport"]


class Exchange:
    """One HTTP request and what becomes of it.

    ``layer`` is the innermost one that was reached, ``scope`` the scope it was given. ``manager`` is the session manager
    if sessions are kept, ``sse`` the transport of the older HTTP+SSE protocol, ``modern`` whether it was taken for a
    request of 2026-07-28. ``reached``: it got to dispatch, which answers for it from there on; ``settled``: its answer
    needs no more watching. ``status`` is that of an answer that may be a refusal.
    """

    __slots__ = (
        "layer",
        "manager",
        "modern",
        "reached",
        "received",
        "scope",
        "settled",
        "sse",
        "started",
        "status",
    )

    def __init__(self, scope: MutableMapping[str, Any], layer: Layer) -> None:
        self.scope = scope
        self.layer = layer
        self.received = time.time_ns()
        self.started = time.monotonic_ns()
        self.manager: Any = None
        self.sse: Any = None
        self.modern = False
        self.reached = False
        self.settled = False
        self.status: int | None = None


def dispatched(scope: Mapping[str, Any] | None) -> None:
    """A request of this HTTP exchange got to dispatch: its outcome record tells how it ended, also a refusing status."""
    if scope is not None:
        exchange = scope.get(SCOPE_EXCHANGE)
        if exchange is not None:
            exchange.reached = True
