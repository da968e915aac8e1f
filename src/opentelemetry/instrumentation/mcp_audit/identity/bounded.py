# SPDX-License-Identifier: Apache-2.0
"""Claims and headers are chosen by others: these take only what has the expected type, and only so much of it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

TEXT_LIMIT: Final = 1024
LIST_LIMIT: Final = 64


def text(value: object) -> str | None:
    """``value`` as non-empty text of at most 1,024 characters; numbers in digits; None for any other type."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        # Digits of a huge integer cost quadratic time, and Python refuses them beyond a limit.
        return str(value) if value.bit_length() <= 128 else None
    if isinstance(value, str):
        return value[:TEXT_LIMIT].strip() or None
    return None


def texts(value: object) -> tuple[str, ...]:
    """The texts in a list, or the words of one text (the form of OAuth's ``scope``), at most 64."""
    if isinstance(value, str):
        items: list[Any] = value[: TEXT_LIMIT * LIST_LIMIT].split()
    elif isinstance(value, (list, tuple, set, frozenset)):
        items = list(islice(value, LIST_LIMIT))
    else:
        return ()
    return tuple(found for found in map(text, items[:LIST_LIMIT]) if found is not None)


def mapping(value: object) -> Mapping[Any, Any]:
    """``value`` if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}
