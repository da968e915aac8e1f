# SPDX-License-Identifier: Apache-2.0
"""The extra ``fast`` gives the same bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentelemetry.instrumentation.mcp_audit.record import normalise
from opentelemetry.instrumentation.mcp_audit.record.fast import fast_text
from opentelemetry.instrumentation.mcp_audit.record.normalise import Limits, encode, plain_text

pytest.importorskip("orjson", reason="the extra `fast` is not installed")
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None))
values = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec=None)), inner), max_leaves=30
)


@given(values)
def test_the_same_text_with_and_without(value: Any) -> None:
    assert normalise.fast_text is fast_text is not None
    with_it = plain_text(value, Limits())
    normalise.fast_text = None
    try:
        assert plain_text(value, Limits()) == with_it
    finally:
        normalise.fast_text = fast_text


def test_every_code_point_is_escaped_alike() -> None:
    assert fast_text is not None
    text = "".join(chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000)
    assert fast_text({text: text}) == encode({text: text})


@pytest.mark.parametrize("value", [1e16, 1e22, 5e-324, 1.0, -0.0])
def test_floats_are_written_by_the_standard_library(value: float) -> None:
    assert plain_text([value], Limits()) == encode([value])
