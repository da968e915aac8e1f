# SPDX-License-Identifier: Apache-2.0
"""How long to wait before the next try."""

from __future__ import annotations

from typing import Final

FIRST_SECONDS: Final = 0.5
MAX_SECONDS: Final = 30.0


def pause(failures: int, after: float, chance: float) -> float:
    """Seconds to wait after so many ``failures`` in a row; at least ``after``, which the other side asked for.

    Doubles up to half a minute. ``chance`` (0 to 1) takes off up to half, so that many processes do not come back at once.
    """
    capped = min(MAX_SECONDS, FIRST_SECONDS * 2.0 ** min(max(failures - 1, 0), 16))
    return max(after, capped * (1 - chance / 2))
