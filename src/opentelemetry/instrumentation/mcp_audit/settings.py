# SPDX-License-Identifier: Apache-2.0
"""Settings: what can be set, what is allowed, what holds when nothing is said.

Precedence: keyword arguments of ``instrument()``, then declarative configuration (which arrives as keyword arguments),
then the environment, then the default. A wrong value is an error that names variable, value and what is allowed; when
the process was started by ``opentelemetry-instrument`` (where an exception would leave it without any audit) the error
is printed and the default is used instead.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import unquote

from . import environment_variables as env
from .record.attributes import Level

Fsync = Literal["interval", "always", "never"]
OnFull = Literal["stop", "drop_acknowledged"]
OtelLogs = Literal["metadata", "full", "off"]


class SettingsError(ValueError):
    """A setting that cannot be used; the message names it, its value and what is allowed."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set without code. Sizes are bytes, times are seconds where the name does not say ``_ms``.

    ``refusals_per_minute``: so many of one source's refusals get records of their own, the rest are counted in summaries.
    ``max_bytes`` bounds the journal's directory; ``on_full`` says what happens there, ``min_age`` how old a segment must
    be to be deleted for it. ``deadline_ms`` bounds what a call may wait for a disk that hangs.
    """

    enabled: bool = True
    directory: str = ""
    keyring: str = ""
    level: Level = "request"
    fsync: Fsync = "interval"
    fsync_interval_ms: int = 200
    segment_bytes: int = 64 * 1024 * 1024
    segment_seconds: int = 86_400
    max_bytes: int = 4 * 1024**3
    on_full: OnFull = "drop_acknowledged"
    min_age: int = 7 * 86_400
    deadline_ms: int = 1000
    body_bytes: int = 64 * 1024
    refusals_per_minute: int = 10
    otel_logs: OtelLogs = "metadata"
    own_span: bool = False
    client: bool = False
    request_id_header: str = "x-request-id"
    tenant_header: str = "x-tenant-id"
    user_header: str = ""
    trusted_proxies: str = ""
    fail_closed: bool = False
    otlp_endpoint: str = ""
    otlp_protocol: str = ""
    shutdown_ms: int = 1500


def load(
    environ: Mapping[str, str],
    overrides: Mapping[str, Any] | None = None,
    on_error: Callable[[SettingsError], None] | None = None,
) -> Settings:
    """Settings from ``overrides`` (names of :class:`Settings`) over ``environ`` over the defaults.

    Raises :class:`SettingsError` for the first wrong value, unless ``on_error`` is given: then it gets every error, and
    the default holds in that place.
    """
    values: dict[str, Any] = {}

    def failed(error: SettingsError) -> None:
        if on_error is None:
            raise error
        on_error(error)

    for name, (variable, parse, allowed) in _PARSERS.items():
        raw: Any = environ.get(variable, "").strip()
        spelled = variable
        if overrides is not None and overrides.get(name) is not None:
            raw, spelled = overrides[name], f"instrument({name}=…)"
        if raw == "":
            continue
        try:
            values[name] = parse(str(raw).strip())
        except ValueError:
            failed(SettingsError(f"{spelled}: {str(raw)[:200]!r} cannot be used; allowed: {allowed}"))
    for variable in sorted(environ):
        if variable.startswith(_PREFIX) and variable not in _VARIABLES:
            failed(SettingsError(f"{variable}: there is no such setting; there are: {', '.join(sorted(_VARIABLES))}"))
    unknown = sorted(set(overrides or ()) - set(_PARSERS))
    if unknown:
        failed(SettingsError(f"instrument() has no setting {', '.join(unknown)}; it has: {', '.join(_PARSERS)}"))
    if values.get("otlp_endpoint"):
        # Our own delivery is on: through the SDK's exporters as well, every record would arrive twice.
        values.setdefault("otel_logs", "off")
    settings = Settings(**values)
    if not settings.directory:
        values["directory"] = str(default_root(environ) / service_directory(environ))
    if not settings.keyring:
        root = Path(values["directory"]) if settings.directory else default_root(environ)
        values["keyring"] = str(root / "keyring.json")
    return Settings(**values)


def as_dict(settings: Settings) -> dict[str, Any]:
    """The settings as plain values, for the hash in the record that opens a segment and for ``doctor``."""
    return asdict(settings)


def default_root(environ: Mapping[str, str]) -> Path:
    """Where the journals of all services stand when no directory is set: one directory a service below it."""
    state = environ.get("XDG_STATE_HOME", "")
    base = Path(state) if os.path.isabs(state) else Path(environ.get("HOME") or os.path.expanduser("~"), ".local/state")
    return Path(os.path.abspath(base)) / "otel-mcp-audit"


def service_name(environ: Mapping[str, str]) -> str:
    """``OTEL_SERVICE_NAME``, else ``service.name`` of ``OTEL_RESOURCE_ATTRIBUTES``, else an empty string."""
    return environ.get("OTEL_SERVICE_NAME", "").strip() or resource_attributes(environ).get("service.name", "")


def service_directory(environ: Mapping[str, str]) -> str:
    """The service's name as one harmless path component, ``default`` when there is none."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", service_name(environ)).strip(".")[:100]
    return name or "default"


def resource_attributes(environ: Mapping[str, str]) -> dict[str, str]:
    """``OTEL_RESOURCE_ATTRIBUTES`` (``key=value,key=value``, values percent-encoded); malformed pairs are left out."""
    pairs: dict[str, str] = {}
    for item in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
        key, separator, value = item.partition("=")
        if separator and key.strip():
            pairs[key.strip()] = unquote(value.strip())
    return pairs


