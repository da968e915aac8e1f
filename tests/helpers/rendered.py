# SPDX-License-Identifier: Apache-2.0
"""Comparing a rendering that the Collector made with one that the package made: as JSON values."""

from __future__ import annotations

import json
from typing import Any

import rfc8785


def canonical(value: Any) -> bytes:
    """RFC 8785; a whole number is a double here, as the transform writes 1e16 without its point."""
    return rfc8785.dumps(json.loads(json.dumps(value), parse_int=float))


def plain(value: dict[str, Any]) -> Any:
    """An OTLP value as the JSON value that it stands for."""
    if "kvlistValue" in value:
        return {item["key"]: plain(item.get("value", {})) for item in value["kvlistValue"].get("values", [])}
    if "arrayValue" in value:
        return [plain(item) for item in value["arrayValue"].get("values", [])]
    if "intValue" in value:
        return int(value["intValue"])
    return next(iter(value.values()), None)
