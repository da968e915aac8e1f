# SPDX-License-Identifier: Apache-2.0
"""What the application adds to the trail: ``bind`` for what follows in this context, ``annotate`` for the running call.

Both do nothing harmful where nothing is instrumented. Bindings are an immutable mapping in a context variable, so that
a task that inherits them cannot change its parent's. The running call is a mutable object in another one, so that a
tool in a worker thread (which runs in a copy of the context) still annotates the right record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar, Token
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .call import Call

# Keys under which HTTP hooks leave, in the ASGI scope of a request, what was bound and which OpenTelemetry context was
# current when that request came in. On mcp 1.x handlers run in the context of the request that created the session, so
# there the scope is the only place that tells one request's bindings from another's.
SCOPE_BOUND: Final = "mcp_audit.bound"
SCOPE_CONTEXT: Final = "mcp_audit.otel_context"

# More values than a record keeps of one list (they are cut, and marked as cut, when it is made).
_SEVERAL: Final = 1_000

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_bound: ContextVar[Mapping[str, Any]] = ContextVar("mcp_audit.bound", default=_NOTHING)
_call: ContextVar[Call | None] = ContextVar("mcp_audit.call", default=None)


def bind(
    *,
    user_id: str | None = None,
    user_email: str | None = None,
    user_roles: Sequence[str] | None = None,
    tenant_id: str | None = None,
    request_id: str | None = None,
    purpose: str | None = None,
) -> None:
    """Say who asks, and why, for every call that follows in this context (an ASGI middleware, a task, a tool).

    Values that are not given keep what was bound before. Called inside a tool it holds for the running call too.
    They are recorded as *declared*: an identity that the server verified from a token is not replaced.
    """
    given = {
        name: value
        for name, value in (
            ("user_id", user_id),
            ("user_email", user_email),
            ("user_roles", None if user_roles is None else _several(user_roles)),
            ("tenant_id", tenant_id),
            ("request_id", request_id),
            ("purpose", purpose),
        )
        if value is not None
    }
    merged = MappingProxyType({**_bound.get(), **given})
    _bound.set(merged)
    call = _call.get()
    if call is not None:
        call.bound = {**call.bound, **given}


def annotate(
    *,
    resources: Sequence[str] | None = None,
    data_subject: str | None = None,
    data_classes: Sequence[str] | None = None,
    data_sensitivity: str | None = None,
    purpose: str | None = None,
) -> None:
    """Add to the record of the running call what only the tool knows. Lists are joined to what was annotated before.

    ``data_subject`` is stored as a pseudonym (a keyed hash), never as given.
    """
    call = _call.get()
    if call is None:
        return
    call.annotate(
        resources=None if resources is None else _several(resources),
        data_subject=data_subject,
        data_classes=None if data_classes is None else _several(data_classes),
        data_sensitivity=data_sensitivity,
        purpose=purpose,
    )


def _several(values: Sequence[str] | str) -> tuple[str, ...]:
    """A list as given, or the one value that somebody gave in its place: a mistake here must not hurt a tool."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        return (str(values),)
    return tuple(str(value) for value in islice(values, _SEVERAL))


def current_request_id() -> str | None:
    """The ``mcp_audit.request.id`` of the running call, to pass on to what the tool calls; None outside a call."""
    call = _call.get()
    return None if call is None else call.request_id


def bound_here() -> Mapping[str, Any]:
    """What is bound in the current context."""
    return _bound.get()


def running_call() -> Call | None:
    """The call whose handler runs in the current context, None outside one."""
    return _call.get()


def enter_call(call: Call) -> tuple[Token[Call | None], Token[Mapping[str, Any]]]:
    """Make ``call`` the running one and its bindings the ones in force. Undo with :func:`leave_call`."""
    bound = call.bound
    # Our own proxies are around dicts that nobody changes: `bind` makes a new one.
    return _call.set(call), _bound.set(bound if type(bound) is MappingProxyType else MappingProxyType(dict(bound)))


def leave_call(tokens: tuple[Token[Call | None], Token[Mapping[str, Any]]]) -> None:
    """End what :func:`enter_call` began."""
    call, bound = tokens
    _call.reset(call)
    _bound.reset(bound)
