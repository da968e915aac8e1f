# SPDX-License-Identifier: Apache-2.0
"""Who asks and from where, for the Auditor: joins the user's own ``identify``, token, bindings, headers, transport."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.instrumentation.mcp_audit.record.record import Actor, Invocation, Origin

from . import headers
from .actor import resolve
from .bounded import text
from .headers import HeaderNames, Network
from .token import verified_token

_NOWHERE: Final = Origin()


@dataclass(frozen=True, slots=True)
class IdentityOptions:
    """``identify`` is the user's (``Invocation -> Actor | None``), ``keyed`` hashes tokens that have no id,
    ``report`` gets a sentence when ``identify`` fails."""

    keyed: Callable[[str], str]
    os_user: str | None
    report: Callable[[str], None]
    identify: Callable[[Invocation], Actor | None] | None = None
    request_id_header: str = "x-request-id"
    tenant_header: str = "x-tenant-id"
    user_header: str = ""
    trusted_proxies: tuple[Network, ...] = ()


class CallerIdentity:
    """The Auditor's ``Identity``. Never raises: what cannot be read is not known."""

    def __init__(self, options: IdentityOptions) -> None:
        self._options = options
        self._names = HeaderNames(
            request_id=options.request_id_header.lower(),
            tenant=options.tenant_header.lower(),
            user=options.user_header.lower(),
        )

    def actor(self, call: Invocation, bound: Mapping[str, Any]) -> Actor:
        """Who made this request, with ``bound`` as it stood when the request ended."""
        options = self._options
        if options.identify is not None:
            identified = self._identified(call)
            if identified is not None:
                return identified
        # A client acts for whoever runs it, as a server does on a pipe.
        on_pipe = call.transport == "pipe" or call.role == "client"
        if call.scope is None and not bound:
            # In memory or on a pipe, and the application said nothing: no token, no header to read.
            return resolve(None, bound, headers.NOTHING, on_pipe=on_pipe, os_user=options.os_user)
        try:
            token = verified_token(call.scope, options.keyed)
            found = headers.read(call.scope, self._names)
            return resolve(token, bound, found, on_pipe=on_pipe, os_user=options.os_user)
        except Exception as error:  # a token object whose attributes raise: nobody is named rather than the wrong one
            options.report(f"the caller of a {call.method} could not be told: {type(error).__name__}")
            return Actor()

    def origin(self, call: Invocation) -> Origin:
        """Where this request came from. Its id may be declared by header or under the same name in ``_meta``."""
        if call.scope is None and not call.meta:
            return _NOWHERE
        try:
            found = headers.read(call.scope, self._names, self._options.trusted_proxies)
            return Origin(
                user_agent=found.user_agent,
                address=found.address,
                port=found.port,
                source_type=headers.source_type(found.address),
                request_id=found.request_id or text(call.meta.get(self._names.request_id)),
            )
        except Exception as error:  # an ASGI server with a scope of its own making
            self._options.report(f"the origin of a {call.method} could not be told: {type(error).__name__}")
            return Origin()

    def _identified(self, call: Invocation) -> Actor | None:
        """What the user's ``identify`` says; None when it knows nobody, fails, or returns no :class:`Actor`."""
        assert self._options.identify is not None
        try:
            actor = self._options.identify(call)
        except Exception as error:
            self._options.report(f"identify failed, going on without it: {type(error).__name__}")
            return None
        if actor is None or isinstance(actor, Actor):
            return actor
        self._options.report(f"identify returned a {type(actor).__name__}, not an Actor; going on without it")
        return None
