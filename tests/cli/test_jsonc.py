# SPDX-License-Identifier: Apache-2.0
"""The scanner agrees with Python's parser on JSON, and reads what editors add to it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scanned_values import plain

from opentelemetry.instrumentation.mcp_audit.cli._jsonc import JsoncError, parse, replace

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(JSON, st.sampled_from([None, 0, 2, "\t"]), st.booleans())
def test_what_python_writes_is_read_as_python_reads_it(made: Any, indent: Any, ascii_: bool) -> None:
    text = json.dumps(made, indent=indent, ensure_ascii=ascii_)
    value = parse(text)
    assert plain(value, text) == json.loads(text)
    assert (value.start, value.end) == (0, len(text))


def test_comments_commas_and_a_byte_order_mark() -> None:
    text = '\ufeff// one\r\n{ /* two */ "a" : [1, // three\n 2 , ], "b": "//no /*comment*/",\n}\n// end'
    assert plain(parse(text), text) == {"a": [1, 2], "b": "//no /*comment*/"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: expected a value"),
        ("{", 'expected a name in quotes or "}"'),
        ('{"a"', 'line 1, column 5: expected ":"'),
        ('{"a": 1 "b": 2}', 'line 1, column 9: expected "," or "}"'),
        ("[1,\n 2", 'line 2, column 3: expected "," or "]"'),
        ("{} x", "line 1, column 4: expected the end of the text"),
        ("{'a': 1}", "expected a name in quotes"),
        ('["\x01"]', "expected a string"),
        ('["\\x"]', "expected a string"),
        ("[nul]", "expected a value"),
        ("[01]", 'expected "," or "]"'),
        ("/* open", "expected a value"),
        ("[,]", "expected a value"),
        ("[" * 1000, "expected at most 100 levels"),
    ],
)
def test_what_is_no_json_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(JsoncError) as told:
        parse(text)
    assert message in str(told.value)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text)
    except JsoncError:
        return


def test_edits_in_any_order() -> None:
    assert replace("abcdef", [(4, 5, "X"), (0, 1, ""), (2, 2, "--")]) == "b--cdXf"
