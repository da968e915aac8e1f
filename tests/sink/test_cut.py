# SPDX-License-Identifier: Apache-2.0
"""Parts of a JSON text without a tree: they are those that the standard library's parser finds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opentelemetry.instrumentation.mcp_audit.sink import cut

_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(
    tree=st.dictionaries(st.text(max_size=6), _VALUES, max_size=4),
    indent=st.sampled_from([None, 1]),
    plain=st.booleans(),
)
def test_members_and_elements(tree: dict[str, Any], indent: int | None, plain: bool) -> None:
    body = json.dumps(tree, indent=indent, ensure_ascii=plain).encode()
    found = cut.whole_object(body)
    assert {name: json.loads(place.text(body)) for name, place in found.items()} == tree
    for name, value in tree.items():
        if isinstance(value, list):
            assert [json.loads(place.text(body)) for place in cut.elements(body, found[name])] == value
        else:
            with pytest.raises(cut.WrongType):
                cut.elements(body, found[name])


@settings(max_examples=300, deadline=None)
@given(
    tree=st.dictionaries(st.text(max_size=6), _VALUES, min_size=1, max_size=3),
    at=st.integers(0),
    change=st.binary(max_size=3),
)
def test_any_bytes_end_in_a_word(tree: dict[str, Any], at: int, change: bytes) -> None:
    body = json.dumps(tree).encode()
    at %= len(body)
    for broken in (body[:at], body[:at] + change + body[at + len(change) :]):
        try:
            found = cut.whole_object(broken)
        except cut.Broken:
            with pytest.raises(ValueError):  # and it is none to the parser either, or has a member twice
                json.loads(broken.decode(), object_pairs_hook=_once)
            continue
        assert all(0 < place.start < place.end < len(broken) for place in found.values())


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a member twice")
    return made


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "cut off"),
        (b"[1]", "no JSON object"),
        (b'{"a":1', "cut off"),
        (b'{"a":1}}', "more behind its end"),
        (b'{"a" 1}', "a name without a value"),
        (b'{"a":}', "a value is missing"),
        (b'{"a":1 "b":2}', "no comma"),
        (b"{1:2}", "a member without a name"),
        (b'{"a":1,"a":2}', 'JSON member "a" is repeated'),
        (b'{"a":[1}', "a bracket of the wrong kind"),
        (b'{"a":"x\\"}', "a string without an end"),
        (b'{"a":' * 100_001 + b"}" * 100_001, "nested too deeply"),
    ],
)
def test_what_is_none(body: bytes, said: str) -> None:
    with pytest.raises(cut.Broken, match=said):
        cut.whole_object(body)
