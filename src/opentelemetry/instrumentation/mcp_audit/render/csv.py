# SPDX-License-Identifier: Apache-2.0
"""Rows for spreadsheets and for tools that read lines: one record is one line.

What does not print in a cell, line ends too, stands there as its escape; a cell that a spreadsheet would take for a
formula gets a leading apostrophe.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Final

from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord
from opentelemetry.instrumentation.mcp_audit.record import attributes as a

from .seed import body_of, user_of
from .text import iso_milliseconds, json_visible, visible

COLUMNS: Final = (
    "time",
    "event",
    "outcome",
    "detail",
    "decision",
    "user_id",
    "user_email",
    "tenant_id",
    "provenance",
    "tool",
    "target",
    "method",
    "duration_us",
    "result_count",
    "client_address",
    "request_id",
    "record_id",
    "trace_id",
    "service",
    "stream_id",
    "number",
    "arguments",
    "decision_by",
    "decision_reason",
    "http_status",
    "count",
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def csv_header() -> str:
    """The names of the columns as one line, without a line end."""
    return _line(COLUMNS)


def csv_row(record: StoredRecord) -> str:
    """The record as one CSV row (RFC 4180 quoting), without a line end in it or behind it."""
    get = record.attributes.get
    arguments = body_of(record).get("arguments")
    cells = (
        iso_milliseconds(record.time),
        record.event_name,
        get(a.AUDIT_OUTCOME),
        get(a.OUTCOME_DETAIL),
        get(a.DECISION),
        user_of(record),
        get(a.USER_EMAIL),
        get(a.TENANT_ID),
        get(a.ACTOR_PROVENANCE),
        get(a.GEN_AI_TOOL_NAME),
        get(a.AUDIT_TARGET_ID),
        get(a.MCP_METHOD_NAME),
        get(a.DURATION_US),
        get(a.RESULT_COUNT),
        get(a.CLIENT_ADDRESS) or get(a.AUDIT_SOURCE_ID),
        get(a.REQUEST_ID),
        get(a.AUDIT_RECORD_ID),
        record.trace_id,
        record.resource.get("service.name"),
        record.stream_id,
        record.number,
        # Escaped as JSON does it, the cell is still JSON.
        "" if arguments is None else json_visible(json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))),
        get(a.DECISION_BY),
        get(a.DECISION_REASON),
        get(a.HTTP_RESPONSE_STATUS_CODE),
        get(a.SUMMARY_COUNT),
    )
    return _line([_cell(cell) for cell in cells])


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    # The guard looks at what was there: a spreadsheet may drop a leading tab or line end, or put one in for an escape.
    guard = "'" if text.startswith(_FORMULA) else ""
    return guard + visible(text)


def _line(cells: Sequence[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(cells)
    return buffer.getvalue()
