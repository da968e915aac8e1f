# SPDX-License-Identifier: Apache-2.0
"""A record as one flat JSON object: what ``--json`` prints. Attribute names are keys, so that ``jq`` needs no paths."""

from __future__ import annotations

import json
from typing import Any

from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord

from .seed import body_of
from .text import iso_milliseconds, json_visible


def to_flat(record: StoredRecord) -> dict[str, Any]:
    """``time``, ``event``, ``trace_id``, ``span_id``, ``service``, ``file``, ``line``, every attribute by its name, then
    ``arguments``, ``result``, ``error`` of the body where they are kept, and ``faults`` where the record has any."""
    flat: dict[str, Any] = {
        "time": iso_milliseconds(record.time),
        "event": record.event_name,
        "trace_id": record.trace_id or None,
        "span_id": record.span_id or None,
        "service": record.resource.get("service.name"),
        "file": record.file,
        "line": record.line or None,
        **record.attributes,
    }
    content = body_of(record)
    flat.update((name, content[name]) for name in ("arguments", "result", "error") if name in content)
    if record.faults:
        flat["faults"] = list(record.faults)
    return flat


def flat_line(record: StoredRecord) -> str:
    """The flat object as one line of JSON, without a line end."""
    return json_visible(json.dumps(to_flat(record), ensure_ascii=False, separators=(",", ":")))
