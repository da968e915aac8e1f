# SPDX-License-Identifier: Apache-2.0
"""The one place where the parts are put together: from settings to a working Auditor and its journal."""

from __future__ import annotations

import os
import platform as python_platform
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .auditor import Auditor
from .identity.identity import CallerIdentity, IdentityOptions
from .integrity.canonical import sha256_hex
from .integrity.keyring import HashKey, KeyringError, ephemeral_key, load_or_create
from .journal import events
from .journal.journal import Journal, Options
from .journal.origin import Origin
from .journal.platform import os_user
from .journal.ticket import JournalError
from .notices import Notices
from .otel.logs import LogEmitter, silent
from .parts import Parts
from .policy.model import builtin
from .record.attributes import AttributeValue
from .record.content import Content, Limits
from .record.record import Actor, Invocation
from .record.rules import DEFAULT_RULES
from .settings import Settings, as_dict, proxy_networks, resource_attributes, service_name
from .sinks.protocol import Entry, Sink
from .version import __version__

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.trace import Span

    from .delivery.live import LiveDelivery

SCOPE_NAME: Final = "opentelemetry.instrumentation.mcp_audit"
_DISTRIBUTION: Final = "opentelemetry-instrumentation-mcp-audit"
_RESOURCE_ATTRIBUTES: Final = 64


@dataclass(frozen=True, slots=True)
class Extras:
    """What only code can give: objects and functions, from ``instrument(…)``."""

    logger_provider: LoggerProvider | None = None
    sinks: Sequence[Sink] = ()
    identify: Callable[[Invocation], Actor | None] | None = None


@dataclass(frozen=True, slots=True)
class Assembled:
    """An Auditor and what its process must look after: the journal to close, the key's id, the versions found.

    ``shutdown_seconds``: how long delivery may take at the end.
    """

    auditor: Auditor
    journal: Journal
    versions: tuple[str, ...]
    service: str
    kid: str
    shutdown_seconds: float = 1.5


def assemble(
    settings: Settings,
    extras: Extras,
    notices: Notices,
    environ: Mapping[str, str],
    key: HashKey | None = None,
    observe: Callable[[Entry], None] | None = None,
) -> Assembled:
    """Build everything; opens no file but the keyring, and that only when no ``key`` is given. ``observe`` sees
    each journaled record (metrics)."""
    policy = builtin(settings.level)
    if key is None:
        key = _hash_key(Path(settings.keyring), notices)
    limits = Limits(body_bytes=settings.body_bytes)
    versions = tuple(_versions())
    journal = Journal(
        Path(settings.directory),
        Origin(
            resource=_resource(environ, limits),
            scope_name=SCOPE_NAME,
            scope_version=__version__,
            policy_hash=policy.hash,
            settings_hash=settings_hash(settings),
            versions=versions,
        ),
        Options(
            fsync=settings.fsync,
            fsync_interval=settings.fsync_interval_ms / 1000,
            segment_bytes=settings.segment_bytes,
            segment_seconds=settings.segment_seconds,
            deadline=settings.deadline_ms / 1000,
            max_bytes=settings.max_bytes,
            on_full=settings.on_full,
            min_age=settings.min_age,
        ),
        say=notices.say,
    )
    identity = CallerIdentity(
        IdentityOptions(
            identify=extras.identify,
            keyed=key.hash,
            os_user=os_user(),
            request_id_header=settings.request_id_header,
            tenant_header=settings.tenant_header,
            user_header=settings.user_header,
            trusted_proxies=tuple(proxy_networks(settings.trusted_proxies)),
            report=notices.report,
        )
    )
    emit = (
        silent if settings.otel_logs == "off" else LogEmitter(extras.logger_provider, settings.otel_logs, __version__)
    )
    auditor = Auditor(
        Parts(
            policy=policy,
            identity=identity,
            journal=journal,
            keyed=key.hash,
            new_content=lambda: Content(DEFAULT_RULES, limits),
            emit=emit if observe is None else _both(observe, emit),
            sinks=tuple(extras.sinks),
            report=notices.report,
            disk_deadline=settings.deadline_ms / 1000 if settings.fsync == "always" else None,
            refusals_per_minute=settings.refusals_per_minute,
        )
    )
    return Assembled(
        auditor, journal, versions, service_name(environ) or "default", key.kid, settings.shutdown_ms / 1000
    )


def delivery(
    journal: Journal,
    settings: Settings,
    notices: Notices,
    environ: Mapping[str, str],
    on_sent: Callable[[int, float, bool], None],
) -> LiveDelivery:
    """The delivery of this journal; opens no connection and starts no thread. Raises ``OptionsError``."""
    # Only here: a process that does not deliver pays for none of it (TLS alone is 10 ms).
    from .delivery.connect import connect
    from .delivery.live import LiveDelivery
    from .delivery.options import options
    from .delivery.shipper import Observer

    where = options(settings.otlp_endpoint, settings.otlp_protocol, environ)
    connect(where).close()

    def refused(count: int, why: str) -> None:
        now = time.time_ns()
        try:
            journal.append(events.gap(count, why, now, now))
        except JournalError:
            return  # counted and said by the journal

    return LiveDelivery(journal.directory, where, connect, Observer(notices.say, refused, on_sent))


def _both(
    observe: Callable[[Entry], None], emit: Callable[[Entry, Span | None], None]
) -> Callable[[Entry, Span | None], None]:
    def run(entry: Entry, span: Span | None) -> None:
        observe(entry)
        emit(entry, span)

    return run


def settings_hash(settings: Settings) -> str:
    """What ``mcp_audit.settings.hash`` says of these settings."""
    return sha256_hex(repr(sorted(as_dict(settings).items())).encode())


def _hash_key(path: Path, notices: Notices) -> HashKey:
    try:
        return load_or_create(path)
    except KeyringError as error:
        key = ephemeral_key()
        notices.say(f"{error}; keyed hashes of this process use the key {key.kid} and compare with no other process's")
        return key


def _resource(environ: Mapping[str, str], limits: Limits) -> dict[str, AttributeValue]:
    """service.*, host.*, telemetry.* and OTEL_RESOURCE_ATTRIBUTES, redacted. No resource detector runs: they are slow,
    and the SDK's process detector holds the command line, a place for secrets."""
    given: dict[str, Any] = {
        "service.name": service_name(environ) or f"unknown_service:{os.path.basename(sys.executable)}",
        "host.name": socket.gethostname(),
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.version": _version("opentelemetry-sdk") or "unknown",
    }
    for key, value in resource_attributes(environ).items():
        given.setdefault(key, value)
    content = Content(DEFAULT_RULES, limits)
    return {
        content.attribute("resource", key): "[REDACTED:key]"
        if DEFAULT_RULES.sensitive(key)
        else content.attribute(key, value)
        for key, value in list(given.items())[:_RESOURCE_ATTRIBUTES]
    }


def _versions() -> list[str]:
    names = (_DISTRIBUTION, "mcp", "fastmcp", "opentelemetry-api", "opentelemetry-sdk", "wrapt")
    found = [f"{name}={version}" for name in names if (version := _version(name)) is not None]
    return [f"python={python_platform.python_version()}", *found]


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
