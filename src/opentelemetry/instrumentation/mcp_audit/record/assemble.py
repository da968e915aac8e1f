# SPDX-License-Identifier: Apache-2.0
"""From the facts of one call to its record: which fact becomes which attribute. A plain function of its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from . import attributes as a
from .content import Content, utf8_length
from .record import Actor, AuditRecord, Invocation, Outcome
from .recurring import Key, Recurrences, actor_key
from .sha256 import sha256_hex
from .subject import of_call, put_actor, put_method, put_target
from .wire import Wire

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
    call_id: str | None = None
    """Of the call that this request belongs to; None: it is a call of its own, whose id is that of its record."""
    related: Mapping[str, a.AttributeValue] | None = None
    """What tells to which other requests this one belongs, ready to be attributes (keyed hashes of ids)."""


def assemble(
    call: Invocation,
    outcome: Outcome,
    facts: Facts,
    content: Content,
    keyed: KeyedHash,
    recurrences: Recurrences | None = None,
) -> AuditRecord:
    """The record of one call, at the level that the policy gave it. ``content`` must be fresh: it holds one call's masks.

    With ``recurrences`` (of records made with the same rules, limits and ``keyed``) the same record is made sooner.
    """
    level = facts.level
    # Content comes first: attributes must be masked with what was redacted in it.
    if level != "metadata" and "arguments" in call.params:
        content.member("arguments", call.params["arguments"])
    if level == "request_response":
        if outcome.result is not None:
            content.member("result", outcome.result() if callable(outcome.result) else outcome.result)
        if outcome.error is not None:
            content.member("error", dict(outcome.error))

    key = None if recurrences is None else _recurrence_key(call, outcome, facts, content)
    recurring = None if recurrences is None else recurrences.get(key)
    values: dict[str, a.AttributeValue] = {}
    own: dict[str, a.AttributeValue] | None = None
    if recurring is None:
        values = _all(call, outcome, facts, content, keyed)
        if recurrences is not None and content.untouched:
            recurrences.keep(key, values)
    # The body after the attributes: a secret that shows only in one of them is masked in it too.
    body = content.body(facts.salt) if level in ("request", "request_response") else None
    if recurring is not None:
        own = more = _own(call, outcome, facts, content, keyed, body)
    else:
        more = values
        if body is not None:
            values[a.CONTENT_DIGEST] = content_digest(body)
    # Last: everything above may have added to them.
    if not content.untouched:
        if content.redactions:
            more[a.REDACTIONS] = list(content.redactions)
        if content.truncated:
            more[a.TRUNCATED] = list(content.truncated)
    if recurring is not None:
        values = {**recurring.values, **more}
    return AuditRecord(
        a.event_of(call.method, call.role),
        call.received,
        facts.ended,
        values,
        body,
        facts.trace_id,
        facts.span_id,
        recurring,
        own,
    )


def content_digest(body: str) -> str:
    """SHA-256 over the UTF-8 bytes of the body's text."""
    return sha256_hex(body.encode())


