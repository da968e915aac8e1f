# SPDX-License-Identifier: Apache-2.0
"""A record made from what recurs is the same record, and the same bytes, as one made anew."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from opentelemetry.instrumentation.mcp_audit.record.assemble import Facts, assemble
from opentelemetry.instrumentation.mcp_audit.record.content import DEFAULT_RULES, Content, Limits
from opentelemetry.instrumentation.mcp_audit.record.encode import encode
from opentelemetry.instrumentation.mcp_audit.record.record import Actor, AuditRecord, Invocation, Outcome
from opentelemetry.instrumentation.mcp_audit.record.recurring import OWN, Recurrences, actor_key

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJlLW9mLWl0"
SECRET = "correct-horse-battery"
LIMITS = Limits(body_bytes=256, attribute_chars=64)

WORD = st.sampled_from(
    ["", "add", "x://y", "ada", JWT, SECRET, "pin=1", "n" * 65, "n" * 300, "a%sb%%", '"\\', "\ud800", "é"]
)
MAYBE = st.one_of(st.none(), WORD)
ODD = st.one_of(WORD, st.just(1), st.just(True), st.just(1.0), st.just([1]), st.none())
WORDS = st.one_of(st.just(()), st.lists(WORD, max_size=3), st.lists(WORD, max_size=3).map(tuple))
VALUE = st.one_of(WORD, st.integers(), st.lists(WORD, max_size=2), st.just("v" * 200))
PARAMS = st.fixed_dictionaries(
    {},
    optional={
        "name": ODD,
        "uri": ODD,
        "arguments": st.dictionaries(st.sampled_from(["a", "b", "password"]), VALUE, max_size=2),
    },
)
CALL = st.builds(
    Invocation,
    method=st.sampled_from(["tools/call", "resources/read", "prompts/get", "tools/list", "odd/one", JWT]),
    params=PARAMS,
    request_id=st.one_of(st.none(), st.integers(), WORD),
    received=st.just(5),
    transport=st.sampled_from([None, "pipe", "tcp"]),
    session_id=MAYBE,
    protocol_version=MAYBE,
    client_name=MAYBE,
    client_version=MAYBE,
)
ACTOR = st.builds(
    Actor,
    id=ODD,
    type=st.sampled_from(["user", "service"]),
    provenance=st.sampled_from(["verified", "none"]),
    email=MAYBE,
    roles=WORDS,
    tenant_id=ODD,
    client_id=MAYBE,
    chain=WORDS,
)
OUTCOME = st.builds(
    Outcome,
    detail=st.sampled_from(["ok", "tool_error", "denied", "cancelled"]),
    error_type=MAYBE,
    status_code=MAYBE,
    result=st.one_of(st.none(), st.dictionaries(WORD, VALUE, max_size=2)),
    result_count=st.one_of(st.none(), st.integers(0, 3)),
    decided_by=MAYBE,
    reason=MAYBE,
)
FACTS = st.builds(
    Facts,
    record_id=st.just("id"),
    request_id=st.one_of(st.just("id"), WORD),
    actor=ACTOR,
    level=st.sampled_from(["metadata", "digest", "request", "request_response"]),
    rule=st.just("calls"),
    policy_hash=st.sampled_from(["0" * 64, "1" * 64]),
    ended=st.just(9),
    duration_ns=st.integers(0, 10**12),
    salt=st.just("00" * 16),
    user_agent=MAYBE,
    client_address=MAYBE,
    client_port=st.one_of(st.none(), st.integers(1, 9)),
    source_type=MAYBE,
    bound=st.one_of(st.none(), st.fixed_dictionaries({}, optional={"purpose": ODD})),
    annotations=st.one_of(st.none(), st.fixed_dictionaries({}, optional={"purpose": WORD, "resources": WORDS})),
)
GIVEN = st.tuples(CALL, OUTCOME, FACTS)


def made(given: tuple[Invocation, Outcome, Facts], recurrences: Recurrences | None = None) -> AuditRecord | None:
    """The record; None where an odd value of an ``identify`` breaks it, as the Auditor expects."""
    call, outcome, facts = given
    try:
        return assemble(
            call, outcome, facts, Content(DEFAULT_RULES, LIMITS), lambda text: f"keyed({len(text)})", recurrences
        )
    except TypeError:
        return None


@given(calls=st.lists(GIVEN, min_size=1, max_size=4))
def test_kept_or_made_anew_it_is_the_same(calls: list[Any]) -> None:
    recurrences = Recurrences()
    for one in [*calls, *calls, *calls]:
        again, anew = made(one, recurrences), made(one)
        assert again == anew
        if again is not None and anew is not None:
            types = {name: type(value) for name, value in anew.attributes.items()}
            assert {name: type(value) for name, value in again.attributes.items()} == types
            assert anew.recurring is None
            assert encode(again) == encode(anew)


def plain(**changes: Any) -> tuple[Invocation, Outcome, Facts]:
    facts = Facts("id", "id", Actor("ada"), "request", "calls", "0" * 64, 9, 1_000, "00" * 16, **changes)
    return Invocation("tools/call", {"name": "100%s", "arguments": {"a": 1}}, request_id=3), Outcome("ok"), facts


def test_a_clean_call_recurs() -> None:
    recurrences = Recurrences()
    first, second = made(plain(), recurrences), made(plain(), recurrences)
    assert first is not None and second is not None
    assert first.recurring is None
    assert second.recurring is not None
    assert set(second.recurring.values).isdisjoint(OWN)
    # In the order of the wire, so that the place of each in the text is known.
    assert second.own is not None
    assert list(second.own) == sorted(second.own)
    assert second.attributes == {**second.recurring.values, **second.own}
    assert encode(second) == encode(first)
    assert len(second.recurring.texts) == 1
    third = made(plain(client_port=80), recurrences)
    assert third is not None and third.recurring is second.recurring
    assert third.attributes == {**second.attributes, "client.port": 80}


def test_what_was_redacted_or_cut_never_recurs() -> None:
    recurrences = Recurrences()
    for changes in ({"user_agent": JWT}, {"user_agent": "n" * 65}, {"annotations": {"purpose": "x"}}):
        for _ in range(2):
            record = made(plain(**changes), recurrences)
            assert record is not None and record.recurring is None
    call, outcome, facts = plain()
    clean = made((call, outcome, facts), recurrences)
    # The tool's name is known by now: with a secret in the arguments it is made anew all the same.
    call.params = {"name": "100%s", "client_name": SECRET, "arguments": {"password": SECRET}}
    call.client_name = SECRET
    record = made((call, outcome, facts), recurrences)
    assert clean is not None and record is not None and record.recurring is None
    assert record.attributes["mcp_audit.client.name"] == "[REDACTED:echo]"


def test_memory_is_bounded() -> None:
    recurrences = Recurrences()
    recurrences.keep(("n" * 257,), {"a": "b"})
    assert recurrences.get(("n" * 257,)) is None
    recurrences.keep((1,), {"a": "b"})
    assert recurrences.get((True,)) is None
    for number in range(300):
        recurrences.keep((str(number),), {"a": "b"})
    assert recurrences.get(("255",)) is None
    assert recurrences.get(("299",)) is not None
    assert recurrences.get(([],)) is None
    assert recurrences.get(None) is None


def test_an_actor_of_many_or_odd_lists_has_no_key() -> None:
    assert actor_key(Actor("ada", roles=["r"] * 17)) is None
    assert actor_key(Actor("ada", roles="abc")) is None
    assert actor_key(Actor("ada", roles=["r"])) == actor_key(Actor("ada", roles=("r",)))
    assert actor_key(Actor("ada")) != actor_key(Actor("eve"))
