# SPDX-License-Identifier: Apache-2.0
"""Who acted, by which method, on what: the attributes that a record and the marker of an open call have in common."""

from __future__ import annotations

from typing import Protocol

from . import attributes as a
from .record import Actor, Invocation
from .wire import Wire


class CallFacts(Protocol):
    """What is known of a call beside its request, from its beginning on."""

    record_id: str
    request_id: str
    call_id: str | None
    level: a.Level
    rule: str
    policy_hash: str


def of_call(facts: CallFacts, method: a.Method, detail: a.Detail, duration_us: int) -> dict[str, a.AttributeValue]:
    """What every outcome record of a call says that nobody outside chose."""
    return {
        **of_request(facts, method, a.DETAILS[detail].outcome),
        a.OUTCOME_DETAIL: detail,
        a.DURATION_US: duration_us,
    }


def of_request(facts: CallFacts, method: a.Method, outcome: a.AuditOutcome) -> dict[str, a.AttributeValue]:
    """What every record about a request says that nobody outside chose."""
    return {
        a.AUDIT_RECORD_ID: facts.record_id,
        a.AUDIT_ACTION: method.action,
        a.AUDIT_OUTCOME: outcome,
        a.AUDIT_SCHEMA_VERSION: a.SCHEMA_VERSION,
        a.CALL_ID: facts.call_id or facts.record_id,
        a.REQUEST_ID: facts.request_id,
        a.LEVEL: facts.level,
        a.POLICY_RULE: facts.rule,
        a.POLICY_HASH: facts.policy_hash,
    }


def put_method(wire: Wire, method: str) -> None:
    """The method's name; of one that is in no table, as careful as with anything that a caller says."""
    if method in a.METHODS:
        wire.values[a.MCP_METHOD_NAME] = method
    else:
        wire.fact(a.MCP_METHOD_NAME, method)
        # A caller may send "" as its method. An empty value is not written, and a record without a method is a violation.
        wire.values.setdefault(a.MCP_METHOD_NAME, "unknown")


def put_target(wire: Wire, call: Invocation, method: a.Method) -> None:
    """On what: the tool, prompt, resource, or the method itself."""
    if call.role == "client":
        wire.values[a.ROLE] = call.role
    target: object = call.method
    if method.target_type == "tool":
        target = call.params.get("name")
        wire.fact(a.GEN_AI_TOOL_NAME, target)
        wire.values[a.GEN_AI_OPERATION_NAME] = "execute_tool"
    elif method.target_type == "prompt":
        target = call.params.get("name")
        wire.fact(a.GEN_AI_PROMPT_NAME, target)
    elif method.target_type == "resource":
        target = call.params.get("uri")
        wire.text(a.MCP_RESOURCE_URI, target)
    if method.target_type == "resource":
        # A URI is content too: a template's parameters stand in it.
        wire.text(a.AUDIT_TARGET_ID, target)
    else:
        wire.fact(a.AUDIT_TARGET_ID, target)
    wire.values[a.AUDIT_TARGET_TYPE] = method.target_type


def put_identity(wire: Wire, actor: Actor) -> None:
    """Who: what every record says of its actor."""
    wire.fact(a.AUDIT_ACTOR_ID, actor.id or "unknown")
    wire.values.setdefault(a.AUDIT_ACTOR_ID, "unknown")
    wire.values[a.AUDIT_ACTOR_TYPE] = actor.type
    wire.values[a.ACTOR_PROVENANCE] = actor.provenance


def put_actor(wire: Wire, actor: Actor) -> None:
    """Who, with everything that is known of them."""
    put_identity(wire, actor)
    if actor.type == "user" and actor.provenance != "none":
        wire.fact(a.USER_ID, actor.id)
    wire.fact(a.USER_EMAIL, actor.email)
    wire.facts(a.USER_ROLES, actor.roles)
    wire.fact(a.TENANT_ID, actor.tenant_id)
    wire.fact(a.ACTOR_ISSUER, actor.issuer)
    wire.fact(a.ACTOR_CLIENT_ID, actor.client_id)
    wire.facts(a.ACTOR_SCOPES, actor.scopes)
    wire.fact(a.ACTOR_TOKEN_ID, actor.token_id)
    wire.facts(a.ACTOR_CHAIN, actor.chain)
