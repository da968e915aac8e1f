# SPDX-License-Identifier: Apache-2.0
"""Attributes that come again and again: the same caller calls the same tool, under the same policy, with the same end.

Who acted, on what, from where and how it ended is the same in most records of a process. It is made once, by the plain
way of :mod:`.assemble`, and kept under everything that it was made of. What is a call's own (:data:`OWN`) is added each
time. Only clean values are kept: nothing that a detector found, nothing cut, nothing that depends on another part of the
same call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from . import attributes as a
from .record import Actor

# What is never kept, in the order of the wire; everything else follows from the key.
OWN: Final = (
    a.AUDIT_RECORD_ID,
    a.CLIENT_PORT,
    a.JSONRPC_REQUEST_ID,
    a.CALL_ID,
    a.CONTENT_DIGEST,
    a.DURATION_US,
    a.REQUEST_BYTES,
    a.REQUEST_DIGEST,
    a.REQUEST_ID,
    a.RESPONSE_BYTES,
    a.RESULT_COUNT,
)
_OWN: Final = frozenset(OWN)

_KEPT_MAX: Final = 256
_TEXT_MAX: Final = 256
_ITEMS_MAX: Final = 16

Key = tuple[object, ...]


class Recurring:
    """One kept set. ``texts`` belongs to :mod:`.encode`: what it made of ``values``, by the names of the others."""

    __slots__ = ("texts", "values")

    def __init__(self, values: dict[str, a.AttributeValue]) -> None:
        self.values = values
        self.texts: dict[tuple[str, ...], Any] = {}


class Recurrences:
    """At most 256 sets, begun anew when full. Safe to use from any thread: every step is one of a dict."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[Key, Recurring] = {}

    def get(self, key: Key | None) -> Recurring | None:
        """The set that was kept under ``key``."""
        try:
            return None if key is None else self._kept.get(key)
        except TypeError:
            return None  # something in it cannot be hashed: of the application's own `identify`

    def keep(self, key: Key | None, values: Mapping[str, a.AttributeValue]) -> None:
        """Keep what recurs of ``values``, which were made from what is in ``key`` and from nothing else.

        Only under a key of short plain values: what is equal to them is the same (unlike 1, 1.0 and True), and callers
        cannot fill the memory.
        """
        if key is None or not all(map(_is_plain, key)):
            return
        if len(self._kept) >= _KEPT_MAX:
            self._kept.clear()
        self._kept[key] = Recurring({name: value for name, value in values.items() if name not in _OWN})


def actor_key(actor: Actor) -> Key | None:
    """Everything that a record tells of the actor; None when that is too much, or of types of somebody's own making."""
    roles, scopes, chain = actor.roles, actor.scopes, actor.chain
    if roles or scopes or chain:
        lists = (_frozen(roles), _frozen(scopes), _frozen(chain))
        if None in lists:
            return None
    else:
        lists = ((), (), ())
    return (
        actor.id,
        actor.type,
        actor.provenance,
        actor.email,
        actor.tenant_id,
        actor.issuer,
        actor.client_id,
        actor.token_id,
        *lists,
    )


def _frozen(values: Sequence[str]) -> tuple[str, ...] | None:
    return tuple(values) if type(values) in (tuple, list) and len(values) <= _ITEMS_MAX else None


def _is_plain(value: object) -> bool:
    if type(value) is tuple:
        return all(type(item) is str and len(item) <= _TEXT_MAX for item in value)
    return value is None or (type(value) is str and len(value) <= _TEXT_MAX)
