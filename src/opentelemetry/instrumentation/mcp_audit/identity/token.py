# SPDX-License-Identifier: Apache-2.0
"""What a verified access token says of its bearer. The token itself is never kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .bounded import mapping, text, texts
from .chain import delegation_chain

# Where identity providers put the tenant: Entra ID, in-house ones, Auth0.
_TENANT_CLAIMS: Final = ("tid", "tenant", "tenant_id", "org_id")


@dataclass(frozen=True, slots=True)
class Token:
    """The facts of one token. ``id`` is its ``jti``, else a keyed hash of the token."""

    subject: str | None = None
    client_id: str | None = None
    issuer: str | None = None
    scopes: tuple[str, ...] = ()
    id: str | None = None
    email: str | None = None
    roles: tuple[str, ...] = ()
    tenant_id: str | None = None
    chain: tuple[str, ...] = ()

    @property
    def of_service(self) -> bool:
        """Whether the client speaks for itself: no subject, or (RFC 9068, client credentials) the client as subject."""
        return self.subject is None or self.subject == self.client_id


def verified_token(scope: Mapping[str, Any] | None, keyed: Callable[[str], str]) -> Token | None:
    """The token that the server verified for this HTTP request, from the ``user`` of its ASGI scope; None without one.

    ``user.access_token`` is what mcp's and fastmcp's bearer middleware leave there: ``client_id``, ``scopes``,
    ``token`` and, by version, ``subject`` and ``claims``.
    """
    token = getattr(scope.get("user"), "access_token", None) if scope is not None else None
    if token is None:
        return None
    claims = mapping(getattr(token, "claims", None))
    raw = getattr(token, "token", None)
    return Token(
        subject=text(getattr(token, "subject", None)) or text(claims.get("sub")),
        client_id=text(getattr(token, "client_id", None)) or text(claims.get("client_id")) or text(claims.get("azp")),
        issuer=text(claims.get("iss")),
        scopes=texts(getattr(token, "scopes", None)) or texts(claims.get("scope")),
        id=text(claims.get("jti")) or (keyed(raw) if isinstance(raw, str) and raw else None),
        email=text(claims.get("email")),
        roles=texts(claims.get("roles")),
        tenant_id=next((found for name in _TENANT_CLAIMS if (found := text(claims.get(name)))), None),
        chain=delegation_chain(claims),
    )
