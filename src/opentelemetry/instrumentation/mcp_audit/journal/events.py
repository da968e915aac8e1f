# SPDX-License-Identifier: Apache-2.0
"""The journal's own records: a stream opened, a stream closed, a gap. No call stands behind them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from opentelemetry.instrumentation.mcp_audit.record.attributes import (
    AUDIT_ACTION,
    AUDIT_ACTOR_ID,
    AUDIT_ACTOR_TYPE,
    AUDIT_OUTCOME,
    AUDIT_RECORD_ID,
    AUDIT_SCHEMA_VERSION,
    BOOT_ID,
    EVENT_GAP,
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
    STREAM_FILE,
    STREAM_PREVIOUS_HASH,
    STREAM_PREVIOUS_ID,
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
