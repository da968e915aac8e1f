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
    needs no more watching. ``status`` is that of an answer that may be a refusal. ``over``: its answer has ended, so that
    what is answered from now on reaches nobody.
    """

    __slots__ = (
        "layer",
        "manager",
        "modern",
        "over",
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
        self.over = False


def found(scope: Any) -> Exchange | None:
    """The exchange of an ASGI scope; None where there is none yet, and for what is no scope."""
    # Most scopes are dicts, and asking an abstract class costs more than all the rest.
    known = type(scope) is dict or isinstance(scope, Mapping)
    return scope.get(SCOPE_EXCHANGE) if known else None


def dispatched(scope: Mapping[str, Any] | None) -> None:
    """A request of this HTTP exchange got to dispatch: its outcome record tells how it ended, also a refusing status."""
    exchange = found(scope)
    if exchange is not None:
        exchange.reached = True


def answered_nobody(scope: Mapping[str, Any] | None) -> bool:
    """Whether the HTTP answer to this request had ended before it got its JSON-RPC answer."""
    exchange = found(scope)
    return exchange is not None and exchange.over
