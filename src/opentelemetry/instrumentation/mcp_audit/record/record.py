# SPDX-License-Identifier: Apache-2.0
"""The words that the parts of the package speak to each other: a request, how it ended, who asked, the record of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from opentelemetry.context import Context

from .attributes import AttributeValue, Detail, Role

if TYPE_CHECKING:
    from .recurring import Recurring

Provenance = Literal["verified", "declared", "os", "none"]
ActorType = Literal["user", "service", "system"]


@dataclass(slots=True)
class Actor:
    """Who made the request, and how far that is proven.

    ``provenance``: ``verified`` (a token that the server checked), ``declared`` (the application or a header said so),
    ``os`` (the user who owns the process), ``none``.
    """

    id: str = "anonymous"
    type: ActorType = "user"
    provenance: Provenance = "none"
    email: str | None = None
    roles: Sequence[str] = ()
    tenant_id: str | None = None
    issuer: str | None = None
    client_id: str | None = None
    scopes: Sequence[str] = ()
    token_id: str | None = None
    chain: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from, as far as its transport tells."""

    user_agent: str | None = None
    address: str | None = None
    port: int | None = None
    source_type: str | None = None
    request_id: str | None = None


@dataclass(slots=True)
class Invocation:
    """One request as it reached the server's dispatch, in the words of no SDK.

    ``params`` is what stood on the wire beside ``_meta`` (raw, never changed by us), ``meta`` is ``_meta``. ``scope`` is
    the ASGI scope of the HTTP request that carried this very message; it is the only source of identity over HTTP.
    ``transport`` is ``pipe`` (stdio), ``tcp`` (HTTP) or None (in memory). ``received`` is nanoseconds since the epoch,
    ``started`` nanoseconds of the monotonic clock. ``bound`` is what the application bound for this request
    (``mcp_audit.bind``). ``context`` is the OpenTelemetry context of the request, for stacks that make no span.
    ``role``: whose view this is, the server's or that of a client which made the request.
    ``initiator`` says who asked: None for the client, ``server`` for what the server asks its client (elicitation,
    sampling; then ``params["arguments"]`` is all that was asked), ``process`` for a tool called by code of the server's
    own process, on no wire. ``call_id`` is that of the call this request was made for, None for one of its own.
    """

    method: str
    params: Mapping[str, Any] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)
    request_id: str | int | None = None
    received: int = 0
    started: int = 0
    transport: Literal["pipe", "tcp"] | None = None
    session_id: str | None = None
    protocol_version: str | None = None
    client_name: str | None = None
    client_version: str | None = None
    scope: Mapping[str, Any] | None = None
    bound: Mapping[str, Any] = field(default_factory=dict)
    context: Context | None = None
    role: Role = "server"
    initiator: Literal["server", "process"] | None = None
    call_id: str | None = None


@dataclass(slots=True)
class Outcome:
    """How the request ended, as the caller saw it.

    ``result`` is the wire form of the answer; ``error`` is the JSON-RPC error object, or ``{"type", "message"}`` of the
    exception behind a tool error. Both are content: they are kept at level ``request_response`` only.
    """

    detail: Detail
    error_type: str | None = None
    status_code: str | None = None
    result: Any = None
    error: Mapping[str, Any] | None = None
    result_count: int | None = None
    decided_by: str | None = None
    reason: str | None = None


@dataclass(slots=True)
class AuditRecord:
    """One line of the trail before it has a number: flat attributes, the body as JSON text, times in nanoseconds.

    ``recurring`` and ``own``, where there are any, are the ``attributes`` in two: those that many records share, whose
    text whoever writes them may have from before, and the others.
    """

    event_name: str
    time: int
    observed: int
    attributes: dict[str, AttributeValue]
    body: str | None = None
    trace_id: str = ""
    span_id: str = ""
    recurring: Recurring | None = field(default=None, repr=False, compare=False)
    own: dict[str, AttributeValue] | None = field(default=None, repr=False, compare=False)
