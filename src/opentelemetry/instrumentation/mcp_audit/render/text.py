# SPDX-License-Identifier: Apache-2.0
"""Text from strangers on a terminal: whatever could move the cursor, colour or hide something is shown as an escape."""

from __future__ import annotations

import unicodedata
from datetime import datetime, timezone

_SHOWN = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Control, format (bidirectional overrides, zero width), surrogate, private and unassigned characters, line separators.
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def visible(text: str, limit: int | None = None) -> str:
    """``text`` with every character that does not simply print as ``\\x1b``, ``\\u202e``, …; cut to ``limit`` with …"""
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def json_visible(text: str) -> str:
    """JSON text of the same value in which nothing can drive a terminal: such characters are escaped as JSON does it."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_json_shown(character) for character in text)


def _json_shown(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN:
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[index]:02x}{units[index + 1]:02x}" for index in range(0, len(units), 2))


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN:
        return character
    if character in _SHOWN:
        return _SHOWN[character]
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def iso_milliseconds(nanoseconds: int) -> str:
    """Nanoseconds since the epoch as ``2024-01-15T10:30:00.000Z``; what lies beyond the calendar, as the number it is."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    try:
        moment = datetime.fromtimestamp(seconds, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return str(nanoseconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"
