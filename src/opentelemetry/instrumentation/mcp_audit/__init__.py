# SPDX-License-Identifier: Apache-2.0
"""A compliance-grade audit trail for any Python MCP server.

``opentelemetry-instrument python server.py`` audits a server that nobody edits. In code the same is:

.. code:: python

    from opentelemetry.instrumentation import mcp_audit

    mcp_audit.McpAuditInstrumentor().instrument()

``bind`` and ``annotate`` add to the records what only the application knows. Importing this module is cheap: what needs
more is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .context import annotate, bind, current_request_id
from .version import __version__

if TYPE_CHECKING:
    # Not in `__all__`: `from … import *` must not want fastmcp.
    from .fastmcp_middleware import FastMCPAuditMiddleware as FastMCPAuditMiddleware
    from .instrumentor import McpAuditInstrumentor
    from .middleware import AuditMiddleware
    from .record.record import Actor, Invocation
    from .settings import SettingsError
    from .sinks.callable import CallableSink
    from .sinks.file import FileSink
    from .sinks.protocol import Entry, Sink
    from .sinks.queued import QueuedSink

__all__ = [
    "Actor",
    "AuditMiddleware",
    "CallableSink",
    "Entry",
    "FileSink",
    "Invocation",
    "McpAuditInstrumentor",
    "QueuedSink",
    "SettingsError",
    "Sink",
    "__version__",
    "annotate",
    "bind",
    "current_request_id",
]

_LAZY = {
    "AuditMiddleware": "middleware",
    "FastMCPAuditMiddleware": "fastmcp_middleware",
    "McpAuditInstrumentor": "instrumentor",
    "Actor": "record.record",
    "Invocation": "record.record",
    "SettingsError": "settings",
    "CallableSink": "sinks.callable",
    "FileSink": "sinks.file",
    "Entry": "sinks.protocol",
    "Sink": "sinks.protocol",
    "QueuedSink": "sinks.queued",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
