# SPDX-License-Identifier: Apache-2.0
"""OTLP export requests out of a real journal's lines, in both encodings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from journals import journal, record
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

_BEFORE = '"logRecords":['
_BEHIND = "]}]}]}"


def lines(directory: Path, count: int, size: int = 60) -> list[str]:
    """The lines of so many tool calls, as a journal wrote them."""
    trail = journal(directory, fsync="never", adopts=False)
    made = [trail.append(record(f"tool-{number}", size)).line.decode().rstrip("\n") for number in range(count)]
    trail.close()
    return made


def joined(of: Sequence[str]) -> bytes:
    """One OTLP/JSON body of the lines of one segment."""
    at = of[0].index(_BEFORE) + len(_BEFORE)
    return (of[0][:at] + ",".join(line[at : -len(_BEHIND)] for line in of) + _BEHIND).encode()


def protobuf(body: bytes) -> bytes:
    """The same request in protobuf. OTLP/JSON writes ids in hex where protobuf's JSON has base64."""
    import base64

    tree = json.loads(body)
    for member in _records(tree):
        for name in ("traceId", "spanId"):
            if name in member:
                member[name] = base64.b64encode(bytes.fromhex(member[name])).decode()
    return json_format.ParseDict(tree, ExportLogsServiceRequest()).SerializeToString()


def edited(line: str, **attributes: str) -> str:
    """The line with attributes of other string values."""
    tree = json.loads(line)
    for member in _records(tree):
        for item in member["attributes"]:
            name = item["key"].replace(".", "_")
            if name in attributes:
                item["value"] = {"stringValue": attributes[name]}
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":"))


def _records(tree: Any) -> list[dict[str, Any]]:
    return [
        member for group in tree["resourceLogs"] for scoped in group["scopeLogs"] for member in scoped["logRecords"]
    ]
