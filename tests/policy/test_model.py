# SPDX-License-Identifier: Apache-2.0
"""First match wins; the built-in policy; the hash that says which rules were in force."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentelemetry.instrumentation.mcp_audit.policy.model import Policy, Rule, builtin
from opentelemetry.instrumentation.mcp_audit.record.attributes import METHODS, Level


def test_first_match_wins() -> None:
    policy = Policy(
        (Rule("one", "digest", methods=("a",)), Rule("two", "metadata", methods=("a", "b")), Rule("rest", "none"))
    )
    assert [policy.decide(method).name for method in ("a", "b", "c", "")] == ["one", "two", "rest", "rest"]


def test_a_policy_that_does_not_end_with_everything_is_an_error_not_a_silence() -> None:
    with pytest.raises(ValueError, match="must end with a rule that matches everything"):
        Policy((Rule("one", "request", methods=("a",)),)).decide("b")


@pytest.mark.parametrize("level", ["metadata", "digest", "request", "request_response"])
def test_the_built_in_policy(level: Level) -> None:
    policy = builtin(level)
    for method, row in METHODS.items():
        rule = policy.decide(method)
        assert (rule.name, rule.level) == {
            "none": ("chatter", "none"),
            "request": ("calls", level),
            "metadata": ("other", "metadata"),
        }[row.level]
        assert rule.mode == "journaled"
    assert (policy.decide("nobody/knows").name, policy.decide("nobody/knows").level) == ("other", "metadata")


def test_level_none_records_nothing() -> None:
    policy = builtin("none")
    assert {policy.decide(method).level for method in [*METHODS, "nobody/knows"]} == {"none"}


def test_the_default_level_is_request() -> None:
    assert builtin() == builtin("request")
    assert builtin().decide("tools/call") == Rule(
        "calls", "request", methods=("tools/call", "resources/read", "prompts/get")
    )


@given(st.text())
def test_every_method_has_a_rule(method: str) -> None:
    assert isinstance(builtin().decide(method), Rule)


def test_the_hash_follows_the_rules_and_nothing_else() -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", builtin().hash)
    assert builtin().hash == builtin().hash
    rule = Rule("a", "request")
    others = [
        dataclasses.replace(rule, name="b"),
        dataclasses.replace(rule, level="digest"),
        dataclasses.replace(rule, mode="strict"),
        dataclasses.replace(rule, methods=("a",)),
    ]
    assert len({Policy((one,)).hash for one in [rule, *others]}) == 5
    assert Policy((rule, others[0])).hash != Policy((others[0], rule)).hash, "their order decides"
