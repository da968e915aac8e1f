# SPDX-License-Identifier: Apache-2.0
"""A server with a tool whose answer cannot be made text: a lone surrogate is no UTF-8."""

from __future__ import annotations

from typing import Any

import stack


def unsayable() -> str:
    """Text that is no UTF-8."""
    return "\ud800"


def server(*, auth: bool = False) -> Any:
    """The server of ``stack.py`` with the tool above."""
    made = stack.server(auth=auth)
    made.tool(**({} if stack.FASTMCP else {"structured_output": False}))(unsayable)
    return made


if __name__ == "__main__":
    stack.serve_stdio(server())
