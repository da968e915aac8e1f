# SPDX-License-Identifier: Apache-2.0
"""Asynchronous contexts that several tests of one event loop share, each entered once and left at the end.

Each is held by a task of its own, because what the SDKs' clients enter must be left in the same task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any


class Kept:
    """What was entered so far, by name."""

    def __init__(self) -> None:
        self._found: dict[str, asyncio.Future[Any]] = {}
        self._holders: list[asyncio.Task[None]] = []
        self._over = asyncio.Event()

    async def get(self, name: str, make: Callable[[], AbstractAsyncContextManager[Any]]) -> Any:
        """What the context of this name gave when it was entered, which is done the first time; raises as that did."""
        if name not in self._found:
            self._found[name] = asyncio.get_running_loop().create_future()
            self._holders.append(asyncio.ensure_future(self._hold(self._found[name], make)))
        return await self._found[name]

    async def _hold(self, entered: asyncio.Future[Any], make: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
        try:
            async with make() as given:
                entered.set_result(given)
                await self._over.wait()
        except Exception as error:
            if entered.done():
                raise
            entered.set_exception(error)

    async def leave(self) -> None:
        """Leave all of them; raises what one of them raised."""
        self._over.set()
        await asyncio.gather(*self._holders)
