# SPDX-License-Identifier: Apache-2.0
"""Send one record all the way, and wait for it where it should end: in a Collector's archive or in a database.

It is a heartbeat in a stream of its own of the journal, chained and ended as any other, so that it is evidence like the
rest and nothing that verification stumbles over.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from opentelemetry.instrumentation.mcp_audit.delivery.again import batches
from opentelemetry.instrumentation.mcp_audit.delivery.connect import connect
from opentelemetry.instrumentation.mcp_audit.delivery.options import OptionsError, options
from opentelemetry.instrumentation.mcp_audit.delivery.sending import Sender
from opentelemetry.instrumentation.mcp_audit.environment_variables import OTEL_MCP_AUDIT_OTLP_ENDPOINT
from opentelemetry.instrumentation.mcp_audit.journal import events
from opentelemetry.instrumentation.mcp_audit.journal.journal import Journal, Options
from opentelemetry.instrumentation.mcp_audit.journal.ticket import JournalError
from opentelemetry.instrumentation.mcp_audit.record.attributes import AUDIT_RECORD_ID
from opentelemetry.instrumentation.mcp_audit.settings import Settings

from ._checks import Check
from ._stores import is_store, opened, without_password
from .adopt import origin

_SECONDS: Final = 30.0
_POLL: Final = 0.2
# Of each file of an archive so much is looked at, from its end: what came within these seconds is there.
_TAIL: Final = 32 * 1024 * 1024


def probe(directory: str, settings: Settings, place: str) -> Check:
    """Whether a record that is written to the journal in ``directory`` now arrives at ``place``."""
    if not settings.otlp_endpoint:
        return Check("probe", "red", f"{OTEL_MCP_AUDIT_OTLP_ENDPOINT} is not set: there is nowhere to send a record to")
    began = time.monotonic()
    try:
        where = options(settings.otlp_endpoint, settings.otlp_protocol, os.environ)
        record_id, lines = _written(directory, settings)
        sender = Sender(connect(where))
        for batch in batches((directory, line) for line in lines):
            sent = sender.send(batch)
            if sent.left or sent.refused:
                why = sent.stopped.why if sent.stopped is not None else sent.refused[0][1]
                return Check("probe", "red", f"{where.url} did not take a record: {why}")
    except (OptionsError, JournalError, OSError) as error:
        return Check("probe", "red", f"no record could be sent: {error}")
    found = _in_store(place) if is_store(place) else _in_files(place)
    while not found(record_id):
        if time.monotonic() - began > _SECONDS:
            return Check(
                "probe",
                "red",
                f"{where.url} acknowledged record {record_id}, and after {_SECONDS:.0f} s {without_password(place)} has not "
                "got it",
            )
        time.sleep(_POLL)
    return Check("probe", "green", f"record {record_id} arrived in {time.monotonic() - began:.1f} s, by {where.url}")


def _written(directory: str, settings: Settings) -> tuple[str, list[bytes]]:
    """A heartbeat's id, and all lines of the stream that was made for it."""
    said: list[str] = []
    journal = Journal(
        Path(directory),
        origin(directory, settings),
        Options(fsync="never", max_bytes=settings.max_bytes, on_full="stop", adopts=False),
        say=said.append,
    )
    beat = events.heartbeat()
    try:
        journal.append(beat)
        path = journal.path
    finally:
        journal.close()
    if path is None:
        raise OSError(said[0] if said else f"{directory}: no segment could be opened")
    return str(beat.attributes[AUDIT_RECORD_ID]), path.read_bytes().splitlines()


def _in_files(place: str) -> Callable[[str], bool]:
    def found(record_id: str) -> bool:
        wanted = record_id.encode()
        files = sorted(Path(place).rglob("*.jsonl")) if os.path.isdir(place) else [Path(place)]
        return any(wanted in _end_of(file) for file in files)

    return found


def _end_of(file: Path) -> bytes:
    try:
        with file.open("rb") as opened_file:
            opened_file.seek(max(0, opened_file.seek(0, os.SEEK_END) - _TAIL))
            return opened_file.read()
    except OSError:
        return b""  # not yet there, or just rotated: it is looked for again


def _in_store(url: str) -> Callable[[str], bool]:
    def found(record_id: str) -> bool:
        with opened(url) as store:
            return store.has_record(record_id)

    return found
