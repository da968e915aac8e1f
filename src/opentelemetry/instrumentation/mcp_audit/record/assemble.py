# SPDX-License-Identifier: Apache-2.0
"""From the facts of one call to its record: which fact becomes which attribute. A plain function of its arguments."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from . import attributes as a
from .content import Content
from .record import Actor, AuditRecord, Invocation, Outcome

KeyedHash = Callable[[str], str]
# A counter is not content: ids below this need no detector (card numbers have 13 digits and more).
_PLAIN_IDS: Final = 10**12


@dataclass(slots=True)
class Facts:
    """What is known of a call when it has ended, beside the request and its outcome themselves."""

    record_id: str
    request_id: str
    actor: Actor
    level: a.Level
    rule: str
    policy_hash: str
    ended: int
    duration_ns: int
    salt: str
    trace_id: str = ""
    span_id: str = ""
    user_agent: str | None = None
    client_address: str | None = None
    client_port: int | None = None
    source_type: str | None = None
    bound: Mapping[str, Any] | None = None
    annotations: Mapping[str, Any] | None = None


def assemble(call: Invocation, outcome: Outcome, facts: Facts, content: Content, keyed: KeyedHash) -> AuditRecord:
    """The record of one call, at the level that the policy gave it. ``content`` must be fresh: it holds one call's masks."""
    method = a.METHODS.get(call.method, a.OTHER_METHOD)
    verdict = a.DETAILS[outcome.detail]
    level = facts.level
    body = digest = request_bytes = None
    # Content comes first: attributes must be masked with what was redacted in it.
    if level != "metadata" and "arguments" in call.params:
        content.member("arguments", call.params["arguments"])
        plain = content.plain["arguments"]
        request_bytes = len(plain.encode())
        digest = keyed(plain)
    if level == "request_response":
        if outcome.result is not None:
            content.member("result", outcome.result() if callable(outcome.result) else outcome.result)
        if outcome.error is not None:
            content.member("error", dict(outcome.error))

    values: dict[str, a.AttributeValue] = {
        a.AUDIT_RECORD_ID: facts.record_id,
        a.AUDIT_ACTION: method.action,
        a.AUDIT_OUTCOME: verdict.outcome,
        a.AUDIT_SCHEMA_VERSION: a.SCHEMA_VERSION,
        a.OUTCOME_DETAIL: outcome.detail,
        a.DECISION: verdict.decision,
        a.DURATION_US: facts.duration_ns // 1000,
        a.CALL_ID: facts.record_id,
        a.REQUEST_ID: facts.request_id,
        a.LEVEL: level,
        a.POLICY_RULE: facts.rule,
        a.POLICY_HASH: facts.policy_hash,
    }
    wire = _Wire(content, values)
    if call.method in a.METHODS:
        values[a.MCP_METHOD_NAME] = call.method
    else:
        wire.fact(a.MCP_METHOD_NAME, call.method)
    if facts.request_id != facts.record_id:
        wire.text(a.REQUEST_ID, facts.request_id)
    _target(wire, call, method)
    _actor(wire, facts.actor)
    _client(wire, call, facts)
    if call.session_id:
        values[a.MCP_SESSION_ID] = keyed(call.session_id)
    wire.fact(a.ERROR_TYPE, outcome.error_type or verdict.error_type)
    wire.fact(a.RPC_RESPONSE_STATUS_CODE, outcome.status_code)
    wire.fact(a.DECISION_BY, outcome.decided_by)
    wire.text(a.DECISION_REASON, outcome.reason)
    if outcome.result_count is not None:
        values[a.RESULT_COUNT] = outcome.result_count
    if request_bytes is not None and digest is not None:
        values[a.REQUEST_BYTES] = request_bytes
        values[a.REQUEST_DIGEST] = digest
    _declared(wire, facts.bound or {}, facts.annotations or {}, keyed)
    # The body after the attributes: a secret that shows only in one of them is masked in it too.
    if level in ("request", "request_response"):
        body = content.body(facts.salt)
    if body is not None:
        values[a.CONTENT_DIGEST] = content_digest(body)
    # Last: everything above may have added to them.
    if content.redactions:
        values[a.REDACTIONS] = list(content.redactions)
    if content.truncated:
        values[a.TRUNCATED] = list(content.truncated)
    return AuditRecord(method.event, call.received, facts.ended, values, body, facts.trace_id, facts.span_id)


