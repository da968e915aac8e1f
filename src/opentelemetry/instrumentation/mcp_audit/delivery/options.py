# SPDX-License-Identifier: Apache-2.0
"""Where to and how: our own variables, and for what they do not say the standard ones of OTLP exporters.

For each of headers, certificate, client key and certificate, compression and timeout: ``OTEL_MCP_AUDIT_OTLP_…``, else
``OTEL_EXPORTER_OTLP_LOGS_…``, else ``OTEL_EXPORTER_OTLP_…``. The endpoint is only ever our own variable's: audit records
never go by themselves to where traces go. Its value ``inherit`` means the standard one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from opentelemetry.instrumentation.mcp_audit.environment_variables import (
    OTEL_MCP_AUDIT_OTLP_ENDPOINT,
    OTEL_MCP_AUDIT_OTLP_PROTOCOL,
)

Protocol = Literal["http/json", "http/protobuf", "grpc"]
PROTOCOLS: Final[tuple[Protocol, ...]] = ("http/json", "http/protobuf", "grpc")
INHERIT: Final = "inherit"
_OWN: Final = "OTEL_MCP_AUDIT_OTLP_"
_LOGS: Final = "OTEL_EXPORTER_OTLP_LOGS_"
_ALL: Final = "OTEL_EXPORTER_OTLP_"
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class OptionsError(ValueError):
    """A setting of delivery that cannot be used; the message begins with the variable's name."""


class Given(NamedTuple):
    """A value and the variable it came from."""

    variable: str
    value: str


@dataclass(frozen=True, slots=True)
class Options:
    """Where to and how. ``timeout`` in seconds; certificates are paths, empty when there are none."""

    protocol: Protocol
    secure: bool
    host: str
    port: int
    path: str
    # Not shown: headers hold tokens.
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)
    gzip: bool = False
    timeout: float = 10.0
    certificate: Given = Given("", "")
    client_certificate: Given = Given("", "")
    client_key: Given = Given("", "")

    @property
    def url(self) -> str:
        """For messages: no user, no password, no query."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}{self.path.partition('?')[0]}"


def options(endpoint: str, protocol: str, environ: Mapping[str, str]) -> Options:
    """Options from the values of our endpoint (not empty) and protocol (may be empty). Raises :class:`OptionsError`."""
    inherit = endpoint.lower() == INHERIT
    chosen = _protocol(protocol, environ, inherit)
    target = _endpoint(endpoint, chosen, environ, inherit)
    secure, host, port, path = _parts(target, chosen, whole=target.variable != f"{_ALL}ENDPOINT")
    certificate, client, key = (
        _file(_given(environ, name)) for name in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
    )
    if key.value and not client.value:
        raise OptionsError(f"{key.variable}: a client key without a client certificate")
    return Options(
        protocol=chosen,
        secure=secure,
        host=host,
        port=port,
        path=path,
        headers=_headers(_given(environ, "HEADERS")),
        gzip=_compression(_given(environ, "COMPRESSION")),
        timeout=_timeout(_given(environ, "TIMEOUT")),
        certificate=certificate,
        client_certificate=client,
        client_key=key,
    )


def _given(environ: Mapping[str, str], name: str) -> Given:
    for prefix in (_OWN, _LOGS, _ALL):
        value = environ.get(prefix + name, "").strip()
        if value:
            return Given(prefix + name, value)
    return Given(_OWN + name, "")


def _protocol(given: str, environ: Mapping[str, str], inherit: bool) -> Protocol:
    value = Given(OTEL_MCP_AUDIT_OTLP_PROTOCOL, given.strip())
    if inherit and not value.value:
        value = _given(environ, "PROTOCOL")
    for known in PROTOCOLS:
        if (value.value.lower() or PROTOCOLS[0]) == known:
            return known
    raise OptionsError(f"{value.variable}: {value.value[:200]!r} cannot be used; allowed: {', '.join(PROTOCOLS)}")


def _endpoint(given: str, protocol: Protocol, environ: Mapping[str, str], inherit: bool) -> Given:
    if not inherit:
        return Given(OTEL_MCP_AUDIT_OTLP_ENDPOINT, given.strip())
    for prefix in (_LOGS, _ALL):
        value = environ.get(f"{prefix}ENDPOINT", "").strip()
        if value:
            return Given(f"{prefix}ENDPOINT", value)
    return Given(f"{_ALL}ENDPOINT", f"http://localhost:{4317 if protocol == 'grpc' else 4318}")


def _parts(target: Given, protocol: Protocol, whole: bool) -> tuple[bool, str, int, str]:
    """Secure or not, host, port, path. ``whole``: the path is the signal's own, not a base that ``/v1/logs`` follows."""
    try:
        url = urlsplit(target.value)
        port, host = url.port, url.hostname
    except ValueError as error:
        raise OptionsError(f"{target.variable}: {_shown(target.value)!r} is no URL ({error})") from None
    if url.scheme not in ("http", "https") or not host or re.search(r"[\s\x00-\x1f]", target.value):
        raise OptionsError(
            f"{target.variable}: {_shown(target.value)!r} is no URL; allowed: http://host:port, https://host:port"
            + (f", {INHERIT}" if target.variable == OTEL_MCP_AUDIT_OTLP_ENDPOINT else "")
        )
    if url.username or url.password:
        raise OptionsError(f"{target.variable}: a URL with a user or password; put them into {_OWN}HEADERS")
    secure = url.scheme == "https"
    path = url.path if whole and url.path not in ("", "/") else url.path.rstrip("/") + "/v1/logs"
    if url.query:
        path += f"?{url.query}"
    return secure, host, port or (4317 if protocol == "grpc" else 443 if secure else 80), path


def _shown(value: str) -> str:
    return re.sub(r"//[^/@]*@", "//…@", value)[:200]


def _headers(given: Given) -> dict[str, str]:
    """``name=value,name=value``, percent-encoded, as OTEL_EXPORTER_OTLP_HEADERS is written."""
    found: dict[str, str] = {}
    for item in given.value.split(","):
        name, separator, value = item.partition("=")
        if not item.strip():
            continue
        name, value = unquote(name.strip()), unquote(value.strip())
        if not separator or not _TOKEN.fullmatch(name) or not value.isprintable():
            # The value may be a token: not shown.
            raise OptionsError(f"{given.variable}: not of the form name=value,name=value")
        found[name.lower()] = value
    return found


def _compression(given: Given) -> bool:
    value = given.value.lower()
    if value not in ("", "none", "gzip"):
        raise OptionsError(f"{given.variable}: {given.value[:200]!r} cannot be used; allowed: none, gzip")
    return value == "gzip"


def _timeout(given: Given) -> float:
    try:
        seconds = float(given.value or 10)
        if not 0.1 <= seconds <= 600:
            raise ValueError
    except ValueError:
        raise OptionsError(
            f"{given.variable}: {given.value[:200]!r} cannot be used; allowed: seconds from 0.1 to 600"
        ) from None
    return seconds


def _file(given: Given) -> Given:
    if given.value:
        try:
            with open(given.value, "rb"):
                pass
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise OptionsError(
                f"{given.variable}: {os.path.abspath(given.value)[:200]} cannot be read: {reason}"
            ) from None
    return given
