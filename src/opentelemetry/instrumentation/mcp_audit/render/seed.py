# SPDX-License-Identifier: Apache-2.0
"""The seed's recommended JSON ("Structured Log Format"), key by key, plus the outcome. Unknown values are null.

``collector-config/renderings/seed.yaml`` makes the same object in a Collector; golden records hold both to each other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from opentelemetry.instrumentation.mcp_audit.record import attributes as a

from .text import iso_milliseconds, json_visible

_PREFIX = "mcp_audit."


class Rendered(Protocol):
    """What a rendering needs of a record: both a record that was just made and one that was read have it."""

    @property
    def event_name(self) -> str: ...
    @property
    def time(self) -> int: ...
    @property
    def attributes(self) -> Mapping[str, a.AttributeValue]: ...
    @property
    def body(self) -> str | None: ...


def to_seed(record: Rendered) -> dict[str, Any]:
    """``{timestamp, event_type, tool, user{id,email,tenant_id}, request{id,client_ip}, params, response{result_count,
    duration_ms}, outcome}``, in this order; ``params`` is the arguments object, redacted as it is in the trail."""
    get = record.attributes.get
    duration = get(a.DURATION_US)
    return {
        "timestamp": iso_milliseconds(record.time),
        "event_type": record.event_name.removeprefix(_PREFIX),
        "tool": get(a.GEN_AI_TOOL_NAME),
        "user": {"id": user_of(record), "email": get(a.USER_EMAIL), "tenant_id": get(a.TENANT_ID)},
        "request": {"id": get(a.REQUEST_ID), "client_ip": get(a.CLIENT_ADDRESS) or get(a.AUDIT_SOURCE_ID)},
        "params": arguments_of(record),
        "response": {
            "result_count": get(a.RESULT_COUNT),
            "duration_ms": (duration + 500) // 1000 if isinstance(duration, int) else None,
        },
        "outcome": get(a.AUDIT_OUTCOME),
    }


def seed_line(record: Rendered) -> str:
    """The seed form as one line of JSON, without a line end."""
    return json_visible(json.dumps(to_seed(record), ensure_ascii=False, separators=(",", ":")))


def user_of(record: Rendered) -> str | None:
    """The user, or the service that acted; None when nobody is known, or no caller stands behind the record."""
    get = record.attributes.get
    user = get(a.USER_ID)
    if user is None and get(a.AUDIT_ACTOR_TYPE) != "system" and get(a.AUDIT_ACTOR_ID) not in ("anonymous", "unknown"):
        user = get(a.AUDIT_ACTOR_ID)
    return user if isinstance(user, str) else None


def arguments_of(record: Rendered) -> Any:
    """What the body holds as arguments, None when it holds none or is no JSON."""
    content = body_of(record)
    return content.get("arguments")


def body_of(record: Rendered) -> dict[str, Any]:
    """The body as an object; an empty one when there is none or it is no JSON object."""
    if record.body is None:
        return {}
    try:
        content = _DECODER.decode(record.body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


# Made once: json.loads makes one a call where it is given a hook.
_DECODER = json.JSONDecoder(parse_constant=_no_constant)
