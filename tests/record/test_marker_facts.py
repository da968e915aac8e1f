# SPDX-License-Identifier: Apache-2.0
"""What stands of an open call in its start marker: who, on what, by which rule; never content, never a secret."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentelemetry.instrumentation.mcp_audit.record.attributes import METHODS, TABLE, AttributeValue
from opentelemetry.instrumentation.mcp_audit.record.content import DEFAULT_RULES, Content, Limits
from opentelemetry.instrumentation.mcp_audit.record.marker_facts import OpenFacts, open_call_attributes
from opentelemetry.instrumentation.mcp_audit.record.record import Actor, Invocation
from opentelemetry.instrumentation.mcp_audit.record.recurring import Recurrences

ID = "019ab6b0-5c00-7000-8000-000000000001"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJlLW9mLWl0"
# Added by the journal when the record is written, or known only then.
LATER = {
    "audit.sequence.number",
    "audit.sequence.stream_id",
    "audit.integrity.canonicalization",
    "mcp_audit.record.hash",
}


def facts(actor: Actor | None = None, record_id: str = ID, request_id: str | None = None) -> OpenFacts:
    return OpenFacts(record_id, request_id or record_id, actor or Actor(), "request", "calls", "0" * 64)


def opened(
    call: Invocation, known: OpenFacts | None = None, recurrences: Recurrences | None = None
) -> dict[str, AttributeValue]:
    return open_call_attributes(
        call, known or facts(), lambda: Content(DEFAULT_RULES, Limits()), lambda text: f"keyed({text})", recurrences
    )


def test_a_tool_call() -> None:
    call = Invocation("tools/call", {"name": "add", "arguments": {"a": 1}}, request_id=7, session_id="s")
    actor = Actor("ada", "user", "verified", email="ada@corp.example", tenant_id="clinic-9", client_id="app")
    assert opened(call, facts(actor)) == {
        "audit.record.id": ID,
        "audit.action": "EXECUTE",
        "audit.outcome": "unknown",
        "audit.schema.version": "1.0",
        "audit.actor.id": "ada",
        "audit.actor.type": "user",
        "audit.target.id": "add",
        "audit.target.type": "tool",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "add",
        "mcp.method.name": "tools/call",
        "mcp.session.id": "keyed(s)",
        "mcp_audit.actor.provenance": "verified",
        "mcp_audit.call.id": ID,
        "mcp_audit.duration_us": 0,
        "mcp_audit.level": "request",
        "mcp_audit.outcome.detail": "abandoned",
        "mcp_audit.policy.hash": "0" * 64,
        "mcp_audit.policy.rule": "calls",
        "mcp_audit.request.id": ID,
        "mcp_audit.tenant.id": "clinic-9",
    }


@pytest.mark.parametrize("method", [*METHODS, "tools/steal"])
def test_it_has_all_that_every_outcome_record_must_have(method: str) -> None:
    found = opened(Invocation(method, {"name": "n", "uri": "x://y"}))
    assert {row.name for row in TABLE.values() if row.need in ("always", "outcomes")} - LATER <= set(found)


def test_resources_and_prompts_by_name() -> None:
    assert opened(Invocation("resources/read", {"uri": "x://y"}))["mcp.resource.uri"] == "x://y"
    assert opened(Invocation("prompts/get", {"name": "hi"}))["gen_ai.prompt.name"] == "hi"


def test_names_are_redacted_and_cut() -> None:
    found = opened(Invocation("tools/call", {"name": f"run {JWT}"}))
    assert found["gen_ai.tool.name"] == found["audit.target.id"] == "run [REDACTED:jwt]"
    assert opened(Invocation("tools/call", {"name": "n" * 2_000}))["gen_ai.tool.name"] == "n" * 1_024
    assert opened(Invocation("tools/call", {"name": 5}))["gen_ai.tool.name"] == "5"


def test_what_the_arguments_give_away_is_masked() -> None:
    secret = "correct-horse-battery"
    call = Invocation("resources/read", {"uri": f"x://{secret}", "arguments": {"password": secret}})
    assert opened(call)["mcp.resource.uri"] == "x://[REDACTED:echo]"
    call = Invocation("tools/call", {"name": "add", "arguments": {"password": secret}})
    assert opened(call, facts(request_id=secret))["mcp_audit.request.id"] == "[REDACTED:echo]"


def test_the_second_marker_is_like_the_first_but_for_its_ids() -> None:
    recurrences = Recurrences()
    call = Invocation("tools/call", {"name": "add"})
    first = opened(call, facts(), recurrences)
    second = opened(call, facts(record_id="other"), recurrences)
    ids = ("audit.record.id", "mcp_audit.call.id", "mcp_audit.request.id")
    assert second == {**first, **dict.fromkeys(ids, "other")}
    told = opened(call, facts(record_id="other", request_id="asked"), recurrences)
    assert told == {**second, "mcp_audit.request.id": "asked"}
    assert opened(call, facts(), recurrences) == first


WORD = st.sampled_from(["", "add", "x://y", "ada", JWT, "password=hunter2-secret", "n" * 2_000, "a%sb%", "\ud800", "é"])
WORDS = st.one_of(st.just(()), st.lists(WORD, max_size=3), st.tuples(WORD))
CALL = st.builds(
    lambda method, params, session: Invocation(method, params, session_id=session),
    st.sampled_from(["tools/call", "resources/read", "prompts/get", "tools/list", "odd/one", JWT]),
    st.fixed_dictionaries(
        {},
        optional={
            "name": st.one_of(WORD, st.just(1), st.just(True), st.just(1.0), st.just([1])),
            "uri": WORD,
            "arguments": st.dictionaries(st.sampled_from(["a", "password"]), WORD, max_size=2),
        },
    ),
    st.one_of(st.none(), WORD),
)
ACTOR = st.builds(Actor, id=WORD, provenance=st.sampled_from(["verified", "none"]), tenant_id=WORD, roles=WORDS)


@given(rounds=st.lists(st.tuples(CALL, ACTOR, st.one_of(st.none(), WORD)), min_size=1, max_size=6))
def test_kept_or_made_anew_it_is_the_same(rounds: list[tuple[Any, Any, str | None]]) -> None:
    recurrences = Recurrences()
    for number, (call, actor, request_id) in enumerate([*rounds, *rounds]):
        known = facts(actor, f"id-{number}", request_id)
        assert opened(call, known, recurrences) == opened(call, known)
