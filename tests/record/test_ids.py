# SPDX-License-Identifier: Apache-2.0
"""Record ids are UUIDs of version 7 (RFC 9562, section 5.7)."""

from __future__ import annotations

import re
import time
import uuid

import pytest

from opentelemetry.instrumentation.mcp_audit.record import ids
from opentelemetry.instrumentation.mcp_audit.record.ids import uuid7


def test_form_version_and_variant() -> None:
    for _ in range(1000):
        text = uuid7()
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", text)
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.variant, parsed.version) == (text, uuid.RFC_4122, 7)


def test_the_first_48_bits_are_milliseconds() -> None:
    before = time.time_ns() // 1_000_000
    stamp = int(uuid7().replace("-", "")[:12], 16)
    assert before <= stamp <= time.time_ns() // 1_000_000


@pytest.mark.parametrize(
    ("random", "expected"),
    [
        (b"\0" * 10, "017f22e2-79b0-7000-8000-000000000000"),
        (b"\xff" * 10, "017f22e2-79b0-7fff-bfff-ffffffffffff"),
        # RFC 9562, appendix A.6: rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F
        (bytes.fromhex("0cc318c4dc0c0c07398f"), "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"),
    ],
)
def test_the_rfcs_own_example(monkeypatch: pytest.MonkeyPatch, random: bytes, expected: str) -> None:
    monkeypatch.setattr(ids.os, "urandom", lambda size: random[:size])
    monkeypatch.setattr(ids.time, "time_ns", lambda: 0x017F22E279B0 * 1_000_000 + 999_999)
    assert uuid7() == expected


def test_later_milliseconds_sort_later_and_none_repeats() -> None:
    made = [uuid7() for _ in range(5000)]
    assert len(set(made)) == 5000
    stamps = [text[:13] for text in made]
    assert stamps == sorted(stamps)


def test_randomness_never_repeats_and_a_fork_shares_none(monkeypatch: pytest.MonkeyPatch) -> None:
    randomness = ids.Randomness(26)
    taken = [randomness.take() for _ in range(300)]
    assert len(set(taken)) == 300
    assert {len(digits) for digits in taken} == {52}
    # What the parent would give away next is not given away by its child.
    left = set(randomness._pool)
    assert left
    monkeypatch.setattr(ids.os, "getpid", lambda: -1)
    assert left.isdisjoint(randomness.take() for _ in range(100))
