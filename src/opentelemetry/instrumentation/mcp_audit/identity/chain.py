# SPDX-License-Identifier: Apache-2.0
"""Who acts for whom: the ``act`` claim of RFC 8693, section 4.1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .bounded import text

MAX_DEPTH: Final = 8


def delegation_chain(claims: Mapping[Any, Any]) -> tuple[str, ...]:
    """The actors behind the subject, the current one first, each ``iss|sub`` or ``sub`` (``client_id`` without one).

    Nested ``act`` claims are earlier actors. At most 8 are read; a level that names nobody is passed over.
    """
    found: list[str] = []
    act = claims.get("act")
    for _ in range(MAX_DEPTH):
        if not isinstance(act, Mapping):
            break
        who = text(act.get("sub")) or text(act.get("client_id"))
        issuer = text(act.get("iss"))
        if who is not None:
            found.append(f"{issuer}|{who}" if issuer is not None else who)
        act = act.get("act")
    return tuple(found)
