# SPDX-License-Identifier: Apache-2.0
"""Delivering a journal in a test, step by step and without waiting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from journals import journal, record

from opentelemetry.instrumentation.mcp_audit.delivery.connect import connect
from opentelemetry.instrumentation.mcp_audit.delivery.options import options
from opentelemetry.instrumentation.mcp_audit.delivery.planning import BOUNDS, Bounds
from opentelemetry.instrumentation.mcp_audit.delivery.shipper import Observer, Shipper


class Told:
    """What the operator was told, and what was recorded as refused."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.refused: list[tuple[int, str]] = []

    @property
    def observer(self) -> Observer:
        return Observer(self.said.append, lambda count, why: self.refused.append((count, why)))


def write(directory: Path, count: int, **how: Any) -> list[str]:
    """A journal with so many calls, closed well; the ids of all records of the directory."""
    made = journal(directory, **how)
    for number in range(count):
        made.append(record(f"tool-{number}"))
    made.close()
    return ids(directory)


def ids(directory: Path) -> list[str]:
    return [
        next(a["value"]["stringValue"] for a in found["attributes"] if a["key"] == "audit.record.id")
        for path in sorted(directory.glob("*.jsonl"))
        for line in path.read_bytes().splitlines()
        if line.startswith(b'{"resourceLogs"')
        for found in json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    ]


def ship(
    directory: Path,
    url: str,
    told: Told | None = None,
    *,
    protocol: str = "http/json",
    bounds: Bounds = BOUNDS,
    environ: dict[str, str] | None = None,
    steps: int = 10_000,
) -> list[float]:
    """Deliver everything, without waiting between tries; the pauses that were asked for."""
    told = told or Told()
    where = options(url, protocol, environ or {"OTEL_MCP_AUDIT_OTLP_TIMEOUT": "5"})
    shipper = Shipper(directory, connect(where), told.observer, bounds=bounds, chance=lambda: 0.0)
    pauses: list[float] = []
    try:
        for _ in range(steps):
            pause = shipper.step(everything=True)
            if pause is None:
                return pauses
            if pause:
                pauses.append(pause)
        return pauses
    finally:
        shipper.close()
