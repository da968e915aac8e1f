# SPDX-License-Identifier: Apache-2.0
"""Which requests share a call id: rounds and tasks of the same caller, and nobody else's."""

from __future__ import annotations

from typing import Any

from opentelemetry.instrumentation.mcp_audit.record.record import Actor, Invocation, Outcome
from opentelemetry.instrumentation.mcp_audit.relations import Relations

ALICE, BOB = Actor(id="alice"), Actor(id="bob")


def keyed(text: str) -> str:
    return f"hmac:{hash(text)}"


def ask(name: str = "book", arguments: Any = None, **params: Any) -> Invocation:
    return Invocation("tools/call", {"name": name, "arguments": arguments, **params})


def waits(state: Any) -> Outcome:
    return Outcome("input_required", result={"resultType": "input_required", "requestState": state})


def test_the_next_round_has_the_call_id_of_the_first() -> None:
    relations = Relations(keyed)
    assert relations.given(ask(), lambda: ALICE) == (None, None)
    assert relations.issued(ask(), waits("s1"), "call-1", lambda: ALICE) == {"mcp_audit.state.issued": keyed("s1")}
    found = relations.given(ask(requestState="s1"), lambda: ALICE)
    assert found == ("call-1", {"mcp_audit.state.given": keyed("s1")})
    # A client that sends a round twice is still in the same call.
    assert relations.given(ask(requestState="s1"), lambda: ALICE) == found


def test_a_state_of_another_caller_tool_or_arguments_joins_nothing() -> None:
    relations = Relations(keyed)
    relations.issued(ask(arguments={"a": 1}), waits("s1"), "call-1", lambda: ALICE)
    told = {"mcp_audit.state.given": keyed("s1")}
    assert relations.given(ask(arguments={"a": 1}, requestState="s1"), lambda: BOB) == (None, told)
    assert relations.given(ask("other", arguments={"a": 1}, requestState="s1"), lambda: ALICE) == (None, told)
    assert relations.given(ask(arguments={"a": 2}, requestState="s1"), lambda: ALICE) == (None, told)
    assert relations.given(ask(arguments={"a": 1}, requestState="forged"), lambda: ALICE)[0] is None


def test_a_restarted_process_tells_the_state_and_joins_nothing() -> None:
    first, second = Relations(keyed), Relations(keyed)
    issued = first.issued(ask(), waits("s1"), "call-1", lambda: ALICE)
    call_id, related = second.given(ask(requestState="s1"), lambda: ALICE)
    assert call_id is None
    assert issued is not None and related is not None
    assert issued["mcp_audit.state.issued"] == related["mcp_audit.state.given"]


def test_a_task_is_joined_by_its_id() -> None:
    relations = Relations(keyed)
    created = Outcome("task_created", result={"task": {"taskId": "t1", "status": "working"}})
    assert relations.issued(ask(), created, "call-1", lambda: ALICE) == {"mcp_audit.task.id": keyed("t1")}
    result = Invocation("tasks/result", {"taskId": "t1"})
    assert relations.given(result, lambda: ALICE) == ("call-1", {"mcp_audit.task.id": keyed("t1")})
    assert relations.given(result, lambda: BOB)[0] is None


def test_the_memory_is_bounded_and_forgets_the_oldest() -> None:
    relations = Relations(keyed, kept_max=3)
    for number in range(5):
        relations.issued(ask(), waits(f"s{number}"), f"call-{number}", lambda: ALICE)
    found = [relations.given(ask(requestState=f"s{number}"), lambda: ALICE)[0] for number in range(5)]
    assert found == [None, None, "call-2", "call-3", "call-4"]


def test_odd_values_are_nothing() -> None:
    relations = Relations(keyed)
    for odd in (None, 1, ["s"], {"a": 1}, "s" * 70_000):
        assert relations.issued(ask(), waits(odd), "call-1", lambda: ALICE) is None
        assert relations.given(ask(requestState=odd), lambda: ALICE) == (None, None)
