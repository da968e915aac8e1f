# SPDX-License-Identifier: Apache-2.0
"""The records of refusals: of one, and of many that were only counted. Plain functions of their arguments.

Nothing of a request's body and nothing of its ``Authorization`` header is in either.
"""

from __future__ import annotations

from typing import Final

from . import attributes as a
from .assemble import Facts, KeyedHash, put_client
from .content import Content
from .ids import uuid7
from .record import AuditRecord
from .refusal import Refusal, Source, Summary
from .subject import of_call, put_actor
from .wire import Wire

# The methods that the HTTP semantic conventions let stand as they are; whatever else a stranger sends is `_OTHER`.
_HTTP_METHODS: Final = frozenset("CONNECT DELETE GET HEAD OPTIONS PATCH POST PUT TRACE QUERY".split())


def denied(refusal: Refusal, facts: Facts, content: Content, keyed: KeyedHash) -> AuditRecord:
    """The ``access_denied`` record of one refusal. ``content`` must be fresh."""
    call = refusal.invocation
    verdict = a.DETAILS["denied"]
    values = of_call(facts, a.REFUSED, "denied", facts.duration_ns // 1000)
    wire = Wire(content, values)
    wire.fact(a.MCP_METHOD_NAME, call.method)
    if facts.request_id != facts.record_id:
        wire.text(a.REQUEST_ID, facts.request_id)
    scope = call.scope or {}
    wire.text(a.AUDIT_TARGET_ID, scope.get("path"))
    values[a.AUDIT_TARGET_TYPE] = a.REFUSED.target_type
    put_actor(wire, facts.actor)
    put_client(wire, call, facts)
    if call.session_id:
        values[a.MCP_SESSION_ID] = keyed(call.session_id)
    method = scope.get("method")
    values[a.HTTP_REQUEST_METHOD] = method if method in _HTTP_METHODS else "_OTHER"
    values[a.HTTP_RESPONSE_STATUS_CODE] = refusal.status
    values[a.ERROR_TYPE] = str(refusal.status)
    values[a.DECISION] = verdict.decision
    values[a.DECISION_BY] = refusal.decided_by
    values[a.DECISION_REASON] = refusal.reason
    if facts.bound and facts.bound.get("purpose"):
        wire.text(a.PURPOSE, facts.bound["purpose"])
        values[a.PURPOSE_SOURCE] = "declared"
    if content.redactions:
        values[a.REDACTIONS] = list(content.redactions)
    if content.truncated:
        values[a.TRUNCATED] = list(content.truncated)
    return AuditRecord(
        a.REFUSED.event, call.received, facts.ended, values, None, trace_id=facts.trace_id, span_id=facts.span_id
    )


def summarised(summary: Summary, content: Content) -> AuditRecord:
    """The ``summary`` record of refusals that were counted. ``content`` must be fresh."""
    source, kind, verdict = summary.source, summary.kind, a.DETAILS["denied"]
    known = source if source is not None else Source()
    values: dict[str, a.AttributeValue] = {
        a.AUDIT_RECORD_ID: uuid7(),
        a.AUDIT_ACTION: a.REFUSED.action,
        a.AUDIT_OUTCOME: verdict.outcome,
        a.AUDIT_ACTOR_ID: "anonymous",
        a.AUDIT_ACTOR_TYPE: known.actor_type or "user",
        a.AUDIT_SCHEMA_VERSION: a.SCHEMA_VERSION,
        a.SUMMARY_KIND: "refusals",
        a.SUMMARY_COUNT: summary.count,
        a.SUMMARY_FROM: str(summary.since),
        a.SUMMARY_TO: str(summary.until),
        a.SUMMARY_OTHERS: source is None,
        a.DECISION: verdict.decision,
        a.DECISION_BY: kind.decided_by,
        a.DECISION_REASON: kind.reason,
        a.HTTP_RESPONSE_STATUS_CODE: kind.status,
    }
    wire = Wire(content, values)
    wire.fact(a.AUDIT_ACTOR_ID, known.actor)
    wire.fact(a.AUDIT_SOURCE_ID, known.address)
    wire.fact(a.AUDIT_SOURCE_TYPE, known.address_type)
    return AuditRecord(a.EVENT_SUMMARY, summary.until, summary.until, values)
