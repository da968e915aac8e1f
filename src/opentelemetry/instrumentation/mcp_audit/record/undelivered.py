# SPDX-License-Identifier: Apache-2.0
"""The event that follows an outcome record when the answer of that call could not be handed to its client."""

from __future__ import annotations

import time
from collections.abc import Callable

from . import attributes as a
from .assemble import Facts
from .content import Content
from .record import AuditRecord, Invocation
from .subject import of_request, put_actor, put_method, put_target
from .wire import Wire


def undelivered(
    call: Invocation,
    facts: Facts,
    error_type: str,
    certain: bool,
    content: Content,
    keyed: Callable[[str], str],
) -> AuditRecord:
    """The record ``mcp_audit.undelivered``: the same call id, a record id of its own (``facts.record_id``), no content.

    ``error_type`` names what the delivery failed with. ``certain``: False when the write was interrupted, so that the
    client may have got the answer all the same; the outcome is then ``unknown``, else ``failure``.
    """
    method = a.METHODS.get(call.method, a.OTHER_METHOD)
    values = of_request(facts, method, "failure" if certain else "unknown")
    wire = Wire(content, values)
    put_method(wire, call.method)
    wire.text(a.REQUEST_ID, facts.request_id)
    put_target(wire, call, method)
    put_actor(wire, facts.actor)
    if call.session_id:
        values[a.MCP_SESSION_ID] = keyed(call.session_id)
    wire.text(a.JSONRPC_REQUEST_ID, call.request_id)
    if call.transport is not None:
        values[a.NETWORK_TRANSPORT] = call.transport
    wire.fact(a.ERROR_TYPE, error_type)
    if content.redactions:
        values[a.REDACTIONS] = list(content.redactions)
    if content.truncated:
        values[a.TRUNCATED] = list(content.truncated)
    now = time.time_ns()
    return AuditRecord(a.EVENT_UNDELIVERED, now, now, values, None, facts.trace_id, facts.span_id)
