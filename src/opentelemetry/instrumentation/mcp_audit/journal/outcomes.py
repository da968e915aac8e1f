# SPDX-License-Identifier: Apache-2.0
"""Which calls have their record in a segment already: a search of its raw bytes, in bounded memory."""

from __future__ import annotations

from typing import Final

from opentelemetry.instrumentation.mcp_audit.record.attributes import AUDIT_RECORD_ID
from opentelemetry.instrumentation.mcp_audit.record.encode import attribute

from .tail import read_at

# As every writer of a journal spells it. It cannot stand inside a body or a value: there quotes are escaped.
_BEFORE: Final = attribute(AUDIT_RECORD_ID, "").encode().removesuffix(b'"}}')
_LONGEST_ID: Final = 64
_BLOCK: Final = 1024 * 1024


def recorded(descriptor: int, end: int, wanted: set[str]) -> set[str]:
    """Those of the record ids ``wanted`` that stand before byte ``end``. Raises OSError."""
    found: set[str] = set()
    rest, at = b"", 0
    while at < end and len(found) < len(wanted):
        piece = read_at(descriptor, min(_BLOCK, end - at), at)
        if not piece:
            break
        data, at = rest + piece, at + len(piece)
        place = data.find(_BEFORE)
        while place >= 0:
            start = place + len(_BEFORE)
            stop = data.find(b'"', start, start + _LONGEST_ID + 1)
            if stop >= 0:
                record_id = data[start:stop].decode("ascii", "replace")
                if record_id in wanted:
                    found.add(record_id)
            place = data.find(_BEFORE, start)
        # What may have begun and not ended in this piece.
        rest = data[-(len(_BEFORE) + _LONGEST_ID) :]
    return found
