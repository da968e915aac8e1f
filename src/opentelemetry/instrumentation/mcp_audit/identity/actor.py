# SPDX-License-Identifier: Apache-2.0
"""Who made a request: the best proven answer first. Plain functions of what token, application and transport say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.instrumentation.mcp_audit.record.record import Actor

from .bounded import text, texts
from .headers import NOTHING, Headers
from .token import Token


def resolve(
    token: Token | None, bound: Mapping[str, Any], headers: Headers, *, on_pipe: bool, os_user: str | None
) -> Actor:
    """The :class:`Actor` of a request.

    Verified subject of the token; else what the application bound or a configured header says (declared); else the
    token's client (a verified service); else, on stdin and stdout, the user who owns the process; else nobody known.
    What only describes the actor (e-mail, roles, tenant) comes from the token where it says so, then as the application
    bound it. A tenant header counts only for an actor that is not verified.
    """
    actor = Actor()
    if token is None and not bound and headers is NOTHING:
        # Most calls in memory and on pipes.
        if on_pipe and os_user:
            actor.id, actor.provenance = os_user, "os"
        return actor
    if token is not None:
        actor.issuer = token.issuer
        actor.client_id = token.client_id
        actor.scopes = token.scopes
        actor.token_id = token.id
        actor.chain = token.chain
    actor.email = (token.email if token is not None else None) or text(bound.get("user_email"))
    actor.roles = (token.roles if token is not None else ()) or texts(bound.get("user_roles"))
    actor.tenant_id = (token.tenant_id if token is not None else None) or text(bound.get("tenant_id"))

    declared = text(bound.get("user_id")) or headers.user
    if token is not None and token.subject is not None:
        actor.id, actor.provenance = token.subject, "verified"
        actor.type = "service" if token.of_service else "user"
    elif declared is not None:
        actor.id, actor.provenance = declared, "declared"
    elif token is not None and token.client_id is not None:
        actor.id, actor.provenance, actor.type = token.client_id, "verified", "service"
    elif on_pipe and os_user:
        actor.id, actor.provenance = os_user, "os"
    if actor.provenance != "verified":
        # The client chooses its headers: beside a verified actor the tenant would look as proven as the actor.
        actor.tenant_id = actor.tenant_id or headers.tenant_id
    return actor
