# SPDX-License-Identifier: Apache-2.0
"""Leave in each HTTP request's ASGI scope what was bound, and which OpenTelemetry context was current, when it came.

On mcp 1.x stateful sessions run every handler in the context of the request that created the session, so that ambient
context names another request, perhaps another user. The scope travels with the message and does not.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

from opentelemetry.context import get_current

from opentelemetry.instrumentation.mcp_audit.context import SCOPE_BOUND, SCOPE_CONTEXT, bound_here

from .running import Switch, Wrapper


def asgi_entry(switch: Switch) -> Wrapper:
    """Wrapper of ``StreamableHTTPServerTransport.handle_request`` and ``SseServerTransport.handle_post_message``.

    Both are ``async (self, scope, receive, send)`` and run in the context of the HTTP request.
    """

    def stashed(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if switch.on:
            scope = args[0] if args else kwargs.get("scope")
            if isinstance(scope, MutableMapping):
                switch.guarded("noting what is bound to a request", _stash, scope)
        return wrapped(*args, **kwargs)

    return stashed


def _stash(scope: MutableMapping[str, Any]) -> None:
    scope[SCOPE_BOUND] = bound_here()
    scope[SCOPE_CONTEXT] = get_current()
