# SPDX-License-Identifier: Apache-2.0
"""``AuditMiddleware`` for mcp 2.x: the audit trail of one server, in its own list of middleware and without a patch.

.. code:: python

    from mcp.server.mcpserver import MCPServer
    from opentelemetry.instrumentation import mcp_audit

    server = MCPServer("datahub", middleware=[mcp_audit.AuditMiddleware(level="request_response")])
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from .hooks.middleware import of_mcp
from .instrumentor import start_explicitly


class AuditMiddleware:
    """Records every request that reaches the middleware of an ``MCPServer`` or a low-level ``Server`` of mcp 2.x.

    ``options`` are those of :meth:`McpAuditInstrumentor.instrument`; a wrong one raises
    :class:`~.settings.SettingsError`. All middlewares and the hooks of a process share one journal and its settings.
    Beside the hooks (``opentelemetry-instrument``, ``run``, ``instrument()``) it records nothing twice.

    What stands outside of a middleware it cannot see, and the hooks do: what another middleware further out refuses or
    changes (put it first), the SDK's own checks before dispatch, the reason behind an ``isError`` answer (all are
    ``tool_error``; no ``unknown_tool``, ``invalid_arguments`` or ``invalid_output``), and whether the server speaks over
    stdio or in memory (the actor of both is ``anonymous`` unless ``bind`` or ``identify`` says who).
    """

    def __init__(self, **options: Any) -> None:
        self._switch = start_explicitly(options)

    async def __call__(self, ctx: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
        """The SDK's ``ServerMiddleware``."""
        return await of_mcp(self._switch, ctx, call_next)
