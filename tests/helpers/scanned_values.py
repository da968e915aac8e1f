# SPDX-License-Identifier: Apache-2.0
"""What the JSON scanner of the command line found, as the plain values that Python's own parser gives."""

from __future__ import annotations

import json
from typing import Any

from opentelemetry.instrumentation.mcp_audit.cli._jsonc import Value


def plain(value: Value, text: str) -> Any:
    if value.kind == "object":
        return {key: plain(inner, text) for key, inner in value.members}
    if value.kind == "array":
        return [plain(item, text) for item in value.items]
    return value.string if value.kind == "string" else json.loads(text[value.start : value.end])
