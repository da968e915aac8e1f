# SPDX-License-Identifier: Apache-2.0
"""The first so many of a source and window, exact counts of the rest, and no more memory than for so many sources."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentelemetry.instrumentation.mcp_audit.record.record import Actor
from opentelemetry.instrumentation.mcp_audit.record.refusal import Kind, Source, Summary
from opentelemetry.instrumentation.mcp_audit.refusals.budget import Budget, source_of

KIND = Kind(401, "auth", "missing_token")
OTHER_KIND = Kind(404, "session", "unknown_session")
ONE, TWO, THREE = (Source(f"10.0.0.{number}", "ipv4") for number in (1, 2, 3))


def test_the_first_of_a_source_then_counts() -> None:
    budget = Budget(2)
    assert [budget.admit(ONE, KIND, 1.0, 100) for _ in range(5)] == [True, True, False, False, False]
    assert budget.admit(TWO, KIND, 2.0, 200)
    assert not budget.admit(ONE, OTHER_KIND, 3.0, 300)
    assert budget.take(400) == [Summary(3, 100, 400, ONE, KIND), Summary(1, 100, 400, ONE, OTHER_KIND)]
    assert budget.take(500) == []
    assert not budget.counting


def test_a_new_window_begins_with_the_first_refusal_after_the_old_one() -> None:
    budget = Budget(1)
    assert budget.ends_in(0.0) == 0
    assert budget.admit(ONE, KIND, 10.0, 0)
    assert budget.ends_in(10.0) == 60.0
    assert not budget.admit(ONE, KIND, 69.9, 5)
    assert budget.ends_in(70.0) == 0
    assert budget.admit(ONE, KIND, 500.0, 900)
    assert budget.ends_in(501.0) == 59.0
    assert not budget.admit(ONE, KIND, 501.0, 901)
    # What nobody took is not lost, and begins when the older window did.
    assert budget.take(1000) == [Summary(2, 0, 1000, ONE, KIND)]


def test_sources_beyond_the_bound_are_one() -> None:
    budget = Budget(1, sources=2)
    assert [budget.admit(source, KIND, 0.0, 0) for source in (ONE, TWO, THREE)] == [True, True, True]
    assert [budget.admit(Source(str(number)), KIND, 0.0, 0) for number in range(1000)] == [False] * 1000
    assert budget.take(9) == [Summary(1000, 0, 9, None, KIND)]


def test_nothing_to_spend() -> None:
    budget = Budget(0, sources=2)
    sources = [ONE, TWO, THREE, Source("x")]
    assert [budget.admit(source, KIND, 0.0, 0) for source in sources] == [False] * 4
    assert {(one.source, one.count) for one in budget.take(0)} == {(ONE, 1), (TWO, 1), (None, 2)}


def test_what_could_not_be_written_is_counted_again() -> None:
    budget = Budget(0)
    budget.admit(ONE, KIND, 0.0, 5)
    taken = budget.take(10)
    budget.admit(ONE, KIND, 1.0, 20)
    budget.put_back(taken)
    assert budget.take(30) == [Summary(2, 5, 30, ONE, KIND)]


def test_counts_that_pile_up_stay_bounded() -> None:
    budget = Budget(0, sources=2)
    total = 0
    for window in range(100):
        for number in range(2):
            budget.admit(Source(f"{window}-{number}"), KIND, window * 61.0, window)
            total += 1
        budget.put_back(budget.take(window))
    kept = budget.take(1000)
    assert len(kept) <= 9
    assert sum(one.count for one in kept) == total


def test_a_fork_begins_with_nothing() -> None:
    budget = Budget(3, window=7.0, sources=4)
    budget.admit(ONE, KIND, 0.0, 0)
    anew = budget.anew()
    assert [anew.admit(ONE, KIND, 0.0, 0) for _ in range(4)] == [True, True, True, False]
    assert anew.ends_in(1.0) == 6.0


@given(
    st.integers(0, 4),
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from([KIND, OTHER_KIND]), st.floats(0, 30), st.booleans())),
)
def test_admitted_and_counted_are_all_that_came(per: int, came: list[tuple[int, Kind, float, bool]]) -> None:
    budget = Budget(per, window=60.0, sources=3)
    now = 0.0
    admitted: Counter[tuple[int, Source]] = Counter()
    windows, counted = 0, 0
    for number, kind, later, taking in came:
        now += later
        if budget.ends_in(now) == 0:
            windows += 1
        admitted[windows, Source(str(number))] += budget.admit(Source(str(number)), kind, now, int(now))
        if taking:
            counted += sum(one.count for one in budget.take(int(now)))
    counted += sum(one.count for one in budget.take(int(now)))
    assert counted + sum(admitted.values()) == len(came)
    assert all(count <= 2 * per for count in admitted.values())
    by_window: Counter[int] = Counter()
    for (window, _), count in admitted.items():
        by_window[window] += count
    # Three sources, and one for all others.
    assert all(count <= 4 * per for count in by_window.values())


@pytest.mark.parametrize(
    ("address", "kind", "actor", "expected"),
    [
        ("10.0.0.1", "ipv4", Actor(), Source("10.0.0.1", "ipv4")),
        ("2001:db8:0:1:2:3:4:5", "ipv6", Actor(), Source("2001:db8:0:1::/64", "ipv6")),
        ("fe80::1%eth0", "ipv6", Actor(), Source("fe80::/64", "ipv6")),
        ("::ffff:10.0.0.1", "ipv4", Actor(), Source("::ffff:10.0.0.1", "ipv4")),
        ("unix", "hostname", Actor(), Source("unix", "hostname")),
        (None, None, Actor("ada", "user", "declared"), Source()),
        ("10.0.0.1", "ipv4", Actor("ada", "user", "verified"), Source("10.0.0.1", "ipv4", "ada", "user")),
    ],
)
def test_whose_budget_it_is(address: str | None, kind: str | None, actor: Actor, expected: Source) -> None:
    assert source_of(address, kind, actor) == expected
