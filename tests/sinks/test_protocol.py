# SPDX-License-Identifier: Apache-2.0
"""What counts as a sink, and what an entry holds."""

from __future__ import annotations

from opentelemetry.instrumentation.mcp_audit import Entry as PublicEntry
from opentelemetry.instrumentation.mcp_audit import Sink as PublicSink
from opentelemetry.instrumentation.mcp_audit.sinks.protocol import Entry, Sink


class _Users:
    def write(self, entry: Entry) -> None:
        return None

    def close(self) -> None:
        return None


def test_a_sink_needs_write_and_close_and_no_base_class() -> None:
    assert isinstance(_Users(), Sink)
    assert not isinstance(print, Sink)


def test_the_fields_of_an_entry() -> None:
    assert Entry._fields == ("record", "stream_id", "number", "previous_hash", "hash", "line")


def test_users_import_both_from_the_package() -> None:
    assert PublicEntry is Entry
    assert PublicSink is Sink
