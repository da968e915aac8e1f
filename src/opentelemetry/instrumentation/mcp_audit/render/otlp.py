# SPDX-License-Identifier: Apache-2.0
"""The record as it stands in the journal: one line of OTLP/JSON, unchanged, so that it still verifies elsewhere."""

from __future__ import annotations

from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord

from .text import json_visible


def otlp_line(record: StoredRecord) -> str:
    """The line as it was read, without its end."""
    return record.raw.decode("utf-8").rstrip("\r")


def otlp_for_terminal(record: StoredRecord) -> str:
    """The same value with everything escaped that could drive a terminal; readers of JSON see no difference."""
    return json_visible(otlp_line(record))
