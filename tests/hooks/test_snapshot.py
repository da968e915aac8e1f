# SPDX-License-Identifier: Apache-2.0
"""What was asked stays what was asked, whatever the tool does to its arguments."""

from __future__ import annotations

import copy
import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from opentelemetry.instrumentation.mcp_audit.hooks.snapshot import snapshot

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def spoil(value: Any) -> None:
    """Change every container in place."""
    if isinstance(value, dict):
        for item in value.values():
            spoil(item)
        value.clear()
        value["spoiled"] = True
    elif isinstance(value, list):
        for item in value:
            spoil(item)
        value.append("spoiled")


@given(JSON)
def test_a_copy_that_nothing_reaches(value: Any) -> None:
    before = copy.deepcopy(value)
    kept = snapshot(value)
    assert kept == before
    spoil(value)
    assert kept == before


def test_other_objects_are_kept_as_they_are() -> None:
    thing, name = object(), "text"
    assert snapshot(thing) is thing
    assert snapshot(name) is name
    assert snapshot([thing])[0] is thing


def test_depth_size_and_cycles_are_bounded() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    cycle: dict[str, Any] = {}
    cycle["self"] = cycle
    wide = {str(number): [number] for number in range(1_000_000)}
    started = time.thread_time()
    snapshot(deep)
    snapshot(cycle)
    assert snapshot(wide) is wide
    snapshot([[number] for number in range(19_000)])
    assert time.thread_time() - started < 1
    while deep:  # taken apart by hand: freeing it at once would nest as deep as it is
        deep = deep.pop()
