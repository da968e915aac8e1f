# SPDX-License-Identifier: Apache-2.0
"""``bind`` for what follows in this context, ``annotate`` for the running call; both harmless everywhere else."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Mapping
from typing import Any, cast

import pytest

from opentelemetry.instrumentation import mcp_audit
from opentelemetry.instrumentation.mcp_audit.call import Call
from opentelemetry.instrumentation.mcp_audit.context import bound_here, enter_call, leave_call, running_call


class _Call:
    """As much of a call as the context knows."""

    def __init__(self, bound: Mapping[str, Any] | None = None, request_id: str = "r-1") -> None:
        self.bound: Mapping[str, Any] = bound or {}
        self.request_id = request_id
        self.annotated: list[dict[str, Any]] = []

    def annotate(self, **values: Any) -> None:
        self.annotated.append({name: value for name, value in values.items() if value is not None})


def _call(**options: Any) -> tuple[_Call, Call]:
    made = _Call(**options)
    return made, cast(Call, made)


@pytest.fixture(autouse=True)
def own_context() -> Any:
    """What a test binds stays in the test: pytest runs all of them in one context."""
    before = bound_here()
    yield
    from opentelemetry.instrumentation.mcp_audit import context

    context._bound.set(before)
    context._call.set(None)


def test_outside_a_call_nothing_happens() -> None:
    mcp_audit.annotate(resources=["a"], data_subject="b", data_classes=["phi"], data_sensitivity="high", purpose="p")
    assert mcp_audit.current_request_id() is None
    assert running_call() is None
    assert bound_here() == {}


def test_bind_adds_to_what_was_bound_before() -> None:
    mcp_audit.bind(user_id="ada", user_roles=["a", "b"], tenant_id="t1")
    mcp_audit.bind(tenant_id="t2", purpose="treatment")
    assert bound_here() == {"user_id": "ada", "user_roles": ("a", "b"), "tenant_id": "t2", "purpose": "treatment"}
    mcp_audit.bind()
    assert bound_here()["user_id"] == "ada"
    mcp_audit.bind(user_email="", request_id="")
    assert bound_here()["user_email"] == "", "an empty value is a value"


def test_what_is_bound_cannot_be_changed_from_outside() -> None:
    roles = ["a"]
    mcp_audit.bind(user_roles=roles)
    roles.append("root")
    assert bound_here()["user_roles"] == ("a",)
    with pytest.raises(TypeError):
        bound_here()["user_roles"] = ("root",)  # type: ignore[index]


def test_a_copied_context_does_not_change_its_parent() -> None:
    mcp_audit.bind(user_id="ada")
    contextvars.copy_context().run(mcp_audit.bind, user_id="eve", tenant_id="t")
    assert bound_here() == {"user_id": "ada"}


async def test_tasks_keep_their_users_apart() -> None:
    async def serve(user: str) -> str:
        mcp_audit.bind(user_id=user)
        await asyncio.sleep(0)
        return cast(str, bound_here()["user_id"])

    assert await asyncio.gather(*(serve(f"u{n}") for n in range(20))) == [f"u{n}" for n in range(20)]
    assert bound_here() == {}


def test_inside_a_call_bind_holds_for_the_call_too() -> None:
    seen, call = _call(bound={"user_id": "ada", "tenant_id": "t1"})
    tokens = enter_call(call)
    assert bound_here() == {"user_id": "ada", "tenant_id": "t1"}
    mcp_audit.bind(tenant_id="t2")
    leave_call(tokens)
    assert seen.bound == {"user_id": "ada", "tenant_id": "t2"}
    assert bound_here() == {}, "and ends with it"


def test_a_call_hides_what_its_session_bound() -> None:
    """On mcp 1.x a handler inherits the context of the request that made the session: perhaps another user's."""
    mcp_audit.bind(user_id="creator", purpose="theirs")
    _, call = _call(bound={"user_id": "caller"})
    tokens = enter_call(call)
    assert bound_here() == {"user_id": "caller"}
    leave_call(tokens)
    assert bound_here() == {"user_id": "creator", "purpose": "theirs"}


def test_calls_inside_calls() -> None:
    _, outer = _call(request_id="outer")
    _, inner = _call(request_id="inner")
    outer_tokens = enter_call(outer)
    inner_tokens = enter_call(inner)
    assert (mcp_audit.current_request_id(), running_call()) == ("inner", inner)
    leave_call(inner_tokens)
    assert (mcp_audit.current_request_id(), running_call()) == ("outer", outer)
    leave_call(outer_tokens)
    assert mcp_audit.current_request_id() is None


def test_annotate_reaches_the_running_call_from_its_worker_threads() -> None:
    seen, call = _call()
    tokens = enter_call(call)
    mcp_audit.annotate(resources=["a"])
    context = contextvars.copy_context()
    thread = threading.Thread(target=lambda: context.run(mcp_audit.annotate, data_classes=["phi"], data_subject="s"))
    thread.start()
    thread.join()
    leave_call(tokens)
    mcp_audit.annotate(purpose="late")
    assert seen.annotated == [{"resources": ("a",)}, {"data_classes": ("phi",), "data_subject": "s"}]


@pytest.mark.parametrize(
    ("given", "kept"), [("one", ("one",)), (["a", 2], ("a", "2")), (5, ("5",)), (range(2_000), 1_000)]
)
def test_a_mistake_in_a_list_does_not_hurt_the_tool(given: object, kept: object) -> None:
    seen, call = _call()
    tokens = enter_call(call)
    mcp_audit.annotate(resources=given)  # type: ignore[arg-type]
    leave_call(tokens)
    ((_, resources),) = seen.annotated[0].items()
    assert (len(resources) if isinstance(kept, int) else resources) == kept


def test_only_keywords() -> None:
    for function in (mcp_audit.bind, mcp_audit.annotate):
        with pytest.raises(TypeError):
            function("ada")  # type: ignore[arg-type, call-arg, misc]
