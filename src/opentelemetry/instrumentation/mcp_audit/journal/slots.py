# SPDX-License-Identifier: Apache-2.0
"""The slots of a start marker as bytes (``docs/format.md`` 5): how each is framed, and the first one, the header.

A slot is 1 KiB: ``MCA1`` (zeros: free), CRC-32 of the payload, its length, the payload, which is JSON. Slot 0 is the
header, the others are one call in flight each (``open_call.py``). Pure functions, both ways; nothing here raises anything
but :class:`Unreadable` for any bytes read.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

SLOT_BYTES: Final = 1024
MAX_SLOTS: Final = 4096
VERSION: Final = 1
FREE: Final = bytes(4)
_MAGIC: Final = b"MCA1"
_HEAD: Final = struct.Struct(">4sIH")
MAX_PAYLOAD: Final = SLOT_BYTES - _HEAD.size

ID: Final = re.compile(r"[0-9A-Za-z-]{1,64}")


class Header(NamedTuple):
    """Whose marker it is. ``stream`` is the newest stream of the process.

    ``adopter`` is the stream to which ``abandoned`` records are being written, ``abandoned`` how many there are to be:
    None as long as nobody adopts.
    """

    boot: str
    host: str
    pid: int
    process_start: str
    stream: str
    adopter: str | None = None
    abandoned: int | None = None


class Unreadable(ValueError):
    """Bytes that are neither a free slot nor one that this version wrote."""


class NewerVersion(Unreadable):
    """A header of a version that this one does not know: not ours to touch."""


def header_slot(header: Header) -> bytes:
    """Slot 0, padded: it is written over another one."""
    members: dict[str, object] = {
        "boot": _plain(header.boot, 64),
        "host": _plain(header.host, 128),
        "pid": header.pid,
        "process_start": _plain(header.process_start, 64),
        "stream": header.stream,
        "version": VERSION,
    }
    if header.adopter is not None:
        members["adopter"] = header.adopter
        members["abandoned"] = header.abandoned
    payload = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
    return packed(payload).ljust(SLOT_BYTES, b"\0")


def read_header(data: bytes) -> Header:
    """Slot 0. Raises :class:`Unreadable`, :class:`NewerVersion`."""
    tree = tree_of(data)
    if tree is None:
        raise Unreadable("no header")
    if tree.get("version") != VERSION:
        raise NewerVersion(f"version {tree.get('version')!r}")
    boot, host, start, pid = (tree.get(name) for name in ("boot", "host", "process_start", "pid"))
    adopter, abandoned = tree.get("adopter"), tree.get("abandoned")
    if not (isinstance(boot, str) and isinstance(host, str) and isinstance(start, str)) or type(pid) is not int:
        raise Unreadable("no process")
    if adopter is not None and not (isinstance(adopter, str) and ID.fullmatch(adopter)):
        raise Unreadable("no adopter's stream")
    counted = abandoned if type(abandoned) is int and 0 <= abandoned <= MAX_SLOTS else None
    return Header(boot, host, pid, start, text_in(tree, "stream", ID), adopter, counted)


# --- the frame ---------------------------------------------------------------------------------------------------------


def packed(payload: bytes) -> bytes:
    """A slot around the payload, not padded."""
    return _HEAD.pack(_MAGIC, zlib.crc32(payload), len(payload)) + payload


def tree_of(data: bytes) -> dict[str, Any] | None:
    """The JSON object in a slot; None when it is free. Raises :class:`Unreadable`."""
    if data[:4] == FREE:
        return None
    if len(data) < _HEAD.size or data[:4] != _MAGIC:
        raise Unreadable("not a slot")
    _, crc, length = _HEAD.unpack_from(data)
    payload = data[_HEAD.size : _HEAD.size + length]
    if len(payload) != length or zlib.crc32(payload) != crc:
        raise Unreadable("a torn slot")
    try:
        tree = json.loads(payload)
        # An escaped half of a surrogate pair, which no record can hold.
        json.dumps(tree, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise Unreadable("no JSON") from None
    if not isinstance(tree, dict):
        raise Unreadable("no JSON object")
    return tree


def text_in(tree: Mapping[str, Any], name: str, form: re.Pattern[str]) -> str:
    """The member of that name, a string of that form. Raises :class:`Unreadable`."""
    value = tree.get(name)
    if not isinstance(value, str) or not form.fullmatch(value):
        raise Unreadable(f"no {name}")
    return value


def _plain(text: str, limit: int) -> str:
    return text[:limit].encode("ascii", "replace").decode()
