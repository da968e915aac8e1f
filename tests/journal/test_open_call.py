# SPDX-License-Identifier: Apache-2.0
"""A call in flight as a slot: whatever it holds fits, names the call, and comes back; garbage is told apart."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import pytest
from dead_process import open_attributes
from hypothesis import given, settings
from hypothesis import strategies as st

from opentelemetry.instrumentation.mcp_audit.journal import open_call
from opentelemetry.instrumentation.mcp_audit.journal.open_call import OpenCall
from opentelemetry.instrumentation.mcp_audit.journal.slots import Unreadable

STREAM = "6f1d1c1e-0000-4000-8000-000000000001"
ID = "0190c1d2-1234-7abc-8def-0123456789ab"


def call(**more: Any) -> OpenCall:
    attributes = {**open_attributes(ID), **{name.replace("__", "."): value for name, value in more.items()}}
    return OpenCall("mcp_audit.tool_call", 1_764_000_000_000_000_001, attributes, "5b" * 16, "ee" * 8)


def packed(payload: bytes) -> bytes:
    return b"MCA1" + struct.pack(">IH", zlib.crc32(payload), len(payload)) + payload


def test_the_bytes_of_a_call() -> None:
    made = open_call.call_slot(call(client__port=80, user__roles=["a", 'b"']), STREAM)
    assert made[:4] == b"MCA1"
    crc, length = struct.unpack(">IH", made[4:10])
    payload = made[10:]
    assert (crc, length) == (zlib.crc32(payload), len(payload))
    tree = json.loads(payload)
    assert list(tree) == ["attributes", "event", "received", "span", "stream", "trace"]
    assert tree["received"] == "1764000000000000001"
    assert tree["attributes"]["client.port"] == 80
    assert tree["attributes"]["user.roles"] == ["a", 'b"']


_VALUES = st.one_of(
    st.text(max_size=1024),
    st.text(alphabet='\x00\x1f"\\\u2028\U0001f600', min_size=200, max_size=1024),
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.lists(st.text(max_size=300), min_size=1, max_size=20),
)
_STRINGS = st.one_of(
    st.text(max_size=1024), st.text(alphabet='\x00\x1f"\\\u2028\U0001f600', min_size=200, max_size=1024)
)
_REQUIRED = (
    "audit.action",
    "audit.actor.id",
    "audit.actor.type",
    "audit.schema.version",
    "mcp.method.name",
    "mcp_audit.actor.provenance",
    "mcp_audit.level",
    "mcp_audit.request.id",
)


@settings(max_examples=150, deadline=None)
@given(
    required=st.fixed_dictionaries({name: _STRINGS for name in _REQUIRED}),
    more=st.dictionaries(st.from_regex(r"[a-z]{1,40}(\.[a-z]{1,40})?", fullmatch=True), _VALUES, max_size=20),
    event=st.sampled_from(["mcp_audit.tool_call", "mcp_audit.resource_read", "mcp_audit.access_denied"]),
)
def test_whatever_a_call_holds_fits_and_names_the_call(
    required: dict[str, Any], more: dict[str, Any], event: str
) -> None:
    given_call = call()._replace(
        event=event, attributes={**more, "audit.record.id": ID, "mcp_audit.call.id": ID, **required}
    )
    made = open_call.call_slot(given_call, STREAM)
    assert len(made) <= 1024
    found = open_call.read_call(7, made.ljust(1024, b"\xff"))
    assert found is not None
    assert (found.number, found.stream) == (7, STREAM)
    assert found.call._replace(attributes={}) == given_call._replace(attributes={})
    kept = found.call.attributes
    assert kept["audit.record.id"] == kept["mcp_audit.call.id"] == ID
    for name in _REQUIRED:
        assert required[name].startswith(kept[name])
    for name, value in kept.items():
        if name not in _REQUIRED and name != "mcp_audit.truncated" and not isinstance(value, str):
            assert more.get(name, ID) == value


def test_a_call_that_fits_comes_back_as_it_was() -> None:
    given_call = call(client__port=80, user__roles=["a", "ü"], gen_ai__tool__name="x" * 100)
    found = open_call.read_call(1, open_call.call_slot(given_call, STREAM))
    assert found is not None and found.call == given_call


def test_what_is_cut_is_said() -> None:
    found = open_call.read_call(
        1, open_call.call_slot(call(audit__actor__id="a" * 1024, gen_ai__tool__name="t" * 500), STREAM)
    )
    assert found is not None
    kept = found.call.attributes
    assert kept["audit.actor.id"] == "a" * 96
    assert kept["gen_ai.tool.name"] == "t" * 96
    assert kept["mcp_audit.truncated"] == ["gen_ai.tool.name 500", "audit.actor.id 1024"]


def test_half_of_a_surrogate_pair_does_not_stop_it() -> None:
    found = open_call.read_call(1, open_call.call_slot(call(gen_ai__tool__name="a\ud800b"), STREAM))
    assert found is not None and found.call.attributes["gen_ai.tool.name"] == "a?b"


@pytest.mark.parametrize("value", [1.5, None, {"a": 1}, b"x"])
def test_no_other_types(value: Any) -> None:
    with pytest.raises(TypeError):
        open_call.call_slot(call(gen_ai__tool__name=value), STREAM)


def test_free_slots() -> None:
    assert open_call.read_call(1, bytes(1024)) is None
    assert open_call.read_call(1, b"\0\0\0\0" + open_call.call_slot(call(), STREAM)[4:]) is None


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=1024))
def test_garbage_is_unreadable_and_nothing_else(data: bytes) -> None:
    for spelled in (data, b"MCA1" + data, packed(data)):
        try:
            open_call.read_call(1, spelled)
        except Unreadable:
            continue


@settings(max_examples=100, deadline=None)
@given(at=st.integers(0, 600), flip=st.integers(1, 255))
def test_any_changed_byte_of_a_call_is_noticed(at: int, flip: int) -> None:
    made = bytearray(open_call.call_slot(call(), STREAM))
    at %= len(made)
    made[at] ^= flip
    with pytest.raises(Unreadable):
        open_call.read_call(1, bytes(made))


_TREE: dict[str, Any] = {
    "attributes": {"audit.record.id": ID},
    "event": "mcp_audit.tool_call",
    "received": "1",
    "span": "",
    "stream": STREAM,
    "trace": "",
}


@pytest.mark.parametrize(
    "change",
    [
        {"attributes": []},
        {"attributes": {}},
        {"attributes": {"audit.record.id": 'a"b'}},
        {"attributes": {"audit.record.id": 5}},
        {"event": "x"},
        {"event": None},
        {"received": 1},
        {"received": "-1"},
        {"received": "1" * 20},
        {"span": "EE" * 8},
        {"trace": "00"},
        {"stream": "../etc"},
        {"stream": ""},
    ],
)
def test_a_right_checksum_around_nonsense(change: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        open_call.read_call(1, packed(json.dumps({**_TREE, **change}).encode()))


def test_json_that_is_no_object_or_too_deep_or_half_a_surrogate() -> None:
    for payload in (b"[]", b"[" * 900, b'"\\ud800"', b'{"attributes":{"audit.record.id":"\\ud800"}}', b"{"):
        with pytest.raises(Unreadable):
            open_call.read_call(1, packed(payload))


def test_attributes_that_no_abandoned_record_may_have_are_left_out() -> None:
    attributes = {
        "audit.record.id": ID,
        "audit.sequence.number": 7,
        "audit.integrity.x": "y",
        "mcp_audit.record.hash": "0" * 64,
        "mcp_audit.content.digest": "0" * 64,
        "log.file.name": "x",
        "client.port": "no number",
        "user.roles": [],
        "user.email": None,
        "Bad Name": "x",
        "a.double": 1.5,
        "a.big": 2**63,
        "from.a.later.release": "kept",
        "a.bool": True,
    }
    found = open_call.read_call(1, packed(json.dumps({**_TREE, "attributes": attributes}).encode()))
    assert found is not None
    assert found.call.attributes == {"audit.record.id": ID, "from.a.later.release": "kept", "a.bool": True}
