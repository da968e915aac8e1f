# SPDX-License-Identifier: Apache-2.0
"""``FastMCPAuditMiddleware`` for fastmcp 2, 3 and 4: the audit trail of one server without a patch.

.. code:: python

    from fastmcp import FastMCP
    from opentelemetry.instrumentation import mcp_audit

    server = FastMCP("datahub", middleware=[mcp_audit.FastMCPAuditMiddleware()])

The one module of this package that imports an SDK when it is imported: fastmcp wants its own class as a base. It is
imported when somebody asks for the name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastmcp.server.middleware import Middleware

from .hooks.middleware import of_fastmcp
from .instrumentor import start_explicitly


class FastMCPAuditMiddleware(Middleware):  # type: ignore[misc]
    """Records every request that reaches the middleware of a ``FastMCP`` server, also ``server.call_tool()`` in process.

    ``options`` are those of :meth:`McpAuditInstrumentor.instrument`; a wrong one raises
    :class:`~.settings.SettingsError`. All middlewares and the hooks of a process share one journal and its settings.
    Beside the hooks (``opentelemetry-instrument``, ``run``, ``instrument()``) it records nothing twice; mounted servers
    that have one too count once.

    Put it first. What it cannot see, and the hooks do: what another middleware further out refuses; on fastmcp 2 and 3
    malformed params, unknown methods, ``ping`` and completions, who ended a call that was cancelled (``cancelled`` even
    when the client had gone), output that fails its schema, and what ASGI middleware bound with ``bind``; on fastmcp 2
    whether it speaks over stdio or in memory (the actor of both is ``anonymous`` there).
    """

    def __init__(self, **options: Any) -> None:
        self._switch = start_explicitly(options)

    async def __call__(self, context: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
        """fastmcp calls this once a message, before the handlers by name."""
        return await of_fastmcp(self._switch, context, call_next)
