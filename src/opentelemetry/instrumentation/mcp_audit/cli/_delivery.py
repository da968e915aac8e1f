# SPDX-License-Identifier: Apache-2.0
"""What ``doctor`` says of delivery: what waits, who delivers, and what the endpoint refused. Reads only."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.instrumentation.mcp_audit.delivery.quarantine import quarantined, reasons
from opentelemetry.instrumentation.mcp_audit.integrity.files import ledger_file
from opentelemetry.instrumentation.mcp_audit.journal.delivered import DELIVERED, DELIVERED_LOCK, read_delivered
from opentelemetry.instrumentation.mcp_audit.render.text import visible

from ._checks import Check
from ._dead import unlocked
from ._words import size


@dataclass(frozen=True, slots=True)
class Delivery:
    """``waiting``: bytes that no endpoint has acknowledged. ``running``: somebody delivers just now. ``why``: of the
    newest record in quarantine."""

    waiting: int
    running: bool
    quarantined: int
    why: str


def delivery(directory: str, segments: Sequence[tuple[str, os.stat_result]]) -> Delivery | None:
    """None for a journal that was never delivered. Raises OSError."""
    if not os.path.lexists(os.path.join(directory, DELIVERED)):
        return None
    places = read_delivered(Path(directory))
    sizes = {os.path.basename(path): status.st_size for path, status in segments}
    ledger = ledger_file(directory)
    if ledger is not None:
        sizes[os.path.basename(ledger)] = os.lstat(ledger).st_size
    waiting = sum(max(0, length - (places[name].offset if name in places else 0)) for name, length in sizes.items())
    refused = quarantined(Path(directory))
    why = ""
    if refused:
        why = next((str(entry["why"]) for entry in reversed(list(reasons(Path(directory)))) if "why" in entry), "")
    lock = os.path.join(directory, DELIVERED_LOCK)
    running = os.path.lexists(lock) and not unlocked(directory, [DELIVERED_LOCK])
    return Delivery(waiting, running, refused, why)


def delivery_checks(directory: str, found: Delivery | None) -> Iterator[Check]:
    if found is None:
        return
    if not found.waiting:
        yield Check("delivery", "green", f"{directory}: everything is acknowledged")
    elif found.running:
        yield Check(
            "delivery", "green", f"{directory}: {size(found.waiting)} wait for acknowledgement, and are being sent"
        )
    else:
        yield Check(
            "delivery",
            "yellow",
            f"{directory}: {size(found.waiting)} wait, and nobody delivers: a server with OTEL_MCP_AUDIT_OTLP_ENDPOINT does, "
            "or otel-mcp-audit ship",
        )
    if found.quarantined:
        yield Check(
            "delivery",
            "red",
            f"{directory}: {found.quarantined} records were refused and lie in {os.path.join(directory, 'quarantine')} "
            f"({visible(found.why)}); they are in the journal too",
        )
