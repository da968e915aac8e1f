# SPDX-License-Identifier: Apache-2.0
"""One line a record for people: when, how it ended, who, what, how long, where. Nothing in it can drive the terminal."""

from __future__ import annotations

from typing import Final

from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord
from opentelemetry.instrumentation.mcp_audit.record import attributes as a

from .seed import user_of
from .text import iso_milliseconds, visible

_MARKS: Final = {"success": ("✓", "32"), "failure": ("✗", "31"), "unknown": ("?", "33")}
_HEADER: Final = ("TIME", "", "USER", "WHAT", "DETAIL", "TOOK", "SERVICE")
_WIDTHS: Final = (24, 1, 20, 32, 18, 9, 0)


def header(colour: bool = False) -> str:
    """The line above the table."""
    return _paint(_row(_HEADER), "1", colour)


def row(record: StoredRecord, colour: bool = False) -> str:
    """The record as one line. ``colour`` adds ANSI colours of ours; those in the data are always shown as escapes."""
    get = record.attributes.get
    mark, code = _MARKS.get(str(get(a.AUDIT_OUTCOME)), ("·", "0"))
    tenant = get(a.TENANT_ID)
    user = user_of(record) or ("-" if record.event_name not in a.OUTCOME_EVENTS else "anonymous")
    who = f"{user}@{tenant}" if tenant else user
    detail = get(a.OUTCOME_DETAIL) or ("" if record.event_name in a.OUTCOME_EVENTS else get(a.AUDIT_OUTCOME)) or ""
    cells = (
        iso_milliseconds(record.time),
        mark,
        who,
        what(record),
        str(detail),
        duration(get(a.DURATION_US)),
        str(record.resource.get("service.name", "")),
    )
    line = _row(cells)
    if record.faults:
        line += f"  (!) {visible(record.faults[0])}"
    if not colour:
        return line
    # The mark stands behind the time column and two spaces; only it is painted.
    place = _WIDTHS[0] + 2
    return line[:place] + _paint(line[place : place + 1], code, True) + line[place + 1 :]


def what(record: StoredRecord) -> str:
    """The tool's name for a tool call; else the event and its target."""
    get = record.attributes.get
    event = record.event_name.removeprefix("mcp_audit.")
    if record.event_name == a.EVENT_TOOL_CALL:
        return str(get(a.GEN_AI_TOOL_NAME, get(a.AUDIT_TARGET_ID, "?")))
    if record.event_name == a.EVENT_GAP:
        return f"gap: {get(a.GAP_COUNT, '?')} records lost"
    if record.event_name == a.EVENT_ACCESS_DENIED:
        return f"{get(a.HTTP_RESPONSE_STATUS_CODE, '?')} {get(a.DECISION_REASON, '?')} {get(a.HTTP_REQUEST_METHOD, '')}"
    if record.event_name == a.EVENT_SUMMARY:
        whose = "others" if get(a.SUMMARY_OTHERS) else get(a.AUDIT_SOURCE_ID, "?")
        return f"{get(a.SUMMARY_COUNT, '?')} more {get(a.DECISION_REASON, '?')} {whose}"
    target = get(a.AUDIT_TARGET_ID) or get(a.LIFECYCLE_KIND)
    return f"{event} {target}" if target else event


def duration(microseconds: object) -> str:
    """Microseconds in a unit that keeps three or four digits."""
    if not isinstance(microseconds, int):
        return ""
    if microseconds < 1000:
        return f"{microseconds} µs"
    if microseconds < 10_000_000:
        return f"{microseconds / 1000:.1f} ms"
    return f"{microseconds / 1_000_000:.1f} s"


def _row(cells: tuple[str, ...]) -> str:
    padded = (
        visible(cell, max(width, 60) if width == 0 else width).ljust(width)
        for cell, width in zip(cells, _WIDTHS, strict=True)
    )
    return "  ".join(padded).rstrip()


def _paint(text: str, code: str, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text
