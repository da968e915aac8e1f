# SPDX-License-Identifier: Apache-2.0
"""Text that could drive a terminal is shown, not obeyed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentelemetry.instrumentation.mcp_audit.render.text import iso_milliseconds, json_visible, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("ärger 日本 😀", "ärger 日本 😀"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x9b31m\x7f\0", "\\x9b31m\\x7f\\x00"),
        ("\u202eevil\u200b", "\\u202eevil\\u200b"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_long_text_is_cut() -> None:
    assert visible("abcdefgh", 5) == "abcd…"
    assert visible("abcde", 5) == "abcde"


@given(st.text())
def test_json_text_keeps_its_value(text: str) -> None:
    made = json_visible(json.dumps(text, ensure_ascii=False))
    assert json.loads(made) == text
    assert not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in made)


def test_times() -> None:
    assert iso_milliseconds(1_705_314_600_000_999_999) == "2024-01-15T10:30:00.000Z"
    assert iso_milliseconds(1_705_314_600_999_999_999) == "2024-01-15T10:30:00.999Z"
    assert iso_milliseconds(2**64 - 1) == "2554-07-21T23:34:33.709Z"
