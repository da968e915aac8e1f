# SPDX-License-Identifier: Apache-2.0
"""What a request is taken apart into: scopes with records in them, each a record of the trail or set apart with a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord, record_of
from opentelemetry.instrumentation.mcp_audit.integrity.values import NotARecord

from .compact import compact

MAX_ATTRIBUTES: Final = 1_000
# Of what is set apart, so much is kept: enough to find where it came from.
MAX_REJECTED_CHARACTERS: Final = 64 * 1024


class Undecodable(ValueError):
    """The body is no OTLP request at all; the message says why."""


@dataclass(frozen=True, slots=True)
class Received:
    """One record: ``line`` is OTLP/JSON, without its end, with the resource and scope it came in."""

    line: str
    record: StoredRecord


@dataclass(frozen=True, slots=True)
class Rejected:
    """What cannot be a record of the trail: why, and what it was (cut, if it is long)."""

    reason: str
    line: str


Read = Callable[[Any, dict[str, Any], tuple[str, str]], tuple[str, StoredRecord]]


@dataclass(frozen=True, slots=True)
class Scoped:
    """Records under one resource and scope, both trees of OTLP/JSON.

    ``read`` makes of one of ``records`` its OTLP/JSON and its typed values, given the resource's attributes, the scope's
    name and version; raises :class:`NotARecord` or RecursionError. ``show`` makes the text of one that is set apart.
    """

    resource: Any
    scope: Any
    records: Iterable[Any]
    read: Read
    show: Callable[[Any], str]


def read_tree(tree: Any, resource: dict[str, Any], scope: tuple[str, str]) -> tuple[str, StoredRecord]:
    """A record's tree of OTLP/JSON, read. Raises :class:`NotARecord`, RecursionError."""
    if isinstance(tree, dict) and isinstance(tree.get("attributes"), list):
        few(len(tree["attributes"]))
    return compact(tree), record_of(tree, b"", [], resource, scope)


def few(attributes: int) -> None:
    """Raises :class:`NotARecord` for more attributes than are taken."""
    if attributes > MAX_ATTRIBUTES:
        raise NotARecord(f"{attributes} attributes, at most {MAX_ATTRIBUTES} are taken")


def show_tree(tree: Any) -> str:
    """The text of a tree of JSON, whatever it is."""
    try:
        return compact(tree)
    except (ValueError, RecursionError, TypeError):
        return repr(type(tree))


def rejected(reason: str, text: str) -> Rejected:
    return Rejected(reason, text[:MAX_REJECTED_CHARACTERS])
