# SPDX-License-Identifier: Apache-2.0
"""Attribute values as OTLP/JSON writes them, read as the types that the attribute table gives them.

A store may have turned an int into a string or a list into JSON text: where the table knows the attribute, its type is
brought back. An attribute that the table does not know (a later 1.x wrote it) keeps the type it has on the wire.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from opentelemetry.instrumentation.mcp_audit.record.attributes import TABLE, AttributeType, AttributeValue

_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_INT64: Final = range(-(2**63), 2**63)
MAX_FAULTS: Final = 20
_PLAIN: Final = (None, "string")


class NotARecord(ValueError):
    """The bytes are no record of the trail; the message says why."""


def attributes_of(items: Any, faults: list[str], what: str) -> dict[str, AttributeValue]:
    """Attributes by name, in the order in which they stand; the first of a repeated one. Adds to ``faults``.

    ``what`` says what they are attributes of, for the faults. Raises :class:`NotARecord` when ``items`` is no list.
    """
    if not isinstance(items, list):
        raise NotARecord("attributes are no list")
    made: dict[str, AttributeValue] = {}
    for item in items:
        try:
            key, wire = item["key"], item["value"]
        except (TypeError, KeyError, IndexError):
            key = wire = None
        if type(key) is not str or len(item) != 2:
            fault(faults, f"{what} {len(made) + 1} is not of the form key and value")
            continue
        if key in made:
            fault(faults, f"{what} {shown(key)} is repeated")
            continue
        row = TABLE.get(key)
        declared = None if row is None else row.type
        value: AttributeValue | None
        if type(wire) is dict and len(wire) == 1 and type(wire.get("stringValue")) is str and declared in _PLAIN:
            value = wire["stringValue"]  # nearly all are such: the short way
        else:
            value = _value(wire, declared)
        if value is None:
            fault(faults, f"{what} {shown(key)} has a value that its type does not allow")
            continue
        made[key] = value
    return made


def _value(wire: Any, declared: AttributeType | None) -> AttributeValue | None:
    """A wire value in the type that the table gives its attribute, else in its own; None when it is neither."""
    if not isinstance(wire, dict) or len(wire) != 1:
        return None
    ((kind, value),) = wire.items()
    if kind == "stringValue" and isinstance(value, str):
        return value if declared in (None, "string") else _from_string(value, declared)
    if kind == "intValue":
        return _integer(value) if declared in (None, "int") else None
    if kind == "boolValue" and isinstance(value, bool):
        return value if declared in (None, "bool") else None
    if kind == "arrayValue" and isinstance(value, dict) and declared in (None, "strings"):
        return _strings(value)
    return None


def _from_string(value: str, declared: AttributeType | None) -> AttributeValue | None:
    """A value from a store that keeps nothing but strings."""
    if declared == "int":
        return _integer(value)
    if declared == "bool":
        return {"true": True, "false": False}.get(value)
    try:
        items = json.loads(value)
    except (ValueError, RecursionError):
        return None
    if isinstance(items, list) and items and all(isinstance(item, str) for item in items):
        return items
    return None


def _integer(value: Any) -> int | None:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value in _INT64:
        return value
    return None


def _strings(array: dict[str, Any]) -> list[str] | None:
    items = array.get("values")
    if len(array) != 1 or not isinstance(items, list) or not items:
        return None
    made: list[str] = []
    for item in items:
        if not isinstance(item, dict) or len(item) != 1 or not isinstance(item.get("stringValue"), str):
            return None
        made.append(item["stringValue"])
    return made


def fault(faults: list[str], sentence: str) -> None:
    """Add what is wrong with a record to its list of faults, unless that is long enough."""
    # One line may hold a hundred thousand of them, and many records to tell them of.
    if len(faults) < MAX_FAULTS:
        faults.append(sentence)


def shown(name: str) -> str:
    """A name out of the data, as it can stand in a sentence."""
    return json.dumps(name[:80])
