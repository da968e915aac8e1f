# SPDX-License-Identifier: Apache-2.0
"""The stock pipeline: opentelemetry-sdk's BatchLogRecordProcessor with the OTLP/HTTP exporter, both as they come."""

from __future__ import annotations

import time
from collections.abc import Iterable

from emitting import Tally, arguments, run
from opentelemetry._logs import LogRecord, get_logger, set_logger_provider


def provider() -> None:
    """As in the SDK's documentation; endpoint and timeout are the environment's."""
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    made = LoggerProvider()
    made.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
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
            body = "\ud800" if "poison" in mark else "x" * (given.size or 200)
            logger.emit(
                LogRecord(
                    timestamp=time.time_ns(),
                    event_name="tool_call",
                    body=body,
                    attributes={"audit.record.id": mark, "gen_ai.tool.name": "work"},
                )
            )
            tally.add(mark)

    run(emit, given)


main()
