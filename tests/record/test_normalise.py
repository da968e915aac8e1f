# SPDX-License-Identifier: Apache-2.0
"""FORMAT section 3: any value has one text."""

from __future__ import annotations

import enum
import json
import math
import types
from collections import OrderedDict, UserDict, deque
from datetime import date
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opentelemetry.instrumentation.mcp_audit.record.normalise import (
    Limits,
    encode,
    fix_surrogates,
    normalise,
    plain_text,
    text_if_simple,
)

LIMITS = Limits()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=6), inner, max_size=4)
    ),
    max_leaves=15,
)
ANY = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(st.characters(), max_size=6) | st.binary(max_size=6) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.frozensets(st.integers() | st.text(max_size=3), max_size=3)
        | st.dictionaries(
            st.text(max_size=3) | st.integers() | st.none() | st.booleans() | st.floats(), inner, max_size=4
        )
    ),
    max_leaves=12,
)


class Colour(str, enum.Enum):
    RED = "red"


class Small(enum.IntEnum):
    ONE = 1


class Point(NamedTuple):
    x: int
    y: int


class Raises:
    def __str__(self) -> str:
        raise ValueError("no")


class NotEvenAClass:
    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no")


class Long:
    def __str__(self) -> str:
        return "x" * 70_000


class Endless(UserDict):  # type: ignore[type-arg]
    def __len__(self) -> int:
        return 2

    def items(self) -> Any:
        number = 0
        while True:
            yield (str(number), number)
            number += 1


