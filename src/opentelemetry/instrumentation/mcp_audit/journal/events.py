# SPDX-License-Identifier: Apache-2.0
"""The journal's own records: what its streams, its ledger and the instrumentation went through. No call stands behind them.

All are ``mcp_audit.lifecycle`` records told apart by their kind, and ``mcp_audit.gap`` (``docs/format.md`` 4 and 5).
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Final, Literal

from opentelemetry.instrumentation.mcp_audit.record.attributes import (
    AUDIT_ACTION,
    AUDIT_ACTOR_ID,
    AUDIT_ACTOR_TYPE,
    AUDIT_OUTCOME,
    AUDIT_RECORD_ID,
    AUDIT_SCHEMA_VERSION,
    BOOT_ID,
    EVENT_GAP,
    EVENT_HEARTBEAT,
    EVENT_LIFECYCLE,
    GAP_COUNT,
    GAP_FROM,
    GAP_MODE,
    GAP_REASON,
    GAP_TO,
    LIFECYCLE_KIND,
    POLICY_HASH,
    PROCESS_PID,
    PROCESS_START_TIME,
    RESOURCE_HASH,
    SCHEMA_VERSION,
    SETTINGS_HASH,
    STREAM_COUNT,
    STREAM_FILE,
    STREAM_HEAD,
    STREAM_ID,
    STREAM_OPEN_CALLS,
    STREAM_PREVIOUS_HASH,
    STREAM_PREVIOUS_ID,
    STREAM_REASON,
    STREAM_TORN_BYTES,
    VERSIONS,
    AttributeValue,
)
from opentelemetry.instrumentation.mcp_audit.record.ids import uuid7
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord


def opened(
    *,
    file: str,
    resource_hash: str,
    policy_hash: str,
    settings_hash: str,
    versions: Sequence[str],
    boot_id: str,
    process_start: str,
    previous: tuple[str, str | None] | None,
) -> AuditRecord:
    """The first record of a segment: what was in force, who writes, and which stream this process wrote before."""
    attributes: dict[str, AttributeValue] = {
        LIFECYCLE_KIND: "opened",
        STREAM_FILE: file,
        RESOURCE_HASH: resource_hash,
        POLICY_HASH: policy_hash,
        SETTINGS_HASH: settings_hash,
        VERSIONS: list(versions),
        PROCESS_PID: os.getpid(),
        PROCESS_START_TIME: process_start,
    }
    if boot_id:
        attributes[BOOT_ID] = boot_id
    if previous is not None:
        attributes[STREAM_PREVIOUS_ID] = previous[0]
        if previous[1] is not None:
            attributes[STREAM_PREVIOUS_HASH] = previous[1]
    return _event(EVENT_LIFECYCLE, "START", "success", attributes)


def closed(file: str) -> AuditRecord:
    """The last record of a segment that was closed well."""
    return _event(EVENT_LIFECYCLE, "STOP", "success", {LIFECYCLE_KIND: "closed", STREAM_FILE: file})


Turn = Literal["instrumented", "uninstrumented", "reconfigured", "stopped"]
_TURNS: Final[dict[Turn, str]] = {
    "instrumented": "START",
    "uninstrumented": "STOP",
    "reconfigured": "UPDATE",
    "stopped": "STOP",
}


def turned(kind: Turn, policy_hash: str, settings_hash: str) -> AuditRecord:
    """The audit of this process began, changed or ended, with what is in force from here on (or was until here)."""
    attributes: dict[str, AttributeValue] = {
        LIFECYCLE_KIND: kind,
        POLICY_HASH: policy_hash,
        SETTINGS_HASH: settings_hash,
        PROCESS_PID: os.getpid(),
    }
    return _event(EVENT_LIFECYCLE, _TURNS[kind], "success", attributes)


def ledger_begun(file: str, resource_hash: str) -> AuditRecord:
    """The first record of the ledger itself."""
    attributes: dict[str, AttributeValue] = {
        LIFECYCLE_KIND: "opened",
        STREAM_FILE: file,
        RESOURCE_HASH: resource_hash,
    }
    return _event(EVENT_LIFECYCLE, "START", "success", attributes)


def ledger_opened(stream_id: str, file: str, head: str, boot_id: str) -> AuditRecord:
    """Ledger: a segment exists; ``head`` is the hash of its first record."""
    attributes = _segment("opened", stream_id, file, 1, head)
    if boot_id:
        attributes[BOOT_ID] = boot_id
    return _event(EVENT_LIFECYCLE, "START", "success", attributes)


def ledger_closed(stream_id: str, file: str, count: int, head: str) -> AuditRecord:
    """Ledger: a segment has its end; ``count`` and ``head`` are its last record's number and hash."""
    return _event(EVENT_LIFECYCLE, "STOP", "success", _segment("closed", stream_id, file, count, head))


Adoption = Literal["killed", "power", "sealed", "ended"]


def ledger_adopted(
    stream_id: str,
    file: str,
    count: int,
    head: str,
    *,
    torn_bytes: int,
    reason: Adoption,
    open_calls: int,
    boot_id: str,
) -> AuditRecord:
    """Ledger: a segment that nobody closed goes no further than ``count`` and ``head``.

    ``torn_bytes`` behind them were set aside. ``open_calls`` of its process were answered for with ``abandoned``.
    ``boot_id`` is that of the segment's writer.
    """
    attributes = _segment("adopted", stream_id, file, count, head)
    attributes |= {STREAM_REASON: reason, STREAM_TORN_BYTES: torn_bytes, STREAM_OPEN_CALLS: open_calls}
    if boot_id:
        attributes[BOOT_ID] = boot_id
    return _event(EVENT_LIFECYCLE, "UPDATE", "success", attributes)


def ledger_pruned(stream_id: str, file: str, count: int, head: str, reason: str) -> AuditRecord:
    """Ledger: a segment is about to be deleted, and why that is right."""
    attributes = _segment("pruned", stream_id, file, count, head)
    attributes[STREAM_REASON] = reason
    return _event(EVENT_LIFECYCLE, "DELETE", "success", attributes)


def _segment(kind: str, stream_id: str, file: str, count: int, head: str) -> dict[str, AttributeValue]:
    return {LIFECYCLE_KIND: kind, STREAM_ID: stream_id, STREAM_FILE: file, STREAM_COUNT: count, STREAM_HEAD: head}


def gap(count: int, reason: str, since: int, until: int) -> AuditRecord:
    """``count`` records are missing that should stand before this one. Times in nanoseconds since the epoch."""
    return _event(
        EVENT_GAP,
        "UPDATE",
        "failure",
        {
            GAP_COUNT: count,
            GAP_REASON: reason.encode("utf-8", "replace").decode()[:1024],
            GAP_MODE: "journaled",
            GAP_FROM: str(since),
            GAP_TO: str(until),
        },
    )


def heartbeat() -> AuditRecord:
    """Somebody looked whether records arrive."""
    return _event(EVENT_HEARTBEAT, "EXECUTE", "success", {PROCESS_PID: os.getpid()})


def _event(name: str, action: str, outcome: str, attributes: dict[str, AttributeValue]) -> AuditRecord:
    now = time.time_ns()
    return AuditRecord(
        name,
        now,
        now,
        {
            AUDIT_RECORD_ID: uuid7(),
            AUDIT_ACTION: action,
            AUDIT_OUTCOME: outcome,
            AUDIT_ACTOR_ID: "system",
            AUDIT_ACTOR_TYPE: "system",
            AUDIT_SCHEMA_VERSION: SCHEMA_VERSION,
            **attributes,
        },
    )
