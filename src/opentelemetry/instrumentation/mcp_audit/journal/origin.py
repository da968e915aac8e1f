# SPDX-License-Identifier: Apache-2.0
"""Who writes a segment, and how that becomes its envelope and its first record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from opentelemetry.instrumentation.mcp_audit.integrity.canonical import resource_form, sha256_hex
from opentelemetry.instrumentation.mcp_audit.record.attributes import STREAM_ID, AttributeValue
from opentelemetry.instrumentation.mcp_audit.record.encode import Envelope, envelope
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord

from . import events, platform


@dataclass(frozen=True, slots=True)
class Origin:
    """What every segment says of its writer: resource (without the stream id), scope, hashes of policy and settings."""

    resource: Mapping[str, AttributeValue]
    scope_name: str
    scope_version: str
    policy_hash: str
    settings_hash: str
    versions: tuple[str, ...]

    def begin(self, stream_id: str, file: str, previous: tuple[str, str | None] | None) -> tuple[Envelope, AuditRecord]:
        """The envelope of a new segment and its first record. ``previous``: id and head of this process's last stream."""
        given = {key: value for key, value in self.resource.items() if key != STREAM_ID}
        resource: dict[str, AttributeValue] = {STREAM_ID: stream_id, **given}
        opened = events.opened(
            file=file,
            resource_hash=sha256_hex(resource_form(resource.items(), self.scope_name, self.scope_version)),
            policy_hash=self.policy_hash,
            settings_hash=self.settings_hash,
            versions=self.versions,
            boot_id=platform.boot_id(),
            process_start=platform.process_start(),
            previous=previous,
        )
        return envelope(resource, self.scope_name, self.scope_version), opened
