# SPDX-License-Identifier: Apache-2.0
"""The table is complete, frozen and the only place that spells an attribute."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

from opentelemetry.instrumentation.mcp_audit.record import attributes as a

SOURCE = Path(a.__file__).parents[1]

# What 1.0 was released with: attributes may be added in 1.x, none is renamed, retyped or no longer written.
FROZEN_1_0 = {
    "audit.record.id": ("string", "always"),
    "audit.action": ("string", "always"),
    "audit.outcome": ("string", "always"),
    "audit.actor.id": ("string", "always"),
    "audit.actor.type": ("string", "always"),
    "audit.target.id": ("string", "may"),
    "audit.target.type": ("string", "may"),
    "audit.source.id": ("string", "may"),
    "audit.source.type": ("string", "may"),
    "audit.schema.version": ("string", "always"),
    "audit.sequence.number": ("int", "always"),
    "audit.sequence.stream_id": ("string", "always"),
    "audit.sequence.previous_hash": ("string", "may"),
    "audit.sequence.end": ("bool", "may"),
    "audit.integrity.canonicalization": ("string", "always"),
    "mcp.method.name": ("string", "outcomes"),
    "mcp.resource.uri": ("string", "may"),
    "mcp.session.id": ("string", "may"),
    "mcp.protocol.version": ("string", "may"),
    "gen_ai.tool.name": ("string", "may"),
    "gen_ai.operation.name": ("string", "may"),
    "gen_ai.prompt.name": ("string", "may"),
    "gen_ai.agent.id": ("string", "may"),
    "gen_ai.agent.name": ("string", "may"),
    "jsonrpc.request.id": ("string", "may"),
    "user.id": ("string", "may"),
    "user.email": ("string", "may"),
    "user.roles": ("strings", "may"),
    "client.address": ("string", "may"),
    "client.port": ("int", "may"),
    "network.transport": ("string", "may"),
    "user_agent.original": ("string", "may"),
    "error.type": ("string", "may"),
    "rpc.response.status_code": ("string", "may"),
    "mcp_audit.outcome.detail": ("string", "outcomes"),
    "mcp_audit.decision": ("string", "may"),
    "mcp_audit.decision.by": ("string", "may"),
    "mcp_audit.decision.reason": ("string", "may"),
    "mcp_audit.duration_us": ("int", "outcomes"),
    "mcp_audit.request.bytes": ("int", "may"),
    "mcp_audit.response.bytes": ("int", "may"),
    "mcp_audit.result.count": ("int", "may"),
    "mcp_audit.request.digest": ("string", "may"),
    "mcp_audit.actor.provenance": ("string", "outcomes"),
    "mcp_audit.actor.issuer": ("string", "may"),
    "mcp_audit.actor.client_id": ("string", "may"),
    "mcp_audit.actor.scopes": ("strings", "may"),
    "mcp_audit.actor.token.id": ("string", "may"),
    "mcp_audit.actor.chain": ("strings", "may"),
    "mcp_audit.tenant.id": ("string", "may"),
    "mcp_audit.client.name": ("string", "may"),
    "mcp_audit.client.version": ("string", "may"),
    "mcp_audit.call.id": ("string", "outcomes"),
    "mcp_audit.request.id": ("string", "outcomes"),
    "mcp_audit.purpose": ("string", "may"),
    "mcp_audit.purpose.source": ("string", "may"),
    "mcp_audit.data.classes": ("strings", "may"),
    "mcp_audit.data.sensitivity": ("string", "may"),
    "mcp_audit.data.subject": ("string", "may"),
    "mcp_audit.resources": ("strings", "may"),
    "mcp_audit.retention.class": ("string", "may"),
    "mcp_audit.policy.rule": ("string", "may"),
    "mcp_audit.policy.hash": ("string", "may"),
    "mcp_audit.level": ("string", "outcomes"),
    "mcp_audit.redactions": ("strings", "may"),
    "mcp_audit.truncated": ("strings", "may"),
    "mcp_audit.content.digest": ("string", "may"),
    "mcp_audit.record.hash": ("string", "always"),
    "mcp_audit.lifecycle.kind": ("string", "may"),
    "mcp_audit.resource.hash": ("string", "may"),
    "mcp_audit.settings.hash": ("string", "may"),
    "mcp_audit.boot.id": ("string", "may"),
    "mcp_audit.stream.id": ("string", "may"),
    "mcp_audit.stream.file": ("string", "may"),
    "mcp_audit.stream.previous_id": ("string", "may"),
    "mcp_audit.stream.previous_hash": ("string", "may"),
    "mcp_audit.process.pid": ("int", "may"),
    "mcp_audit.process.start_time": ("string", "may"),
    "mcp_audit.versions": ("strings", "may"),
    "mcp_audit.gap.count": ("int", "may"),
    "mcp_audit.gap.reason": ("string", "may"),
    "mcp_audit.gap.mode": ("string", "may"),
    "mcp_audit.gap.from": ("string", "may"),
    "mcp_audit.gap.to": ("string", "may"),
}


def test_what_was_released_stays() -> None:
    found = {name: (row.type, row.need) for name, row in a.TABLE.items()}
    assert {name: found.get(name) for name in FROZEN_1_0} == FROZEN_1_0
    assert a.SCHEMA_VERSION == "1.0"
    assert a.CANONICALIZATION == "otlp-json-jcs"


def test_names_are_ascii_lowercase_and_stand_under_their_own_key() -> None:
    for name, row in a.TABLE.items():
        assert row.name == name
        assert re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", name)


def test_carrier_keys_are_the_formats_closed_list_and_no_attributes_of_ours() -> None:
    assert a.CARRIER_KEYS == {
        "mcp_audit.collector.peer",
        "mcp_audit.collector.subject",
        "log.file.name",
        "log.file.path",
        "log.file.name_resolved",
        "log.file.path_resolved",
    }
    assert not a.CARRIER_KEYS & set(a.TABLE)


@pytest.mark.parametrize(
    ("method", "event", "action", "target", "level"),
    [
        ("tools/call", "mcp_audit.tool_call", "EXECUTE", "tool", "request"),
        ("resources/read", "mcp_audit.resource_read", "READ", "resource", "request"),
        ("prompts/get", "mcp_audit.prompt_get", "READ", "prompt", "request"),
        ("tools/list", "mcp_audit.request", "READ", "method", "none"),
        ("initialize", "mcp_audit.request", "READ", "method", "none"),
        ("logging/setLevel", "mcp_audit.request", "UPDATE", "method", "none"),
        ("nobody/knows", "mcp_audit.request", "EXECUTE", "method", "metadata"),
    ],
)
def test_methods(method: str, event: str, action: str, target: str, level: str) -> None:
    row = a.METHODS.get(method, a.OTHER_METHOD)
    assert (row.event, row.action, row.target_type, row.level) == (event, action, target, level)
    assert row.event in a.OUTCOME_EVENTS


def test_the_caller_s_view_has_events_of_its_own() -> None:
    assert a.event_of("tools/call", "server") == "mcp_audit.tool_call"
    assert [a.event_of(method, "client") for method in ("tools/call", "resources/read", "prompts/get", "ping")] == [
        "mcp_audit.client_tool_call",
        "mcp_audit.client_resource_read",
        "mcp_audit.client_prompt_get",
        "mcp_audit.client_request",
    ]
    assert set(a.CLIENT_EVENTS.values()) < a.OUTCOME_EVENTS
    assert not set(a.CLIENT_EVENTS.values()) & {row.event for row in (*a.METHODS.values(), a.OTHER_METHOD)}


@pytest.mark.parametrize(
    ("outcome", "details"),
    [
        ("success", ["ok"]),
        (
            "failure",
            "tool_error invalid_arguments invalid_output unknown_tool unknown_method invalid_params protocol_error "
            "timeout denied".split(),
        ),
        ("unknown", ["cancelled", "client_gone", "input_required", "task_created", "abandoned"]),
    ],
)
def test_details(outcome: str, details: list[str]) -> None:
    assert [detail for detail, verdict in a.DETAILS.items() if verdict.outcome == outcome] == details
    for detail in details:
        verdict = a.DETAILS[detail]  # type: ignore[index]
        assert verdict.decision == ("denied" if detail == "denied" else "allowed")
        assert (verdict.error_type is not None) == (outcome == "failure")
    assert set(a.DETAILS) == set(get_args(a.Detail))


def test_nothing_else_in_the_package_spells_an_attribute() -> None:
    """DESIGN section 2: names come from the table, so that a rename cannot be half done."""
    known = set(a.TABLE) | set(a.CARRIER_KEYS)
    spelled = []
    for path in sorted(SOURCE.rglob("*.py")):
        if path == Path(a.__file__):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and node.value in known:
                spelled.append(f"{path.relative_to(SOURCE)}:{node.lineno}: {node.value}")
    assert spelled == []
