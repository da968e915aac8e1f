# SPDX-License-Identifier: Apache-2.0
"""The frame of a marker's slots and its header as bytes, both ways; garbage is told apart."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opentelemetry.instrumentation.mcp_audit.journal import slots
from opentelemetry.instrumentation.mcp_audit.journal.slots import Header

STREAM = "6f1d1c1e-0000-4000-8000-000000000001"
ID = "0190c1d2-1234-7abc-8def-0123456789ab"
HEADER = Header("11111111-2222-4333-8444-555555555555", "box", 42, "12345", STREAM)


def packed(payload: bytes) -> bytes:
    return b"MCA1" + struct.pack(">IH", zlib.crc32(payload), len(payload)) + payload


def test_the_bytes_of_a_header() -> None:
    made = slots.header_slot(HEADER)
    assert len(made) == 1024
    length = struct.unpack(">H", made[8:10])[0]
    assert json.loads(made[10 : 10 + length]) == {
        "boot": HEADER.boot,
        "host": "box",
        "pid": 42,
        "process_start": "12345",
        "stream": STREAM,
        "version": 1,
    }
    assert slots.read_header(made) == HEADER
    adopting = HEADER._replace(adopter=ID, abandoned=3)
    assert slots.read_header(slots.header_slot(adopting)) == adopting


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=1024))
def test_garbage_is_unreadable_and_nothing_else(data: bytes) -> None:
    for spelled in (data, b"MCA1" + data, packed(data)):
        try:
            slots.read_header(spelled)
        except slots.Unreadable:
            continue


@pytest.mark.parametrize("change", [{"version": 2}, {"version": None}])
def test_a_newer_header_is_not_ours(change: dict[str, Any]) -> None:
    tree = {"boot": "", "host": "", "pid": 1, "process_start": "", "stream": STREAM, "version": 1, **change}
    with pytest.raises(slots.NewerVersion):
        slots.read_header(packed(json.dumps(tree).encode()))


@pytest.mark.parametrize("change", [{"pid": True}, {"boot": 1}, {"stream": "a/b"}, {"adopter": ""}, {"adopter": 5}])
def test_a_header_of_nonsense(change: dict[str, Any]) -> None:
    tree = {"boot": "", "host": "", "pid": 1, "process_start": "", "stream": STREAM, "version": 1, **change}
    with pytest.raises(slots.Unreadable):
        slots.read_header(packed(json.dumps(tree).encode()))


def test_a_long_host_name_fits() -> None:
    long = HEADER._replace(host="ü\U0001f600" * 300, process_start="9" * 300, boot="b" * 300, adopter="a" * 64)
    assert len(slots.header_slot(long)) == 1024
    assert slots.read_header(slots.header_slot(long)).pid == 42
