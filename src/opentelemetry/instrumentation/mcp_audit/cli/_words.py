# SPDX-License-Identifier: Apache-2.0
"""Numbers in ``doctor``'s sentences."""

from __future__ import annotations

from typing import Final

_STEPS: Final = ((86_400.0, "days"), (3600.0, "h"), (60.0, "min"))
_UNITS: Final = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def some(count: int, one: str, many: str | None = None) -> str:
    """``1 call``, ``2 calls``."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def age(seconds: float) -> str:
    """``5 s``, ``3 min``, ``4 h``, ``12 days``; a time to come is none of these: ``-5 s``."""
    for step, unit in _STEPS:
        if seconds >= 2 * step:
            return f"{seconds / step:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(count: int) -> str:
    """``17 KiB``, ``1.5 GiB``."""
    for step, unit in _UNITS:
        if count >= step:
            amount = count / step
            return f"{amount:.1f} {unit}" if amount < 10 else f"{amount:.0f} {unit}"
    return f"{count} B"
