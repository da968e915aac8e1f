# SPDX-License-Identifier: Apache-2.0
"""The seed's form, key by key: a golden file holds it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from trail_oracle import Trail

from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord, parse_line
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord
from opentelemetry.instrumentation.mcp_audit.render.seed import seed_line, to_seed


def stored(trail: Trail, index: int = -1) -> StoredRecord:
    return parse_line(trail.lines()[index].rstrip(b"\n"))[0]


def example() -> Trail:
    trail = Trail(start=1_705_314_598_000_000_000)
    trail.call(
        "datahub_search",
        {"query": "customers", "entity_type": "DATASET", "limit": 10},
        user="user123",
        duration_us=150_499,
        **{
            "user.email": "user@example.com",
            "mcp_audit.tenant.id": "acme-corp",
            "mcp_audit.request.id": "req-abc123",
            "client.address": "192.168.1.1",
            "mcp_audit.result.count": 5,
        },
    )
    return trail


def test_the_seed_s_own_example_comes_out_key_by_key() -> None:
    made = to_seed(stored(example(), 1))
    assert json.dumps(made) == json.dumps(
        {
            "timestamp": "2024-01-15T10:30:00.000Z",
            "event_type": "tool_call",
            "tool": "datahub_search",
            "user": {"id": "user123", "email": "user@example.com", "tenant_id": "acme-corp"},
            "request": {"id": "req-abc123", "client_ip": "192.168.1.1"},
            "params": {"entity_type": "DATASET", "limit": 10, "query": "customers"},
            "response": {"result_count": 5, "duration_ms": 150},
            "outcome": "success",
        }
    )


def test_a_record_that_was_just_made_renders_as_well() -> None:
    record = AuditRecord("mcp_audit.tool_call", 0, 0, {"gen_ai.tool.name": "t", "mcp_audit.duration_us": 1500})
    assert to_seed(record) == {
        "timestamp": "1970-01-01T00:00:00.000Z",
        "event_type": "tool_call",
        "tool": "t",
        "user": {"id": None, "email": None, "tenant_id": None},
        "request": {"id": None, "client_ip": None},
        "params": None,
        "response": {"result_count": None, "duration_ms": 2},
        "outcome": None,
    }


def test_a_body_that_is_no_json_is_no_params() -> None:
    for body in ("{", "[1]", "1", "[" * 100_000, '{"arguments":NaN}'):
        assert to_seed(AuditRecord("mcp_audit.tool_call", 0, 0, {}, body))["params"] is None


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=10), values, max_size=4))
@settings(max_examples=100, deadline=None)
def test_any_arguments_come_back_from_one_printable_line(arguments: dict[str, Any]) -> None:
    trail = Trail()
    trail.call(arguments=arguments)
    line = seed_line(stored(trail))
    assert json.loads(line)["params"] == arguments
    assert not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in line)
