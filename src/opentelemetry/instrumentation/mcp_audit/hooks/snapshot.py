# SPDX-License-Identifier: Apache-2.0
"""Keep what was asked: a tool may change its arguments while it runs, and the record is made when it has ended.

Both SDK generations hand the objects that came with the message to low-level handlers (``arguments.pop("password")``
is common), so the hooks keep copies of the containers; the leaves of JSON cannot be changed.
"""

from __future__ import annotations

from typing import Any, Final

# Twice what a record keeps of one message (10,000 nodes, depth 32). Beyond it the originals stand: the time that a
# hostile message costs is bounded, and what lies there is cut from the record anyway.
_NODES: Final = 20_000
_DEPTH: Final = 64


def snapshot(value: Any) -> Any:
    """``value`` with every dict and list in it copied, up to 20,000 nodes and depth 64."""
    kind = type(value)
    return _Copier().copy(value, _DEPTH) if kind is dict or kind is list else value


class _Copier:
    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = _NODES

    def copy(self, value: Any, depth: int) -> Any:
        self.left -= len(value)
        if self.left < 0 or depth == 0:
            return value
        if type(value) is dict:
            made = value.copy()
            for key, item in value.items():
                kind = type(item)
                if kind is dict or kind is list:
                    made[key] = self.copy(item, depth - 1)
            return made
        return [self.copy(item, depth - 1) if (kind := type(item)) is dict or kind is list else item for item in value]
