# SPDX-License-Identifier: Apache-2.0
"""Whether and how this process is instrumented: what was asked for, by environment and by code, and the hooks it takes.

Installing means hooking imports, nothing more: no MCP SDK, no SDK log or exporter module is imported and no file is
opened before a server of this process gets its first request (every Python child of an instrumented program runs this).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import wrapt

from . import settings as settings_module
from .environment_variables import OTEL_MCP_AUDIT_ENABLED
from .fail_closed import end_process
from .hooks.install import Hooks, HookState
from .hooks.running import Switch
from .notices import Notices
from .running_audit import RunningAudit
from .settings import Settings

if TYPE_CHECKING:
    from .auditor import Auditor, Audits

_EXTRA_NAMES: Final = ("logger_provider", "sinks", "identify")
_TRACER: Final = "tracer_provider"  # for the opt-in span on mcp 1.x; the hooks' own, no part of the Auditor
# Given to every instrumentor by OpenTelemetry's loaders; nothing here is measured through a MeterProvider yet.
_METER: Final = "meter_provider"


class Instrumentation:
    """Idempotent; safe to use from any thread."""

    def __init__(self) -> None:
        self.notices = Notices()
        self._running = RunningAudit(self.notices, self.hook_states)
        self._hooks: Hooks | None = None
        self._options: dict[str, Any] = {}
        self._disabled_by: str | None = None

    @property
    def installed(self) -> bool:
        return self._running.settings is not None

    def install(
        self,
        environ: Mapping[str, str],
        options: Mapping[str, Any],
        on_error: Callable[[settings_module.SettingsError], None] | None = None,
        *,
        hooks: bool = True,
    ) -> None:
        """Install the hooks, or give a live instrumentation the options that it did not have yet.

        Without ``hooks`` only those that are on stay on: a middleware brings the requests.
        """
        extras = {name: options[name] for name in (*_EXTRA_NAMES, _TRACER) if options.get(name) is not None}
        _check(extras)
        plain = {name: value for name, value in options.items() if name not in (*_EXTRA_NAMES, _TRACER, _METER)}
        running = self._running
        with running.lock:
            # A later call says only what it changes: what an earlier one said still holds.
            loaded = settings_module.load(environ, {**self._options, **plain}, on_error)
            if not loaded.enabled:
                self.uninstall()
                self.say_disabled_by(f"{OTEL_MCP_AUDIT_ENABLED}=false")
                return
            self._options.update(plain)
            before = running.settings
            running.configure(loaded, extras)
            wanted = hooks or self._hooks is not None
            if before is not None and _other_hooks(before, loaded, extras):
                self._remove_hooks()
            if wanted and self._hooks is None:
                self._hooks = Hooks(
                    running.auditor,
                    self._problem,
                    own_span=loaded.own_span,
                    client=loaded.client,
                    tracer_provider=running.extras.get(_TRACER),
                )
                self._hooks.install()
            running.register_guards()
            if loaded.otlp_endpoint and loaded != before:
                self._check_delivery(loaded, environ, on_error)
                running.hook_sigterm()

    def uninstall(self) -> None:
        """Take every hook off and end the journal's stream well."""
        with self._running.lock:
            self._remove_hooks()
            self._running.end()
            self._options = {}

    def auditor(self) -> Audits:
        """See :meth:`.RunningAudit.auditor`."""
        return self._running.auditor()

    def substitute(self, auditor: Auditor | None) -> Auditor | None:
        """See :meth:`.RunningAudit.substitute`."""
        return self._running.substitute(auditor)

    def switch(self) -> Switch:
        """For a middleware: always on; whether anything is recorded is the Auditor's to say."""
        return Switch(self._running.auditor, self.notices.report)

    def hook_states(self) -> Sequence[HookState]:
        return () if self._hooks is None else self._hooks.live()

    def say_disabled_by(self, why: str) -> None:
        """Said once, and when an MCP server is really there, not by every child process of an instrumented program."""
        if self._disabled_by is not None:
            return
        self._disabled_by = why
        wrapt.register_post_import_hook(
            lambda module: None if self.installed else self.notices.say(f"NOT AUDITED: turned off by {why}"),
            "mcp.server.lowlevel.server",
        )

    def _remove_hooks(self) -> None:
        hooks, self._hooks = self._hooks, None
        if hooks is not None:
            hooks.remove()

    def _check_delivery(
        self,
        current: Settings,
        environ: Mapping[str, str],
        on_error: Callable[[settings_module.SettingsError], None] | None,
    ) -> None:
        """A mistake in the settings of delivery is told at start, not at the first request."""
        from .delivery.options import OptionsError, options

        try:
            options(current.otlp_endpoint, current.otlp_protocol, environ)
        except OptionsError as error:
            if on_error is None:
                raise settings_module.SettingsError(str(error)) from None
            self.notices.report(f"{error}; NOTHING IS DELIVERED, audit records stay in the journal")

    def _problem(self, sentence: str) -> None:
        """Something is not audited: loud; under ``run`` an SDK that cannot be hooked is the end of the process."""
        self.notices.report(sentence)
        hooks, current = self._hooks, self._running.settings
        if current is not None and current.fail_closed and not (hooks is not None and hooks.problem_free):
            end_process(self.notices, sentence)


def _other_hooks(before: Settings, after: Settings, extras: Mapping[str, Any]) -> bool:
    """Whether the hooks must be put on anew to do what the settings say now."""
    return (before.own_span, before.client) != (after.own_span, after.client) or _TRACER in extras


def _check(extras: Mapping[str, Any]) -> None:
    """A mistake in code is an error where it is made, not at the first call."""
    for sink in extras.get("sinks", ()):
        if not (callable(getattr(sink, "write", None)) and callable(getattr(sink, "close", None))):
            raise settings_module.SettingsError(
                f"instrument(sinks=…): {sink!r} is no sink; allowed: objects with write(entry) and close(), "
                "such as CallableSink(function)"
            )
    if "identify" in extras and not callable(extras["identify"]):
        raise settings_module.SettingsError(
            f"instrument(identify=…): {extras['identify']!r} cannot be called; allowed: a function of an Invocation"
        )
