# SPDX-License-Identifier: Apache-2.0
"""What to tell a Collector when a sink answers so. Pure.

A Collector's exporter tries again for 429, 502, 503 and 504 only, and drops what it holds for every other refusal, its
queue on the disk included (measured: a token that is wrong for six seconds costs all that was in flight).
"""

from __future__ import annotations

from typing import Final, Literal

Verdict = Literal["pass", "again", "keep"]

_AGAIN_BY_ITSELF: Final = frozenset((429, 502, 503, 504))
# It is about this very request, today and tomorrow.
_ABOUT_THE_REQUEST: Final = frozenset((400, 413, 422))


def verdict(status: int) -> Verdict:
    """``pass`` the answer on; have it sent ``again`` (503); or ``keep`` the request aside and say 200.

    A wrong token, a path that is not there yet, a redirect: another hour or another setting mends that.
    """
    if 200 <= status < 300 or status in _AGAIN_BY_ITSELF:
        return "pass"
    return "keep" if status in _ABOUT_THE_REQUEST else "again"
