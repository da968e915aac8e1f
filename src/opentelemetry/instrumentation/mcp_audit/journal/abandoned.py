# SPDX-License-Identifier: Apache-2.0
"""The record of a call whose process died before it ended: a function of its slot, so that it is the same whoever writes it."""

from __future__ import annotations

from opentelemetry.instrumentation.mcp_audit.record.attributes import (
    ACTOR_PROVENANCE,
    AUDIT_ACTION,
    AUDIT_ACTOR_ID,
    AUDIT_ACTOR_TYPE,
    AUDIT_OUTCOME,
    AUDIT_RECORD_ID,
    AUDIT_SCHEMA_VERSION,
    CALL_ID,
    DECISION,
    DETAILS,
    DURATION_US,
    LEVEL,
    MCP_METHOD_NAME,
    METHODS,
    OTHER_METHOD,
    OUTCOME_DETAIL,
    REQUEST_ID,
    AttributeValue,
)
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord

from .open_call import OpenCall


def abandoned(call: OpenCall) -> AuditRecord:
    """``unknown``/``abandoned``, at the time at which the call was received, without duration and body.

    What every outcome record must have and the slot lacks has a fixed value.
    """
    given = call.attributes
    record_id = given[AUDIT_RECORD_ID]
    method = given.get(MCP_METHOD_NAME, "unknown")
    verdict = DETAILS["abandoned"]
    attributes: dict[str, AttributeValue] = {
        AUDIT_ACTION: METHODS.get(str(method), OTHER_METHOD).action,
        AUDIT_ACTOR_ID: "unknown",
        AUDIT_ACTOR_TYPE: "user",
        AUDIT_SCHEMA_VERSION: "1.0",
        MCP_METHOD_NAME: method,
        ACTOR_PROVENANCE: "none",
        CALL_ID: record_id,
        REQUEST_ID: record_id,
        LEVEL: "metadata",
        **given,
        AUDIT_OUTCOME: verdict.outcome,
        OUTCOME_DETAIL: "abandoned",
        DECISION: verdict.decision,
        DURATION_US: 0,
    }
    return AuditRecord(call.event, call.received, call.received, attributes, None, call.trace_id, call.span_id)
