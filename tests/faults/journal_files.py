# SPDX-License-Identifier: Apache-2.0
"""What stands in a journal's files, read with nothing but ``json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def records_by_file(directory: Path) -> dict[str, list[Record]]:
    """Every whole record of each file: its attributes by name (plain values), and its body's text as ``body``."""
    return {path.name: _records(path) for path in sorted(directory.glob("*.jsonl"))}


def records(directory: Path) -> list[Record]:
    """Every whole record of the directory."""
    return [record for found in records_by_file(directory).values() for record in found]


def calls(directory: Path) -> list[Record]:
    """The records of tool calls."""
    return [record for record in records(directory) if record["event"] == "mcp_audit.tool_call"]


def _records(path: Path) -> list[Record]:
    found = []
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n"):
            continue
        record = json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
        flat: Record = {"event": record["eventName"], "body": record.get("body", {}).get("stringValue")}
        for attribute in record["attributes"]:
            ((kind, value),) = attribute["value"].items()
            flat[attribute["key"]] = int(value) if kind == "intValue" else value
        found.append(flat)
    return found
