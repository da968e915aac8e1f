# SPDX-License-Identifier: Apache-2.0
"""Record ids: UUID version 7 (RFC 9562), so that ids sort by the time they were made. And the random bits for them."""

from __future__ import annotations

import os
import time
from typing import Final

RANDOM_BYTES: Final = 10
_BATCH: Final = 64
# The first two bits of the second half say which kind of UUID it is; the other two of that digit are random.
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def uuid7(random: str | None = None) -> str:
    """A new UUIDv7 as text: 48 bits of milliseconds, 74 random bits. ``random``: 20 hex digits to take these from."""
    digits = os.urandom(RANDOM_BYTES).hex() if random is None else random
    stamp = f"{time.time_ns() // 1_000_000 & 0xFFFFFFFFFFFF:012x}"
    return f"{stamp[:8]}-{stamp[8:]}-7{digits[1:4]}-{_VARIANT[digits[4]]}{digits[5:8]}-{digits[8:]}"


class Randomness:
    """Random hex digits, so many a time, from the system in batches: one question for the ids and salts of 64 calls.

    A forked child never gets digits that its parent has too. Safe to use from any thread and signal handler: a list
    gives every element away once.
    """

    __slots__ = ("_bytes", "_pid", "_pool")

    def __init__(self, size: int) -> None:
        """``size``: random bytes in each answer."""
        self._bytes = size
        self._pool: list[str] = []
        self._pid = os.getpid()

    def take(self) -> str:
        """New random digits, twice as many as bytes."""
        if self._pid != os.getpid():
            # The pool first: a thread that sees our pid must not see the parent's digits.
            self._pool = []
            self._pid = os.getpid()
        try:
            return self._pool.pop()
        except IndexError:
            size = 2 * self._bytes
            digits = os.urandom(self._bytes * _BATCH).hex()
            self._pool = [digits[start : start + size] for start in range(0, len(digits), size)]
            return os.urandom(self._bytes).hex()