CASES: list[tuple[object, str]] = [
    (None, "null"),
    (True, "true"),
    (-0.0, "-0.0"),
    (1e22, "1e+22"),
    (2.5, "2.5"),
    (2**53 - 1, "9007199254740991"),
    (2**53, '"9007199254740992"'),
    (-(2**53) + 1, "-9007199254740991"),
    (-(2**53), '"-9007199254740992"'),
    (10**5_000, '{"$cut":16610}'),
    (math.nan, '"NaN"'),
    (math.inf, '"Infinity"'),
    (-math.inf, '"-Infinity"'),
    ('\u00e9\u2028\x7f\x00"\\', '"\u00e9\u2028\x7f\\u0000\\"\\\\"'),
    ("a\ud800b", '"a\ufffdb"'),
    ("\ud83d\ude00", '"\U0001f600"'),
    ("\ud800\ud83d\ude00\ude00", '"\ufffd\U0001f600\ufffd"'),
    (b"\x00\xff", '{"$bytes":"AP8="}'),
    (bytearray(b"a"), '{"$bytes":"YQ=="}'),
    ({3, 1, 2}, "[1,2,3]"),
    (frozenset({"b", "a"}), '["a","b"]'),
    ((1, "a"), '[1,"a"]'),
    (deque([1]), "[1]"),
    (Point(1, 2), "[1,2]"),
    (Colour.RED, '"red"'),
    (Small.ONE, "1"),
    (Decimal("1.10"), '"1.10"'),
    (date(2026, 1, 2), '"2026-01-02"'),
    (PurePosixPath("/a"), '"/a"'),
    (types.MappingProxyType({"b": 1, "a": 2}), '{"a":2,"b":1}'),
    (OrderedDict(b=1, a=2), '{"a":2,"b":1}'),
    ({"b": 1, "a": 2, "\U0001f600": 3, "\uffff": 4}, '{"a":2,"b":1,"\uffff":4,"\U0001f600":3}'),
    ({None: 1, True: 2, 3: 4, 1.5: 5, math.nan: 6}, '{"1.5":5,"3":4,"NaN":6,"null":1,"true":2}'),
    ({10: "a", 9: "b"}, '{"10":"a","9":"b"}'),
    ({2**60: 1}, '{"1152921504606846976":1}'),
    ({1: "a", "1": "b", "1$2": "c"}, '{"1":"b","1$2":"c","1$3":"a"}'),
    (dict([("a\ud800", 1), ("a\udfff", 2)]), '{"a\ufffd":1,"a\ufffd$2":2}'),
    ({"$ref": 1, "$$ref": 2, "a$": 3}, '{"$$$ref":2,"$$ref":1,"a$":3}'),
    (Raises(), '"<unprintable Raises>"'),
    ({Raises(): 1}, '{"<unprintable Raises>":1}'),
    (NotEvenAClass(), '"<unprintable NotEvenAClass>"'),
    (Long(), '{"$cut":70000}'),
    (Endless(), '{"0":0,"1":1}'),
    (memoryview(b"ab"), '{"$bytes":"YWI="}'),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_text(case: int) -> None:
    value, text = CASES[case]
    assert plain_text(value, LIMITS) == text


@settings(deadline=None)
@given(JSON)
def test_the_short_way_gives_what_the_long_way_gives(value: object) -> None:
    long = encode(normalise(value, LIMITS))
    assert plain_text(value, LIMITS) == long
    assert text_if_simple(value, LIMITS, frozenset(), []) in (None, long)


@settings(deadline=None)
@given(ANY)
def test_text_is_json_sorted_unicode_and_stable(value: object) -> None:
    text = plain_text(value, LIMITS)
    text.encode()
    parsed = json.loads(text)
    assert encode(parsed) == text
    # What is written means the same when it is read and normalised again, but for our own `$` forms.
    if '"$' not in text:
        assert plain_text(parsed, LIMITS) == text


def test_a_plain_value_takes_the_short_way() -> None:
    unknown: list[str] = []
    value = {"a": [1, 2.5, True, None, "x", {"b": {}}], "c": "\u00e9"}
    assert text_if_simple(value, LIMITS, {"a"}, unknown) == '{"a":[1,2.5,true,null,"x",{"b":{}}],"c":"\u00e9"}'
    assert unknown == ["c", "b"] or unknown == ["a", "c", "b"]


@pytest.mark.parametrize(
    "value",
    [(1,), {1: 2}, {"$a": 1}, [2**53], [math.nan], ["\ud800"], {"\ud800": 1}, [b""], Colour.RED, {Colour.RED: 1}, {1}],
)
def test_these_take_the_long_way(value: object) -> None:
    assert text_if_simple(value, LIMITS, frozenset(), []) is None


def test_depth_nodes_and_cycles_are_cut_with_the_number_of_members() -> None:
    small = Limits(depth=2, nodes=6)
    assert plain_text([[[1, 2, 3]]], small) == '[[{"$cut":3}]]'
    assert plain_text([[1]], small) == "[[1]]"
    assert plain_text([1, 2, 3, 4, 5], small) == "[1,2,3,4,5]"
    assert plain_text([1, 2, 3, 4, 5, 6], small) == '{"$cut":6}'
    # What stands beside a container is paid for first.
    assert plain_text({"a": [1, 2, 3], "b": 1, "c": 2}, small) == '{"a":{"$cut":3},"b":1,"c":2}'
    cycle: list[Any] = [1]
    cycle.append(cycle)
    assert plain_text(cycle, LIMITS) == '[1,{"$cut":2}]'
    twice = [1]
    assert plain_text([twice, twice], LIMITS) == "[[1],[1]]"
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    assert plain_text(deep, LIMITS) == "[" * 32 + '{"$cut":1}' + "]" * 32


def test_which_part_is_cut_does_not_depend_on_insertion() -> None:
    small = Limits(nodes=6)
    assert plain_text({"b": [1, 2, 3], "a": [1, 2]}, small) == plain_text({"a": [1, 2], "b": [1, 2, 3]}, small)


@settings(deadline=None)
@given(st.text(st.characters(codec=None, categories=None) | st.sampled_from(["\ud800", "\udbff", "\udc00", "\udfff"])))
def test_surrogates_are_joined_or_replaced_as_utf16_does(text: str) -> None:
    assert fix_surrogates(text) == text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert fix_surrogates(text * 20) == (text * 20).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
