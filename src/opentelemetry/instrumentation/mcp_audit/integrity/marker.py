# SPDX-License-Identifier: Apache-2.0
"""How many calls a start marker says are open (``docs/format.md`` 5): only counted here, never adopted."""

from __future__ import annotations

from typing import Final

from .reading import open_inside

SLOT_BYTES: Final = 1024
MAX_SLOTS: Final = 4096 + 1
"""The header and as many calls as a process marks."""
_TAKEN: Final = b"MCA1"


def open_calls(path: str) -> int:
    """Slots that are taken, the header (slot 0) not counted. Raises OSError."""
    count = 0
    with open_inside(path) as file:
        for slot in range(MAX_SLOTS):
            data = file.read(SLOT_BYTES)
            if len(data) < len(_TAKEN):
                break
            count += slot > 0 and data.startswith(_TAKEN)
    return count
