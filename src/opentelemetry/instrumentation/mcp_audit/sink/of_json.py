# SPDX-License-Identifier: Apache-2.0
"""OTLP/JSON taken apart: as one tree, or, where that would be too large or cannot be made, cut into its records.

So a record that is no JSON (too deep, broken characters, a member twice) costs no other one, in a body that is whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord, load_json
from opentelemetry.instrumentation.mcp_audit.integrity.values import NotARecord

from . import cut
from .compact import tree_of
from .parts import MAX_REJECTED_CHARACTERS, Rejected, Scoped, Undecodable, read_tree, rejected, show_tree

_LARGE_BYTES: Final = 2 * 1024 * 1024
_NO_SCOPES: Final = "resourceLogs holds no list scopeLogs"
_NO_RECORDS: Final = "scopeLogs holds no list logRecords"


def scopes(body: bytes | bytearray) -> Iterator[Scoped | Rejected]:
    """Raises :class:`Undecodable`, before the first if ever."""
    if len(body) <= _LARGE_BYTES:
        try:
            tree = _loaded(bytes(body))
        except NotARecord as error:
            return _in_pieces(body, str(error)[:200])
        groups = tree.get("resourceLogs", []) if isinstance(tree, dict) else None
        if not isinstance(groups, list):
            raise Undecodable("JSON without a list resourceLogs")
        return (item for group in groups for item in _of_group(group))
    return _in_pieces(body)


def _loaded(raw: bytes) -> Any:
    """Raises :class:`NotARecord`, also for a member that is repeated: one of the two would be lost."""
    tree = tree_of(raw)
    if tree is None:
        tree, faults = load_json(raw)
        if faults:
            raise NotARecord(faults[0])
    return tree


def _of_group(group: Any) -> Iterator[Scoped | Rejected]:
    listed = group.get("scopeLogs", []) if isinstance(group, dict) else None
    if not isinstance(listed, list):
        yield rejected(_NO_SCOPES, show_tree(group))
        return
    for scoped in listed:
        yield _of_scope(scoped, group.get("resource") or {})


def _of_scope(scoped: Any, resource: Any) -> Scoped | Rejected:
    records = scoped.get("logRecords", []) if isinstance(scoped, dict) else None
    if not isinstance(records, list):
        return rejected(_NO_RECORDS, show_tree(scoped))
    return Scoped(resource, scoped.get("scope") or {}, records, read_tree, show_tree)


# --- places in the body, not trees -----------------------------------------------------------------------------------


def _in_pieces(body: bytes | bytearray, otherwise: str | None = None) -> Iterator[Scoped | Rejected]:
    """``otherwise``: what is known to be wrong with the body, said when no records can be found in it."""
    try:
        listed = cut.whole_object(body).get("resourceLogs")
        if listed is None and otherwise is not None:
            raise Undecodable(otherwise)
        groups = [] if listed is None else cut.elements(body, listed)
    except cut.Broken as error:
        raise Undecodable(otherwise or str(error)) from None
    return (item for place in groups for item in _of_group_at(body, place))


def _of_group_at(body: bytes | bytearray, place: cut.Place) -> Iterator[Scoped | Rejected]:
    tree = _small(body, place)
    if tree is not None:
        yield from _of_group(tree)
        return
    try:
        parts = cut.members(body, place)
        resource = _loaded(parts["resource"].text(body)) if "resource" in parts else {}
        listed = cut.elements(body, parts["scopeLogs"]) if "scopeLogs" in parts else []
    except (cut.Broken, NotARecord) as error:
        yield rejected(_why(error, _NO_SCOPES), _show_place(body, place))
        return
    for scoped in listed:
        yield _of_scope_at(body, scoped, resource or {})


def _of_scope_at(body: bytes | bytearray, place: cut.Place, resource: Any) -> Scoped | Rejected:
    tree = _small(body, place)
    if tree is not None:
        return _of_scope(tree, resource)
    try:
        parts = cut.members(body, place)
        scope = _loaded(parts["scope"].text(body)) if "scope" in parts else {}
        records = cut.elements(body, parts["logRecords"]) if "logRecords" in parts else []
    except (cut.Broken, NotARecord) as error:
        return rejected(_why(error, _NO_RECORDS), _show_place(body, place))

    def read(record: cut.Place, attributes: dict[str, Any], named: tuple[str, str]) -> tuple[str, StoredRecord]:
        return read_tree(_loaded(record.text(body)), attributes, named)

    return Scoped(resource, scope or {}, records, read, lambda record: _show_place(body, record))


def _small(body: bytes | bytearray, place: cut.Place) -> Any:
    """The tree of a part that makes no large one; None for any other, and for one of which no tree can be made."""
    if place.longer(_LARGE_BYTES):
        return None
    try:
        return _loaded(place.text(body))
    except NotARecord:
        return None


def _why(error: Exception, otherwise: str) -> str:
    return otherwise if isinstance(error, cut.WrongType) else str(error)[:200]


def _show_place(body: bytes | bytearray, place: cut.Place) -> str:
    # A character has at most four bytes, and what is cut is cut anyway.
    return bytes(body[place.start : min(place.end, place.start + 4 * MAX_REJECTED_CHARACTERS)]).decode(errors="replace")