def _all(
    call: Invocation, outcome: Outcome, facts: Facts, content: Content, keyed: KeyedHash
) -> dict[str, a.AttributeValue]:
    """Every attribute but those of the body, one after the other: each may be masked with what those before gave away."""
    method = a.METHODS.get(call.method, a.OTHER_METHOD)
    verdict = a.DETAILS[outcome.detail]
    values = of_call(facts, method, outcome.detail, facts.duration_ns // 1000)
    values[a.DECISION] = verdict.decision
    wire = Wire(content, values)
    put_method(wire, call.method)
    if facts.request_id != facts.record_id:
        wire.text(a.REQUEST_ID, facts.request_id)
    put_target(wire, call, method)
    put_actor(wire, facts.actor)
    put_client(wire, call, facts)
    if call.session_id:
        values[a.MCP_SESSION_ID] = keyed(call.session_id)
    wire.fact(a.ERROR_TYPE, outcome.error_type or verdict.error_type)
    wire.fact(a.RPC_RESPONSE_STATUS_CODE, outcome.status_code)
    wire.fact(a.DECISION_BY, outcome.decided_by)
    wire.text(a.DECISION_REASON, outcome.reason)
    if outcome.result_count is not None:
        values[a.RESULT_COUNT] = outcome.result_count
    asked, answered = content.plain.get("arguments"), content.plain.get("result")
    if asked is not None:
        values[a.REQUEST_BYTES] = utf8_length(asked)
        values[a.REQUEST_DIGEST] = keyed(asked)
    if answered is not None:
        values[a.RESPONSE_BYTES] = utf8_length(answered)
    _declared(wire, facts.bound or {}, facts.annotations or {}, keyed)
    if call.initiator is not None:
        values[a.INITIATOR] = call.initiator
    if facts.related:
        values.update(facts.related)
    return values


def _recurrence_key(call: Invocation, outcome: Outcome, facts: Facts, content: Content) -> Key | None:
    """Everything that :func:`_all` looks at, but for what :func:`_own` adds; None for a call that is not like others."""
    request_id = call.request_id
    if (
        facts.annotations
        or facts.related
        or not content.untouched
        or not (facts.request_id == facts.record_id or content.is_clean(facts.request_id))
        or not (request_id is None or _is_counter(request_id) or content.is_clean(request_id))
    ):
        return None
    actor = actor_key(facts.actor)
    if actor is None:
        return None
    params, bound = call.params, facts.bound
    return (
        call.method,
        call.role,
        params.get("name"),
        params.get("uri"),
        *actor,
        facts.level,
        facts.rule,
        facts.policy_hash,
        facts.user_agent,
        facts.client_address,
        facts.source_type,
        call.client_name,
        call.client_version,
        call.protocol_version,
        call.transport,
        call.initiator,
        call.session_id,
        outcome.detail,
        outcome.error_type,
        outcome.status_code,
        outcome.decided_by,
        outcome.reason,
        bound.get("purpose") if bound else None,
    )


def _own(
    call: Invocation, outcome: Outcome, facts: Facts, content: Content, keyed: KeyedHash, body: str | None
) -> dict[str, a.AttributeValue]:
    """What no two calls share (``recurring.OWN``), by name. The caller's own words in it are known to be clean."""
    values: dict[str, a.AttributeValue] = {a.AUDIT_RECORD_ID: facts.record_id}
    if facts.client_port is not None:
        values[a.CLIENT_PORT] = facts.client_port
    if call.request_id is not None and call.request_id != "":
        values[a.JSONRPC_REQUEST_ID] = str(call.request_id)
    values[a.CALL_ID] = facts.call_id or facts.record_id
    if body is not None:
        values[a.CONTENT_DIGEST] = content_digest(body)
    values[a.DURATION_US] = facts.duration_ns // 1000
    asked, answered = content.plain.get("arguments"), content.plain.get("result")
    if asked is not None:
        values[a.REQUEST_BYTES] = utf8_length(asked)
        values[a.REQUEST_DIGEST] = keyed(asked)
    values[a.REQUEST_ID] = facts.request_id
    if answered is not None:
        values[a.RESPONSE_BYTES] = utf8_length(answered)
    if outcome.result_count is not None:
        values[a.RESULT_COUNT] = outcome.result_count
    return values


def _is_counter(value: object) -> bool:
    return type(value) is int and -_PLAIN_IDS < value < _PLAIN_IDS


def put_client(wire: Wire, call: Invocation, facts: Facts) -> None:
    """With what, and from where."""
    wire.text(a.CLIENT_NAME, call.client_name)
    wire.text(a.CLIENT_VERSION, call.client_version)
    wire.fact(a.MCP_PROTOCOL_VERSION, call.protocol_version)
    if _is_counter(call.request_id):
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


def _declared(wire: Wire, bound: Mapping[str, Any], annotations: Mapping[str, Any], keyed: KeyedHash) -> None:
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
