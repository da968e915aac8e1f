# SPDX-License-Identifier: Apache-2.0
"""A sink that calls a function."""

from __future__ import annotations

from collections.abc import Callable

from .protocol import Entry


class CallableSink:
    """Hands every entry to ``function``."""

    def __init__(self, function: Callable[[Entry], object]) -> None:
        self._function = function

    def write(self, entry: Entry) -> None:
        self._function(entry)

    def close(self) -> None:
        return None
