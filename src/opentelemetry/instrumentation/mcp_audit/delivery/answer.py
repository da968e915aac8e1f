# SPDX-License-Identifier: Apache-2.0
"""What an answer means. Only one kind lets go of a record: an OTLP answer that rejects none.

Sources: OTLP specification, "OTLP/HTTP Response" and "Partial Success"; what is retried is more than it says there,
because an audit record has no other copy: whatever another configuration or another hour can mend is retried for ever.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

_REFUSED: Final = (400, 413)
_MAX_RETRY_AFTER: Final = 300.0
_EXCERPT: Final = 120


class Acknowledged(NamedTuple):
    """The other side has the records."""


class Retry(NamedTuple):
    """It does not have them, and may take them later. ``after``: how many seconds it asked for, 0 when it did not."""

    why: str
    after: float = 0.0


class Refused(NamedTuple):
    """It will not take this request, or not all of its records."""

    why: str
    too_large: bool = False


Answer = Acknowledged | Retry | Refused


def http_answer(status: int, headers: Mapping[str, str], body: bytes, protobuf: bool = False) -> Answer:
    """The meaning of an HTTP response to an export request. ``headers`` by lower-case names."""
    if 200 <= status < 300:
        return _protobuf_success(status, headers, body) if protobuf else _json_success(status, body)
    why = f"HTTP {status}{_excerpt(body)}"
    if status in _REFUSED:
        return Refused(why, too_large=status == 413)
    if 300 <= status < 400:
        why = f"HTTP {status} (a redirect, which is not followed)"
    return Retry(why, retry_after(headers.get("retry-after", ""), time.time()))


def retry_after(value: str, now: float) -> float:
    """``Retry-After`` in seconds from ``now``, at most five minutes; 0 for what is none."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), _MAX_RETRY_AFTER)
    try:
        return min(max(0.0, parsedate_to_datetime(value).timestamp() - now), _MAX_RETRY_AFTER)
    except (TypeError, ValueError, IndexError, OverflowError):
        return 0.0


def rejected(count: int, message: str) -> Answer:
    """The meaning of a successful answer that rejects ``count`` records."""
    return Refused(f"{count} records rejected: {message[:_EXCERPT]}") if count else Acknowledged()


def _json_success(status: int, body: bytes) -> Answer:
    try:
        tree = json.loads(body)
        if not isinstance(tree, dict) or not set(tree) <= {"partialSuccess"}:
            raise ValueError
        partial = tree.get("partialSuccess") or {}
        if not isinstance(partial, dict):
            raise ValueError
        # An int64 in OTLP JSON is a string; the Collector writes it so, others as a number.
        return rejected(int(partial.get("rejectedLogRecords") or 0), str(partial.get("errorMessage", "")))
    except (ValueError, TypeError, RecursionError):
        return _no_answer(status, body)


def _protobuf_success(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    if not headers.get("content-type", "").lower().startswith("application/x-protobuf"):
        return _no_answer(status, body)
    from .protobuf import rejections

    try:
        return rejected(*rejections(body))
    except ValueError:
        return _no_answer(status, body)


def _no_answer(status: int, body: bytes) -> Answer:
    return Retry(f"HTTP {status}, but not an answer of an OTLP endpoint{_excerpt(body)}")


def _excerpt(body: bytes) -> str:
    text = " ".join(body[: 4 * _EXCERPT].decode("utf-8", "replace").split())
    return f": {text[:_EXCERPT]}" if text else ""
