# SPDX-License-Identifier: Apache-2.0
"""What a call that has only begun can be told by, should its process die in it: the attributes of its start marker.

They are those of an outcome record ``unknown``/``abandoned`` whose duration nobody knows: who, on what, by which rule.
Never content; what the caller says in them is redacted and cut by the same detectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import attributes as a
from .assemble import KeyedHash
from .content import Content
from .record import Actor, Invocation
from .recurring import Key, Recurrences, actor_key
from .subject import of_call, put_identity, put_method, put_target
from .wire import Wire


@dataclass(slots=True)
class OpenFacts:
    """What is known of a call when it begins, beside the request itself. ``request_id`` is ``record_id`` unless told."""

    record_id: str
    request_id: str
    actor: Actor
    level: a.Level
    rule: str
    policy_hash: str
    call_id: str | None = None


def open_call_attributes(
    call: Invocation,
    facts: OpenFacts,
    new_content: Callable[[], Content],
    keyed: KeyedHash,
    recurrences: Recurrences | None = None,
) -> dict[str, a.AttributeValue]:
    """The attributes of the record ``abandoned`` that a dead process's open call becomes.

    ``recurrences``: of markers only, made with the same rules, limits and ``keyed``; with them the same attributes are
    made sooner.
    """
    key = _key(call, facts) if recurrences is not None and facts.request_id == facts.record_id else None
    recurring = None if recurrences is None else recurrences.get(key)
    if recurring is not None:
        values = recurring.values.copy()
        values[a.AUDIT_RECORD_ID] = values[a.REQUEST_ID] = facts.record_id
        values[a.CALL_ID] = facts.call_id or facts.record_id
        values[a.DURATION_US] = 0
        return values
    method = a.METHODS.get(call.method, a.OTHER_METHOD)
    content = new_content()
    # A URI and a caller's own request id are masked with what the arguments give away, as in the record itself.
    masked = method.target_type == "resource" or facts.request_id != facts.record_id
    if masked and facts.level != "metadata" and "arguments" in call.params:
        content.member("arguments", call.params["arguments"])
        key = None
    values = _all(call, facts, content, keyed, method)
    if recurrences is not None and content.untouched:
        recurrences.keep(key, values)
    return values


def _all(
    call: Invocation, facts: OpenFacts, content: Content, keyed: KeyedHash, method: a.Method
) -> dict[str, a.AttributeValue]:
    values = of_call(facts, method, "abandoned", 0)
    wire = Wire(content, values)
    put_method(wire, call.method)
    if facts.request_id != facts.record_id:
        wire.text(a.REQUEST_ID, facts.request_id)
    put_target(wire, call, method)
    put_identity(wire, facts.actor)
    wire.fact(a.TENANT_ID, facts.actor.tenant_id)
    if call.initiator is not None:
        values[a.INITIATOR] = call.initiator
    if call.session_id:
        values[a.MCP_SESSION_ID] = keyed(call.session_id)
    return values


def _key(call: Invocation, facts: OpenFacts) -> Key | None:
    """Everything that :func:`_all` looks at, but for the ids; None for a call that is not like others."""
    params, actor = call.params, actor_key(facts.actor)
    uri = params.get("uri")
    if actor is None or (uri is not None and "arguments" in params):
        return None
    return (
        call.method,
        call.role,
        params.get("name"),
        uri,
        *actor,
        facts.level,
        facts.rule,
        facts.policy_hash,
        call.session_id,
        call.initiator,
    )
