# SPDX-License-Identifier: Apache-2.0
"""OTLP/JSON taken apart. A body that is large as a tree would fill the memory: it is cut into its records, tree by tree."""

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
    if len(body) > _LARGE_BYTES:
        return _of_large(body)
    try:
        tree = _loaded(bytes(body))
    except NotARecord as error:
        raise Undecodable(str(error)[:200]) from None
    groups = tree.get("resourceLogs", []) if isinstance(tree, dict) else None
    if not isinstance(groups, list):
        raise Undecodable("JSON without a list resourceLogs")
    return (item for group in groups for item in _of_group(group))


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


# --- a large body: places in it, not trees ---------------------------------------------------------------------------


def _of_large(body: bytes | bytearray) -> Iterator[Scoped | Rejected]:
    try:
        listed = cut.whole_object(body).get("resourceLogs")
        groups = [] if listed is None else cut.elements(body, listed)
    except cut.Broken as error:
        raise Undecodable(str(error)) from None
    return (item for place in groups for item in _of_large_group(body, place))


def _of_large_group(body: bytes | bytearray, place: cut.Place) -> Iterator[Scoped | Rejected]:
    try:
        if not place.longer(_LARGE_BYTES):
            yield from _of_group(_loaded(place.text(body)))
            return
        parts = cut.members(body, place)
        resource = _loaded(parts["resource"].text(body)) if "resource" in parts else {}
        listed = cut.elements(body, parts["scopeLogs"]) if "scopeLogs" in parts else []
    except (cut.Broken, NotARecord) as error:
        yield rejected(_why(error, _NO_SCOPES), _show_place(body, place))
        return
    for scoped in listed:
        yield _of_large_scope(body, scoped, resource or {})


def _of_large_scope(body: bytes | bytearray, place: cut.Place, resource: Any) -> Scoped | Rejected:
    try:
        if not place.longer(_LARGE_BYTES):
            return _of_scope(_loaded(place.text(body)), resource)
        parts = cut.members(body, place)
        scope = _loaded(parts["scope"].text(body)) if "scope" in parts else {}
        records = cut.elements(body, parts["logRecords"]) if "logRecords" in parts else []
    except (cut.Broken, NotARecord) as error:
        return rejected(_why(error, _NO_RECORDS), _show_place(body, place))

    def read(record: cut.Place, attributes: dict[str, Any], named: tuple[str, str]) -> tuple[str, StoredRecord]:
        return read_tree(_loaded(record.text(body)), attributes, named)

    return Scoped(resource, scope or {}, records, read, lambda record: _show_place(body, record))


def _why(error: Exception, otherwise: str) -> str:
    return otherwise if isinstance(error, cut.WrongType) else str(error)[:200]


def _show_place(body: bytes | bytearray, place: cut.Place) -> str:
    # A character has at most four bytes, and what is cut is cut anyway.
    return bytes(body[place.start : min(place.end, place.start + 4 * MAX_REJECTED_CHARACTERS)]).decode(errors="replace")
