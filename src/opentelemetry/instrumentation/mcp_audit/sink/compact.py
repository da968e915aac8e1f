# SPDX-License-Identifier: Apache-2.0
"""Compact JSON text of a plain value, members in their order; by orjson where it can, which is some times as fast."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

_slow: Final[Callable[[Any], str]] = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def compact(value: Any) -> str:
    """The text. Raises ValueError (nan, a cycle), RecursionError, TypeError for what JSON does not know."""
    try:
        return _fast(value)
    except TypeError:
        # An integer over 64 bits, half a surrogate pair, deep nesting: the standard library writes them, or says why not.
        return _slow(value)


try:
    import orjson
except ImportError:
    _fast = _slow
else:

    def _fast(value: Any) -> str:
        return orjson.dumps(value).decode()
