# SPDX-License-Identifier: Apache-2.0
"""The stock pipeline: opentelemetry-sdk's BatchLogRecordProcessor with the OTLP/HTTP exporter, both as they come.

With FAULTS_SIMPLE it is SimpleLogRecordProcessor, which exports each record in the emitting thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from emitting import Tally, arguments, run
from opentelemetry._logs import LogRecord, get_logger, set_logger_provider
from opentelemetry.util.types import AnyValue

# As many attributes, and as long, as an audit record of a tool call has.
_ATTRIBUTES: dict[str, AnyValue] = {
    "audit.action": "EXECUTE",
    "audit.actor.id": "anonymous",
    "audit.actor.type": "user",
    "audit.outcome": "success",
    "audit.schema.version": "1.0",
    "audit.target.id": "work",
    "audit.target.type": "tool",
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "work",
    "jsonrpc.request.id": "202",
    "mcp.method.name": "tools/call",
    "mcp.protocol.version": "2026-07-28",
    "app.actor.provenance": "none",
    "app.call.id": "01a20def-8ba0-71ae-9027-8d6cce655565",
    "app.client.name": "mcp",
    "app.client.version": "0.1.0",
    "app.content.digest": "14e7991211bf8705f565538334feab12f7bae351984d063a8b3be7b8a2dd80c1",
    "app.decision": "allowed",
    "app.duration_us": 337,
    "app.level": "request",
    "app.policy.hash": "f71560aadf216943afdebcac0394ed207b3dfb8275b644fb735a793d6498f14c",
    "app.request.id": "01a20def-8ba0-71ae-9027-8d6cce655565",
    "app.stream.id": "e467780c-0c7e-48f3-a95f-a414671b221f",
}


def provider() -> None:
    """As in the SDK's documentation; endpoint and timeout are the environment's."""
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, SimpleLogRecordProcessor

    made = LoggerProvider()
    processor = SimpleLogRecordProcessor if os.environ.get("FAULTS_SIMPLE") else BatchLogRecordProcessor
    made.add_log_record_processor(processor(OTLPLogExporter()))
    set_logger_provider(made)


def main() -> None:
    given = arguments()
    if not given.auto:
        provider()
    tally = Tally(given.tally)

    def emit(marks: Iterable[str]) -> None:
        logger = get_logger("faults")
        for mark in marks:
            # A lone surrogate: what JSON from a client can hold and protobuf cannot.
            body = "\ud800" if given.script == "poison" and "poison" in mark else "x" * (given.size or 200)
            logger.emit(
                LogRecord(
                    timestamp=time.time_ns(),
                    event_name="tool_call",
                    body=body,
                    attributes={"audit.record.id": mark, **_ATTRIBUTES},
                )
            )
            tally.add(mark)

    run(emit, given)


main()
