# SPDX-License-Identifier: Apache-2.0
"""The words for HTTP requests that were refused before they reached any method: one of them, and many that are counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from .record import Invocation

DecidedBy = Literal["auth", "transport_security", "session", "protocol"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refused request.

    ``invocation`` has what is known of it: its ASGI scope, when it was received, session id and protocol version as the
    client sent them, and the method if a header names it. ``status`` is the HTTP status of the answer, which began
    ``duration_ns`` after the request had come.
    """

    invocation: Invocation
    status: int
    decided_by: DecidedBy
    reason: str
    duration_ns: int


class Source(NamedTuple):
    """Whose refusals are counted together. ``address`` is an IPv4 address, an IPv6 network, a name, or empty.

    ``actor`` and ``actor_type`` are those of a verified caller, else empty: a stranger who shares its address (a proxy's)
    must not use up what is kept of it.
    """

    address: str = ""
    address_type: str = ""
    actor: str = ""
    actor_type: str = ""


class Kind(NamedTuple):
    """What is told apart of one source's refusals. All words of ours: a stranger cannot make up new ones."""

    status: int
    decided_by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Summary:
    """Refusals that got no record of their own. ``since`` and ``until`` in nanoseconds since the epoch.

    ``source`` is None for the refusals of all sources beyond those that were told apart.
    """

    count: int
    since: int
    until: int
    source: Source | None
    kind: Kind
