# SPDX-License-Identifier: Apache-2.0
"""The readers' canonical form, held to an RFC 8785 library for arbitrary records."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from trail_oracle import wire

from opentelemetry.instrumentation.mcp_audit.integrity.canonical import (
    canonical_form,
    in_form,
    resource_form,
    sha256_hex,
    utf16_order,
    wrapped,
)

INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUE = st.one_of(TEXT, st.booleans(), INT64, st.lists(TEXT, min_size=1))
# Whatever a later version adds may be named in any script; readers of 1.0 must still agree on the order.
KEY = st.one_of(TEXT, st.text("a.\ue000\uffff\U00010000\U0001f600", max_size=4))
LEFT_OUT = (
    "mcp_audit.record.hash",
    "audit.integrity.canonicalization",
    "audit.integrity.signature",
    "mcp_audit.collector.peer",
    "mcp_audit.collector.subject",
    "log.file.name",
    "log.file.path",
    "log.file.name_resolved",
    "log.file.path_resolved",
)


def _oracle(attributes: dict[str, Any], event: str, time: int, trace: str, span: str) -> bytes:
    # The library sorts members by UTF-16 code units itself: the order of the keys is taken from it.
    order = list(rfc8785_keys(attributes))
    form: dict[str, Any] = {
        "attributes": [{"key": key, "value": wire(attributes[key])} for key in order],
        "eventName": event,
        "timeUnixNano": str(time),
    }
    if trace:
        form["traceId"] = trace
    if span:
        form["spanId"] = span
    return rfc8785.dumps(form)


def rfc8785_keys(attributes: dict[str, Any]) -> list[str]:
    """The keys in the order in which an RFC 8785 library writes them as an object's members."""
    return list(json.loads(rfc8785.dumps({key: None for key in attributes})))


@given(
    attributes=st.dictionaries(KEY.filter(in_form), VALUE),
    left_out=st.dictionaries(st.sampled_from(LEFT_OUT), TEXT),
    event=TEXT,
    time=st.integers(0, 2**64 - 1),
    trace=st.one_of(st.just(""), st.integers(1, 2**128 - 1).map(lambda n: f"{n:032x}")),
    span=st.one_of(st.just(""), st.integers(1, 2**64 - 1).map(lambda n: f"{n:016x}")),
    random=st.randoms(use_true_random=False),
)
def test_it_is_rfc_8785_of_what_the_format_names(
    attributes: dict[str, Any],
    left_out: dict[str, str],
    event: str,
    time: int,
    trace: str,
    span: str,
    random: Any,
) -> None:
    pairs = [*attributes.items(), *left_out.items()]
    random.shuffle(pairs)
    assert canonical_form(pairs, event, time, trace, span) == _oracle(attributes, event, time, trace, span)


@given(resource=st.dictionaries(KEY, VALUE), name=TEXT, version=TEXT, random=st.randoms(use_true_random=False))
def test_the_resource_form(resource: dict[str, Any], name: str, version: str, random: Any) -> None:
    pairs = list(resource.items())
    random.shuffle(pairs)
    expected = {
        "resource": {
            "attributes": [{"key": key, "value": wire(resource[key])} for key in rfc8785_keys(resource)],
        },
        "scope": {"name": name, "version": version},
    }
    assert resource_form(pairs, name, version) == rfc8785.dumps(expected)


@given(st.lists(KEY, unique=True))
def test_order_is_by_utf_16_code_units(keys: list[str]) -> None:
    assert sorted(keys, key=utf16_order) == rfc8785_keys(dict.fromkeys(keys))


def test_the_order_differs_from_that_of_code_points() -> None:
    assert sorted(["\uffff", "\U00010000"], key=utf16_order) == ["\U00010000", "\uffff"]


@pytest.mark.parametrize("nothing", ["", "0", "0" * 16, "0" * 32])
def test_ids_that_say_nothing_are_left_out(nothing: str) -> None:
    assert canonical_form([], "e", 1, nothing, nothing) == b'{"attributes":[],"eventName":"e","timeUnixNano":"1"}'


def test_ids_are_lowercase() -> None:
    form = canonical_form([], "e", 1, "AB" * 16, "CD" * 8)
    assert form == (
        b'{"attributes":[],"eventName":"e","spanId":"cdcdcdcdcdcdcdcd","timeUnixNano":"1",'
        b'"traceId":"abababababababababababababababab"}'
    )


@pytest.mark.parametrize("key", LEFT_OUT)
def test_what_is_left_out(key: str) -> None:
    assert in_form(key) is False


@pytest.mark.parametrize(
    "key", ["audit.integrity", "audit.sequence.number", "log.file", "mcp_audit.record.hash2", "new"]
)
def test_what_is_not(key: str) -> None:
    assert in_form(key) is True


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", {"stringValue": ""}),
        (0, {"intValue": "0"}),
        (False, {"boolValue": False}),
        (True, {"boolValue": True}),
        (-(2**63), {"intValue": "-9223372036854775808"}),
        (["", "b"], {"arrayValue": {"values": [{"stringValue": ""}, {"stringValue": "b"}]}}),
    ],
)
def test_wrapped(value: Any, expected: dict[str, Any]) -> None:
    assert wrapped(value) == expected


@pytest.mark.parametrize("value", [1.0, None, {"a": 1}, b"x"])
def test_wrapped_refuses_what_no_attribute_can_hold(value: Any) -> None:
    with pytest.raises(TypeError, match="no attribute value of format 1.x"):
        wrapped(value)


def test_sha256_hex() -> None:
    assert sha256_hex(b"") == hashlib.sha256(b"").hexdigest()
    assert sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
