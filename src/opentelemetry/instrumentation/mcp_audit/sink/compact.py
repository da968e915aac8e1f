# SPDX-License-Identifier: Apache-2.0
"""Compact JSON text of a plain value, members in their order, and back; by orjson where it can, some times as fast."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

_slow: Final[Callable[[Any], str]] = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def compact(value: Any) -> str:
    """The text. Raises ValueError (nan, a cycle), RecursionError, TypeError for what JSON does not know."""
    try:
        return _fast(value)
    except TypeError:
        # An integer over 64 bits, half a surrogate pair, deep nesting: the standard library writes them, or says why not.
        return _slow(value)


def tree_of(raw: bytes) -> Any:
    """The tree of a JSON text that is spelled as :func:`compact` spells it. None for any other, and for ``null``.

    To be spelled the same again, it can have no member twice, no number that does not fit and no broken character.
    """
    return _again(raw)


try:
    import orjson
except ImportError:
    _fast = _slow

    def _again(raw: bytes) -> Any:
        return None
else:

    def _fast(value: Any) -> str:
        return orjson.dumps(value).decode()

    def _again(raw: bytes) -> Any:
        try:
            tree = orjson.loads(raw)
            return tree if orjson.dumps(tree) == raw else None
        except (ValueError, TypeError):
            return None