def proxy_networks(text: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The trusted proxies as networks. Raises ValueError for what is no address or network."""
    return [ipaddress.ip_network(item.strip(), strict=False) for item in text.split(",") if item.strip()]


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "1", "yes", "on"):
        return True
    if text.lower() in ("false", "0", "no", "off"):
        return False
    raise ValueError(text)


def _one_of(*names: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in names:
            raise ValueError(text)
        return text.lower()

    return parse


def _otel_logs(text: str) -> str:
    # YAML reads a bare `off` as false.
    return _one_of("metadata", "full", "off")("off" if text.lower() == "false" else text)


def _between(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text)
        if not low <= number <= high:
            raise ValueError(text)
        return number

    return parse


def _path(text: str) -> str:
    if "\0" in text:
        raise ValueError(text)
    return os.path.abspath(os.path.expanduser(text))


def _header(text: str) -> str:
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", text):
        raise ValueError(text)
    return text.lower()


def _networks(text: str) -> str:
    proxy_networks(text)
    return text


_BOOLEAN: Final = "true, false"
_HEADER: Final = "the name of an HTTP header"
_PARSERS: Final[dict[str, tuple[str, Callable[[str], Any], str]]] = {
    "enabled": (env.OTEL_MCP_AUDIT_ENABLED, _boolean, _BOOLEAN),
    "directory": (env.OTEL_MCP_AUDIT_DIR, _path, "a path"),
    "keyring": (env.OTEL_MCP_AUDIT_KEYRING, _path, "a path"),
    "level": (
        env.OTEL_MCP_AUDIT_LEVEL,
        _one_of("none", "metadata", "digest", "request", "request_response"),
        "none, metadata, digest, request, request_response",
    ),
    "fsync": (env.OTEL_MCP_AUDIT_FSYNC, _one_of("interval", "always", "never"), "interval, always, never"),
    "fsync_interval_ms": (env.OTEL_MCP_AUDIT_FSYNC_INTERVAL_MS, _between(1, 60_000), "a number from 1 to 60000"),
    "segment_bytes": (
        env.OTEL_MCP_AUDIT_SEGMENT_BYTES,
        _between(64 * 1024, 1 << 40),
        "a number of bytes from 65536 to 1099511627776",
    ),
    "segment_seconds": (env.OTEL_MCP_AUDIT_SEGMENT_SECONDS, _between(1, 366 * 86_400), "seconds from 1 to 31622400"),
    "max_bytes": (
        env.OTEL_MCP_AUDIT_MAX_BYTES,
        _between(1024 * 1024, 1 << 50),
        "a number of bytes from 1048576 to 1125899906842624",
    ),
    "on_full": (env.OTEL_MCP_AUDIT_ON_FULL, _one_of("stop", "drop_acknowledged"), "stop, drop_acknowledged"),
    "min_age": (env.OTEL_MCP_AUDIT_MIN_AGE, _between(0, 100 * 366 * 86_400), "seconds from 0 to 3162240000"),
    "deadline_ms": (env.OTEL_MCP_AUDIT_DEADLINE_MS, _between(10, 60_000), "a number from 10 to 60000"),
    "body_bytes": (env.OTEL_MCP_AUDIT_BODY_BYTES, _between(1024, 64 * 1024), "a number of bytes from 1024 to 65536"),
    "refusals_per_minute": (
        env.OTEL_MCP_AUDIT_REFUSALS_PER_MINUTE,
        _between(0, 100_000),
        "a number from 0 to 100000",
    ),
    "otel_logs": (env.OTEL_MCP_AUDIT_OTEL_LOGS, _otel_logs, "metadata, full, off"),
    "own_span": (env.OTEL_MCP_AUDIT_OWN_SPAN, _boolean, _BOOLEAN),
    "client": (env.OTEL_MCP_AUDIT_CLIENT, _boolean, _BOOLEAN),
    "request_id_header": (env.OTEL_MCP_AUDIT_REQUEST_ID_HEADER, _header, _HEADER),
    "tenant_header": (env.OTEL_MCP_AUDIT_TENANT_HEADER, _header, _HEADER),
    "user_header": (env.OTEL_MCP_AUDIT_USER_HEADER, _header, _HEADER),
    "trusted_proxies": (env.OTEL_MCP_AUDIT_TRUSTED_PROXIES, _networks, "addresses or networks, comma-separated"),
    "fail_closed": (env.OTEL_MCP_AUDIT_FAIL_CLOSED, _boolean, _BOOLEAN),
    # Both are judged where delivery is set up (delivery/options.py), which knows the variables that they go with.
    "otlp_endpoint": (env.OTEL_MCP_AUDIT_OTLP_ENDPOINT, str, "a URL, inherit"),
    "otlp_protocol": (env.OTEL_MCP_AUDIT_OTLP_PROTOCOL, str, "http/json, http/protobuf, grpc"),
    "shutdown_ms": (env.OTEL_MCP_AUDIT_SHUTDOWN_MS, _between(0, 60_000), "a number from 0 to 60000"),
}
_PREFIX: Final = "OTEL_MCP_AUDIT_"
# Read where the connection is made, and kept out of Settings: headers hold tokens.
_OTLP: Final = (
    env.OTEL_MCP_AUDIT_OTLP_HEADERS,
    env.OTEL_MCP_AUDIT_OTLP_CERTIFICATE,
    env.OTEL_MCP_AUDIT_OTLP_CLIENT_CERTIFICATE,
    env.OTEL_MCP_AUDIT_OTLP_CLIENT_KEY,
    env.OTEL_MCP_AUDIT_OTLP_COMPRESSION,
    env.OTEL_MCP_AUDIT_OTLP_TIMEOUT,
)
_VARIABLES: Final = frozenset((*(variable for variable, _, _ in _PARSERS.values()), *_OTLP))
assert set(_PARSERS) == {field.name for field in fields(Settings)}
