# SPDX-License-Identifier: Apache-2.0
"""Which HTTP answers are refusals, who decided and why. A plain function of what was asked and what was answered.

The reason is told by status, by JSON-RPC error code and by what the request has; by an SDK's wording only where nothing
else tells two refusals apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qs

from opentelemetry.instrumentation.mcp_audit.record.refusal import DecidedBy

from .exchange import Exchange

if TYPE_CHECKING:
    from uuid import UUID

# JSON-RPC errors of the modern protocol's own.
_HEADER_MISMATCH: Final = -32020
_MISSING_CAPABILITY: Final = -32021
_UNSUPPORTED_VERSION: Final = -32022
_PARSE_ERROR: Final = -32700
_INVALID_REQUEST: Final = -32600
_INVALID_PARAMS: Final = -32602

_BY_STATUS: Final[dict[int, tuple[DecidedBy, str]]] = {
    403: ("transport_security", "bad_origin"),
    405: ("protocol", "method_not_allowed"),
    406: ("protocol", "not_acceptable"),
    409: ("session", "stream_conflict"),
    413: ("transport_security", "body_too_large"),
    415: ("protocol", "unsupported_media_type"),
    421: ("transport_security", "bad_host"),
    503: ("session", "too_many_sessions"),
}
_BY_CODE: Final = {
    _HEADER_MISMATCH: "header_mismatch",
    _MISSING_CAPABILITY: "missing_capability",
    _UNSUPPORTED_VERSION: "unsupported_version",
    _PARSE_ERROR: "parse_error",
}
# What fastmcp's guard says of an origin; the guard stands around the application's own routes too, which may say 403.
_FORBIDDEN_ORIGIN: Final = b"Forbidden Origin"
_PARAM_HEADER: Final = "mcp-param-"
# An SDK's refusal is a line; a longer answer is something else's.
_ANSWER_BYTES: Final = 16_384


class Decision(NamedTuple):
    """Who refused, and why."""

    by: DecidedBy
    reason: str


def refusing(exchange: Exchange, status: int) -> bool:
    """Whether an answer with this status may be a refusal of one of the watched layers."""
    if exchange.reached:
        return False
    if exchange.layer == "auth":
        return status in (401, 403)
    if exchange.layer == "guard":
        return status in (403, 421)
    return 400 <= status < 500 or status == 503


def needs_body(exchange: Exchange, status: int) -> bool:
    """Whether the answer's body is needed to tell the reason."""
    return status == 400 or (exchange.layer == "guard" and status == 403)


def decide(exchange: Exchange, status: int, body: bytes) -> Decision | None:
    """Who refused this request, and why; None when it was none of the watched layers."""
    if exchange.layer == "auth":
        if status == 403:
            return Decision("auth", "insufficient_scope")
        return Decision("auth", "invalid_token" if _bears(exchange.scope) else "missing_token")
    if exchange.layer == "guard" and status == 403 and body != _FORBIDDEN_ORIGIN:
        return None
    if status == 400:
        return _bad_request(exchange, body)
    if status == 404:
        return Decision("session", "foreign_session" if _is_known_session(exchange) else "unknown_session")
    found = _BY_STATUS.get(status)
    return Decision("protocol", f"http_{status}") if found is None else Decision(*found)


def header(scope: Mapping[str, Any], name: bytes) -> str | None:
    """The first value of a header (lower-case name), None without one."""
    pairs = scope.get("headers")
    for key, value in pairs if isinstance(pairs, Iterable) else ():
        if key == name and isinstance(value, bytes):
            return value.decode("latin-1")
    return None


def session_id(exchange: Exchange) -> str | None:
    """The session that the client named: by header, or in the query of the older HTTP+SSE protocol."""
    if exchange.sse is None:
        return header(exchange.scope, b"mcp-session-id")
    query = exchange.scope.get("query_string")
    values = parse_qs(query[:1024].decode("latin-1")).get("session_id") if isinstance(query, bytes) else None
    return values[0] if values else None


def _bad_request(exchange: Exchange, body: bytes) -> Decision:
    if exchange.sse is not None:
        return _bad_message(exchange)
    code, message = _error(body)
    if code is None:
        return _plain_bad_request(exchange)
    if code == _HEADER_MISMATCH and message.lower().startswith(_PARAM_HEADER):
        return Decision("protocol", "param_header_mismatch")
    if code in _BY_CODE:
        return Decision("protocol", _BY_CODE[code])
    if code == _INVALID_PARAMS:
        return Decision("protocol", "bad_envelope" if exchange.modern else "invalid_message")
    if code == _INVALID_REQUEST and not exchange.modern:
        if exchange.manager is not None and session_id(exchange) is None:
            return Decision("session", "missing_session")
        return Decision("protocol", "unsupported_version")
    return Decision("protocol", "invalid_message")


def _plain_bad_request(exchange: Exchange) -> Decision:
    """Not JSON-RPC: the check of the Content-Type, or (before mcp 1.27) an unknown session."""
    if not _says_json(exchange.scope):
        return Decision("protocol", "unsupported_media_type")
    if exchange.manager is not None and session_id(exchange) is not None:
        return Decision("session", "unknown_session")
    return Decision("protocol", "invalid_message")


def _bad_message(exchange: Exchange) -> Decision:
    """HTTP+SSE, whose refusals are plain text: in the order in which the transport checks."""
    if not _says_json(exchange.scope):
        return Decision("protocol", "unsupported_media_type")
    named = session_id(exchange)
    if named is None:
        return Decision("session", "missing_session")
    return Decision("session", "unknown_session") if _uuid(named) is None else Decision("protocol", "parse_error")


def _says_json(scope: Mapping[str, Any]) -> bool:
    return (header(scope, b"content-type") or "").lower().startswith("application/json")


def _error(body: bytes) -> tuple[int | None, str]:
    """Code and message of a JSON-RPC error."""
    if len(body) > _ANSWER_BYTES:
        return None, ""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None, ""
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict) or type(error.get("code")) is not int:
        return None, ""
    return error["code"], str(error.get("message", ""))


def _bears(scope: Mapping[str, Any]) -> bool:
    """Whether the request has a bearer token; it is not looked at."""
    authorization = header(scope, b"authorization")
    return authorization is not None and authorization[:7].lower() == "bearer "


def _is_known_session(exchange: Exchange) -> bool:
    """Whether the session that was refused is there, and so another's."""
    named = session_id(exchange)
    if named is None:
        return False
    if exchange.sse is not None:
        return _uuid(named) in exchange.sse._read_stream_writers
    transport = getattr(exchange.manager, "_server_instances", {}).get(named)
    return transport is not None and not getattr(transport, "_terminated", False)


def _uuid(text: str) -> UUID | None:
    # Loaded by the SDK's transport; not worth its time in processes that serve nothing.
    from uuid import UUID

    try:
        return UUID(hex=text)
    except ValueError:
        return None
