# SPDX-License-Identifier: Apache-2.0
"""Record ids: UUID version 7 (RFC 9562), so that ids sort by the time they were made."""

from __future__ import annotations

import os
import time


def uuid7() -> str:
    """A new UUIDv7 as text: 48 bits of milliseconds, 74 random bits."""
    random = int.from_bytes(os.urandom(10), "big")
    high = ((time.time_ns() // 1_000_000) & 0xFFFFFFFFFFFF) << 16 | 0x7000 | (random >> 64) & 0x0FFF
    low = 0x8000000000000000 | random & 0x3FFFFFFFFFFFFFFF
    text = f"{high:016x}{low:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