def content_digest(body: str) -> str:
    """SHA-256 over the UTF-8 bytes of the body's text."""
    return hashlib.sha256(body.encode()).hexdigest()


class _Wire:
    """Puts values that others chose into the record: cleaned, masked, bounded, and only when they are there."""

    def __init__(self, content: Content, values: dict[str, a.AttributeValue]) -> None:
        self._content = content
        self.values = values

    def text(self, name: str, value: object) -> None:
        """Said by the caller or its content: redacted, and masked where it repeats a secret."""
        if value is not None and value != "":
            self.values[name] = self._content.attribute(name, value if isinstance(value, str) else str(value))

    def texts(self, name: str, values: Sequence[str]) -> None:
        if values:
            self.values[name] = self._content.attributes(name, values)

    def fact(self, name: str, value: object) -> None:
        """Who acted, from where, on what: redacted by shape, but not masked by what the arguments hold."""
        if value is not None and value != "":
            text = value if isinstance(value, str) else str(value)
            self.values[name] = self._content.attribute(name, text, masked=False)

    def facts(self, name: str, values: Sequence[str]) -> None:
        if values:
            self.values[name] = self._content.attributes(name, values, masked=False)


def _target(wire: _Wire, call: Invocation, method: a.Method) -> None:
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


def _actor(wire: _Wire, actor: Actor) -> None:
    wire.fact(a.AUDIT_ACTOR_ID, actor.id or "unknown")
    wire.values.setdefault(a.AUDIT_ACTOR_ID, "unknown")
    wire.values[a.AUDIT_ACTOR_TYPE] = actor.type
    wire.values[a.ACTOR_PROVENANCE] = actor.provenance
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


def _client(wire: _Wire, call: Invocation, facts: Facts) -> None:
    wire.text(a.CLIENT_NAME, call.client_name)
    wire.text(a.CLIENT_VERSION, call.client_version)
    wire.fact(a.MCP_PROTOCOL_VERSION, call.protocol_version)
    if type(call.request_id) is int and abs(call.request_id) < _PLAIN_IDS:
        wire.values[a.JSONRPC_REQUEST_ID] = str(call.request_id)
    else:
        wire.text(a.JSONRPC_REQUEST_ID, call.request_id)
    wire.text(a.USER_AGENT_ORIGINAL, facts.user_agent)
    if call.transport is not None:
        wire.values[a.NETWORK_TRANSPORT] = call.transport
    if facts.client_address:
        wire.fact(a.CLIENT_ADDRESS, facts.client_address)
        wire.fact(a.AUDIT_SOURCE_ID, facts.client_address)
        wire.fact(a.AUDIT_SOURCE_TYPE, facts.source_type)
    if facts.client_port is not None:
        wire.values[a.CLIENT_PORT] = facts.client_port


def _declared(wire: _Wire, bound: Mapping[str, Any], annotations: Mapping[str, Any], keyed: KeyedHash) -> None:
    if annotations.get("purpose"):
        wire.text(a.PURPOSE, annotations["purpose"])
        wire.values[a.PURPOSE_SOURCE] = "annotated"
    elif bound.get("purpose"):
        wire.text(a.PURPOSE, bound["purpose"])
        wire.values[a.PURPOSE_SOURCE] = "declared"
    wire.texts(a.RESOURCES, annotations.get("resources") or ())
    wire.texts(a.DATA_CLASSES, annotations.get("data_classes") or ())
    wire.text(a.DATA_SENSITIVITY, annotations.get("data_sensitivity"))
    if annotations.get("data_subject"):
        wire.values[a.DATA_SUBJECT] = keyed(str(annotations["data_subject"]))
