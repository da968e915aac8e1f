# SPDX-License-Identifier: Apache-2.0
"""What stands in a journal's files, read with nothing but ``json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def records(directory: Path) -> list[dict[str, Any]]:
    """Every whole record of the directory: its attributes by name (plain values), and its body's text as ``body``."""
    found = []
    for path in sorted(directory.glob("*.jsonl")):
        for line in path.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                continue
            record = json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
            flat: dict[str, Any] = {"event": record["eventName"], "body": record.get("body", {}).get("stringValue")}
            for attribute in record["attributes"]:
                ((kind, value),) = attribute["value"].items()
                flat[attribute["key"]] = int(value) if kind == "intValue" else value
            found.append(flat)
    return found


def calls(directory: Path) -> list[dict[str, Any]]:
    """The records of tool calls."""
    return [record for record in records(directory) if record["event"] == "mcp_audit.tool_call"]
