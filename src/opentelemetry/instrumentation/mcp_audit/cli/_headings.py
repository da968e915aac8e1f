# SPDX-License-Identifier: Apache-2.0
"""The three questions that operators come with, answered from what ``doctor`` found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord
from opentelemetry.instrumentation.mcp_audit.record import attributes as a
from opentelemetry.instrumentation.mcp_audit.render.text import iso_milliseconds

from ._checks import Check
from ._status import ProcessStatus

APPEARING: Final = "Logs not appearing"
USER: Final = "Missing user information"
PERFORMANCE: Final = "Performance impact"

# Wrong, but nothing of it keeps a record from appearing.
_OTHERWISE: Final = ("permissions", "keyring", "gaps")


def answers(
    checks: Sequence[Check], statuses: Sequence[ProcessStatus], newest: Sequence[StoredRecord]
) -> dict[str, list[str]]:
    """Sentences for each of the three headings. ``newest``: the latest outcome records, oldest first."""
    return {
        APPEARING: _appearing(checks, statuses, newest),
        USER: _user(newest),
        PERFORMANCE: _performance(statuses, newest),
    }


def _appearing(checks: Sequence[Check], statuses: Sequence[ProcessStatus], newest: Sequence[StoredRecord]) -> list[str]:
    said = [check.text for check in checks if check.light == "red" and check.topic not in _OTHERWISE]
    if newest:
        said.append(f"They do: the newest record of a call is of {iso_milliseconds(newest[-1].time)}.")
        return said
    if any(status.state == "live" for status in statuses):
        said.append("An audited server is running; no call has reached it yet, or its level is none.")
    else:
        said.append(
            "No audited server is running and no call is in the journal. Start the server with "
            "`otel-mcp-audit run -- CMD` or `opentelemetry-instrument CMD`, under the same user and with the same "
            "OTEL_MCP_AUDIT_DIR as this command; interpreter options -I, -E and -S keep any instrumentation out."
        )
    return said


def _user(newest: Sequence[StoredRecord]) -> list[str]:
    if not newest:
        return ["No call is in the journal yet."]
    nobody = [record for record in newest if record.attributes.get(a.ACTOR_PROVENANCE) == "none"]
    if not nobody:
        kinds = sorted({str(record.attributes.get(a.ACTOR_PROVENANCE)) for record in newest})
        return [f"Every one of the last {len(newest)} calls has a user ({', '.join(kinds)})."]
    said = [f"{len(nobody)} of the last {len(newest)} calls have none."]
    transports = {record.attributes.get(a.NETWORK_TRANSPORT) for record in nobody}
    if "tcp" in transports:
        said.append(
            "Over HTTP the user comes from the token that the server's own authentication checked: install that "
            "middleware before (outside) the MCP application, or call mcp_audit.bind(user_id=…) in a middleware, or "
            "name a trusted header in OTEL_MCP_AUDIT_USER_HEADER."
        )
    if "tcp" not in transports or len(transports) > 1:
        said.append("In memory nobody is known unless the program calls mcp_audit.bind(user_id=…) before the call.")
    return said


def _performance(statuses: Sequence[ProcessStatus], newest: Sequence[StoredRecord]) -> list[str]:
    said = [
        "A record is written before the answer leaves, by one write(2); syncing to the disk is another thread's work."
    ]
    if any(status.state == "live" and status.fsync == "always" for status in statuses):
        said.append("OTEL_MCP_AUDIT_FSYNC=always makes every answer wait for the disk; `interval` does not.")
    if newest:
        size = sum(len(record.raw) for record in newest) // len(newest)
        said.append(f"The last {len(newest)} records take {size} bytes each on average.")
        if size > 16 * 1024:
            said.append("That is much: OTEL_MCP_AUDIT_LEVEL=metadata or digest keeps the content out.")
    return said
