# SPDX-License-Identifier: Apache-2.0
"""Rows for spreadsheets. A cell that a spreadsheet would take for a formula gets a leading apostrophe."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from typing import Final

from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord
from opentelemetry.instrumentation.mcp_audit.record import attributes as a

from .seed import body_of, user_of
from .text import iso_milliseconds, visible

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
)
_UNSEEN: Final = re.compile(r"[^\r\n\t]+")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def csv_header() -> str:
    """The names of the columns as one line, without a line end."""
    return _line(COLUMNS)


def csv_row(record: StoredRecord) -> str:
    """The record as one CSV row (RFC 4180 quoting; a cell may hold line ends), without a line end."""
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
        get(a.CLIENT_ADDRESS),
        get(a.REQUEST_ID),
        get(a.AUDIT_RECORD_ID),
        record.trace_id,
        record.resource.get("service.name"),
        record.stream_id,
        record.number,
        "" if arguments is None else json.dumps(arguments, ensure_ascii=False, separators=(",", ":")),
    )
    return _line([_cell(cell) for cell in cells])


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    if not text.isprintable():
        # Line ends and tabs are data that CSV can hold; what else does not print could drive a terminal.
        text = _UNSEEN.sub(lambda match: visible(match[0]), text)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _line(cells: Sequence[str]) -> str:
    buffer = io.StringIO()
    # The writer quotes line ends only because they are its own line terminator.
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue().removesuffix("\r\n")
