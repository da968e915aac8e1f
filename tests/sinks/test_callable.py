# SPDX-License-Identifier: Apache-2.0
"""The callable sink hands entries on, and nothing else."""

from __future__ import annotations

import pytest

from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord
from opentelemetry.instrumentation.mcp_audit.sinks.callable import CallableSink
from opentelemetry.instrumentation.mcp_audit.sinks.protocol import Entry, Sink

ENTRY = Entry(AuditRecord("mcp_audit.tool_call", 1, 2, {}), "stream", 1, None, "ab" * 32, b"{}\n")


def test_every_entry_is_handed_on() -> None:
    seen: list[Entry] = []
    sink = CallableSink(seen.append)
    assert isinstance(sink, Sink)
    assert sink.write(ENTRY) is None
    sink.close()
    assert seen == [ENTRY] and seen[0] is ENTRY


def test_what_the_function_raises_is_for_the_auditor_to_count() -> None:
    def refuse(entry: Entry) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        CallableSink(refuse).write(ENTRY)
