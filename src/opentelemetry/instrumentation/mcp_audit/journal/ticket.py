# SPDX-License-Identifier: Apache-2.0
"""What the journal answers: a ticket for a record that is in it, an error for one that is not."""

from __future__ import annotations

from typing import NamedTuple


class JournalError(Exception):
    """A record could not be journaled; it is counted, and the message says why."""


class Deferred(JournalError):
    """Appended by a finaliser or signal handler inside an append of its own thread, which writes it; no ticket yet.

    Not lost. Should that write fail, it is counted like any other.
    """


class Ticket(NamedTuple):
    """The receipt of an appended record: where it stands in which stream. ``line`` is what was written."""

    stream_id: str
    number: int
    previous_hash: str | None
    hash: str
    line: bytes
