# SPDX-License-Identifier: Apache-2.0
"""Tell a server on its process's stdin and stdout from one in memory: dispatch looks the same in both.

A context variable is set before ``stdio_server()`` starts its reader and stays set while the server runs inside it.
mcp 1.x and fastmcp 2 and 3 handle requests in tasks of the server that runs there; mcp 2.x handles each in the context
of the reader task. Both inherit it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final

from .delivery import Connection
from .running import Switch, Wrapper

_pipe: Final[ContextVar[bool]] = ContextVar("mcp_audit.pipe", default=False)


def on_pipe() -> bool:
    """Whether the current context serves the process's own stdin and stdout."""
    return _pipe.get()


def stdio_server(switch: Switch) -> Wrapper:
    """Wrapper of ``mcp.server.stdio.stdio_server() -> async context manager``."""

    def marked(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        manager = wrapped(*args, **kwargs)
        return _OnPipe(manager, switch) if switch.on else manager

    return marked


class _OnPipe(AbstractAsyncContextManager[Any, Any]):
    """The SDK's context manager, entered with the mark set."""

    def __init__(self, manager: Any, switch: Switch) -> None:
        self._connection = Connection(manager, switch)
        self._before = False

    async def __aenter__(self) -> Any:
        self._before = _pipe.get()
        _pipe.set(True)
        try:
            return await self._connection.__aenter__()
        except BaseException:
            _pipe.set(self._before)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any:
        try:
            return await self._connection.__aexit__(kind, error, trace)
        finally:
            # Set, not reset by token: a test's fixture may leave in another context than it entered in.
            _pipe.set(self._before)
