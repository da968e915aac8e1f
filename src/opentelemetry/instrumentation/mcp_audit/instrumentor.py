# SPDX-License-Identifier: Apache-2.0
"""The instrumentor: what ``opentelemetry-instrument`` loads, and the one global that an instrumentation needs.

Installing means hooking imports, nothing more: no MCP SDK, no SDK log or exporter module is imported and no file is
opened before a server of this process gets its first request (every Python child of an instrumented program runs this).
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import wrapt
from opentelemetry.instrumentation.environment_variables import OTEL_PYTHON_DISABLED_INSTRUMENTATIONS

# Upstream marks that whole file "type: ignore", which hides its names from type checkers.
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from . import settings as settings_module
from .environment_variables import OTEL_MCP_AUDIT_ENABLED
from .hooks.install import Hooks, HookState
from .hooks.running import Switch
from .notices import Notices, describe
from .package import _instruments
from .record.record import Invocation
from .settings import Settings
from .totals import Totals

if TYPE_CHECKING:
    from .assembly import Assembled, Extras
    from .auditor import Auditor, Audits
    from .delivery.live import LiveDelivery
    from .journal.events import Turn
    from .journal.journal import Journal
    from .otel.metrics import Metrics
    from .record.refusal import Refusal
    from .sinks.protocol import Sink
    from .status import StatusFile

_CLOSE_SECONDS: Final = 1.0
# Beside delivery: what the journal's last words take. Clients kill after 2 s.
_CLOSE_MARGIN_SECONDS: Final = 0.3
EXIT_CONFIGURATION: Final = 78  # EX_CONFIG of sysexits.h: `run` ends a server that cannot be audited with it
_EXTRA_NAMES: Final = ("logger_provider", "sinks", "identify")
_TRACER: Final = "tracer_provider"  # for the opt-in span on mcp 1.x; the hooks' own, no part of the Auditor


class Instrumentation:
    """Whether and how this process is instrumented. Idempotent; safe to use from any thread."""

    def __init__(self) -> None:
        self.notices = Notices()
        self.settings: Settings | None = None
        self._lock = threading.RLock()
        self._hooks: Hooks | None = None
        self._extras: dict[str, Any] = {}
        self._options: dict[str, Any] = {}
        self._assembled: Assembled | None = None
        self._substitute: Auditor | None = None
        self._guards_registered = False
        self._status: StatusFile | None = None
        self._disabled_by: str | None = None
        self._retired: list[Journal] = []
        self._delivery: LiveDelivery | None = None
        self._sigterm_hooked = False
        self._metrics: Metrics | None = None
        self._before = Totals()

    @property
    def installed(self) -> bool:
        return self.settings is not None

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
        with self._lock:
            # A later call says only what it changes: what an earlier one said still holds.
            loaded = settings_module.load(environ, {**self._options, **plain}, on_error)
            if not loaded.enabled:
                self.uninstall()
                self._say_disabled(f"{OTEL_MCP_AUDIT_ENABLED}=false")
                return
            self._options.update(plain)
            before = self.settings
            self.settings, self._extras = loaded, {**self._extras, **extras}
            if before is not None and (loaded != before or extras):
                # The stream ends well under the settings it began with; the next request opens one under the new.
                self._close("reconfigured", keep=self._extras.get("sinks", ()))
            wanted = hooks or self._hooks is not None
            if before is not None and _other_hooks(before, loaded, extras):
                self._remove_hooks()
            if wanted and self._hooks is None:
                self._hooks = Hooks(
                    self.auditor,
                    self._problem,
                    own_span=loaded.own_span,
                    client=loaded.client,
                    tracer_provider=self._extras.get("tracer_provider"),
                )
                self._hooks.install()
            self._register_guards()
            if loaded.otlp_endpoint and loaded != before:
                self._check_delivery(loaded, environ, on_error)
                self._hook_sigterm()

    def uninstall(self) -> None:
        """Take every hook off and end the journal's stream well."""
        with self._lock:
            self._remove_hooks()
            self._close("uninstrumented")
            self.settings, self._extras, self._options = None, {}, {}

    def auditor(self) -> Audits:
        """The Auditor of this process, built when the first request asks for it. Never raises: a request that cannot
        be audited is served all the same, and counted."""
        if self._substitute is not None:
            return self._substitute
        assembled = self._assembled
        if assembled is not None:
            return assembled.auditor
        try:
            return self._assemble()
        except Exception as error:
            self.notices.report(f"NOT AUDITED: the audit of this process cannot be set up: {describe(error)}")
            if self.settings is not None and self.settings.fail_closed:
                self._end_process(f"the audit cannot be set up: {describe(error)}")
            return NothingAudited()

    def substitute(self, auditor: Auditor | None) -> Auditor | None:
        """Use another Auditor than the process's own (``testing.capture_audit``); None ends that. Returns the one before."""
        before, self._substitute = self._substitute, auditor
        return before

    def switch(self) -> Switch:
        """For a middleware: always on; whether anything is recorded is the Auditor's to say."""
        return Switch(self.auditor, self.notices.report)

    def hook_states(self) -> Sequence[HookState]:
        return () if self._hooks is None else self._hooks.live()

    def say_disabled_by(self, variable: str) -> None:
        self._say_disabled(variable)

    def _assemble(self) -> Audits:
        with self._lock:
            current = self.settings
            if current is None:
                return NothingAudited()  # uninstrumented while this request was on its way here
            if self._assembled is None:
                from .assembly import assemble

                self._assembled = assemble(
                    current, self._given(), self.notices, os.environ, observe=self._metered().operation
                )
                self._announce(self._assembled, current)
            return self._assembled.auditor

    def _given(self) -> Extras:
        from .assembly import Extras

        return Extras(**{name: self._extras[name] for name in _EXTRA_NAMES if name in self._extras})

    def _metered(self) -> Metrics:
        if self._metrics is None:
            from .otel.metrics import Metrics
            from .version import __version__

            self._metrics = Metrics(__version__, self._totals)
        return self._metrics

    def _totals(self) -> Totals:
        """Since the process began: of the journals and deliveries that a reconfiguration ended, and of those that run."""
        assembled, delivery, before = self._assembled, self._delivery, self._before
        if assembled is not None:
            counters = assembled.journal.counters
            before = before.plus(emitted=counters.records, dropped=counters.lost)
        if delivery is not None:
            counts = delivery.counts
            before = before.plus(
                exported=counts.exported, quarantined=counts.quarantined_ever, waiting=counts.waiting_records
            )
        return before

    def _remove_hooks(self) -> None:
        hooks, self._hooks = self._hooks, None
        if hooks is not None:
            hooks.remove()

    def _announce(self, assembled: Assembled, current: Settings) -> None:
        from .status import StatusFile

        journal = assembled.journal
        journal.open()
        if journal.failing and current.fail_closed:
            self._end_process(f"the journal in {journal.directory} cannot be written")
        journal.note("instrumented")
        self._delivery = delivery = self._deliver(journal, current)
        self._status = status = StatusFile(assembled, current, self.notices, self.hook_states, delivery)
        journal.after_tick = status.write
        if delivery is not None:
            journal.after_tick = _both(delivery.notify, status.write)
            delivery.notify()
        self._status.write(force=True)
        self.notices.say(
            f"auditing MCP calls to {journal.directory} (level {current.level}, default redaction on, mode journaled); "
            "read them with: otel-mcp-audit tail"
        )

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

    def _hook_sigterm(self) -> None:
        """Once, and only where something is delivered: without, what is in the journal is as good after a kill."""
        if self._sigterm_hooked:
            return
        from .delivery.sigterm import hook_sigterm

        self._sigterm_hooked = hook_sigterm(self._exit, self._shutdown_seconds)

    def _shutdown_seconds(self) -> float:
        current = self.settings
        return _CLOSE_MARGIN_SECONDS + (0.0 if current is None else current.shutdown_ms / 1000)

    def _deliver(self, journal: Journal, current: Settings) -> LiveDelivery | None:
        if not current.otlp_endpoint:
            return None
        from .assembly import delivery
        from .delivery.options import OptionsError

        try:
            return delivery(journal, current, self.notices, os.environ, self._metered().exported)
        except OptionsError as error:
            self.notices.report(f"{error}; NOTHING IS DELIVERED, audit records stay in the journal")
            return None

    def _problem(self, sentence: str) -> None:
        """Something is not audited: loud; under ``run`` an SDK that cannot be hooked is the end of the process."""
        self.notices.report(sentence)
        hooks = self._hooks
        if self.settings is not None and self.settings.fail_closed and not (hooks is not None and hooks.problem_free):
            self._end_process(sentence)

    def _end_process(self, why: str) -> None:
        self.notices.say(
            f"ending with {EXIT_CONFIGURATION}, because this server was started to run only audited: {why}"
        )
        os._exit(EXIT_CONFIGURATION)

    def _say_disabled(self, why: str) -> None:
        if self._disabled_by is not None:
            return
        self._disabled_by = why
        # Said when an MCP server is really there, not by every child process of an instrumented program.
        wrapt.register_post_import_hook(
            lambda module: None if self.installed else self.notices.say(f"NOT AUDITED: turned off by {why}"),
            "mcp.server.lowlevel.server",
        )

    def _register_guards(self) -> None:
        if self._guards_registered:
            return
        self._guards_registered = True
        atexit.register(self._exit)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork_in_child)

    def _close(self, turn: Turn, keep: Sequence[Sink] = ()) -> None:
        if not self._lock.acquire(timeout=_CLOSE_SECONDS):
            # At exit, with a disk that hangs in somebody's first request: the process must still end.
            self.notices.say("the audit was busy and could not be ended well")
            return
        try:
            totals = self._totals()._replace(waiting=0)
            assembled, self._assembled = self._assembled, None
        finally:
            self._lock.release()
        if assembled is None:
            return
        # While journal and sinks still take records.
        assembled.auditor.end()
        for sink in assembled.auditor.parts.sinks:
            if any(sink is kept for kept in keep):
                continue
            try:
                sink.close()
            except Exception as error:
                self.notices.report(f"closing sink {type(sink).__name__} failed: {describe(error)}")
        journal = assembled.journal
        if journal.path is not None:
            journal.note(turn, self._next_settings_hash() if turn == "reconfigured" else None)
        journal.close()
        journal.after_tick = _nothing
        # A call that was in flight ends in the journal it began with, which opens a segment for it: closed at exit.
        self._retired = [old for old in (*self._retired, journal) if old is journal or old.path is not None]
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            # After the journal's last words, so that they are delivered too.
            exported = delivery.counts.exported
            delivery.stop(assembled.shutdown_seconds)
            totals = totals.plus(exported=delivery.counts.exported - exported)
        self._before = totals
        status, self._status = self._status, None
        if status is not None:
            status.end()

    def _next_settings_hash(self) -> str | None:
        from .assembly import settings_hash

        return None if self.settings is None else settings_hash(self.settings)

    def _exit(self) -> None:
        self._close("stopped")
        for journal in self._retired:
            journal.close()

    def _after_fork_in_child(self) -> None:
        self._lock = threading.RLock()
        self._before = Totals()
        self.notices.after_fork_in_child()
        if self._assembled is not None:
            self._assembled.journal.after_fork_in_child()
        if self._delivery is not None:
            self._delivery.after_fork_in_child()
        for journal in self._retired:
            journal.after_fork_in_child()


class NothingAudited:
    """Stands in while no Auditor can be built; each request asks anew."""

    def begin(self, invocation: Invocation) -> None:
        return None

    def refuse(self, refusal: Refusal) -> None:
        return None


INSTRUMENTATION: Final = Instrumentation()
# Given to every instrumentor by OpenTelemetry's loaders; nothing here is measured through a MeterProvider yet.
_METER: Final = "meter_provider"


class McpAuditInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """``McpAuditInstrumentor().instrument()`` does in code what ``opentelemetry-instrument`` does without any.

    Keyword arguments: every field of :class:`~.settings.Settings` by its name, and ``sinks`` (a sequence of
    :class:`~.sinks.protocol.Sink`), ``identify`` (``Invocation -> Actor | None``), ``logger_provider``,
    ``tracer_provider``. A wrong one raises :class:`~.settings.SettingsError`. Those of a later call are honoured: the
    running journal ends its stream and the next record opens one under the new settings.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        return _instruments

    def instrument(self, **kwargs: Any) -> None:
        if self.is_instrumented_by_opentelemetry:
            options = {name: value for name, value in kwargs.items() if name not in _LOADER_OPTIONS}
            if options:
                self._instrument(**options)
            return
        # The SDK may not be installed here (every child process loads us): the import hooks then never fire.
        kwargs.setdefault("skip_dep_check", True)
        super().instrument(**kwargs)

    def _instrument(self, **kwargs: Any) -> None:
        options = {name: value for name, value in kwargs.items() if name not in _LOADER_OPTIONS}
        INSTRUMENTATION.install(os.environ, options, None if options else _print_error)

    def _uninstrument(self, **kwargs: Any) -> None:
        INSTRUMENTATION.uninstall()


def start_explicitly(options: Mapping[str, Any]) -> Switch:
    """Start the audit of this process without a hook, for a middleware that was given ``options``; ends at exit.

    Raises :class:`~.settings.SettingsError` for a wrong option; a mistake in the environment is said and the default
    used, unless there are options (as with ``instrument()``).
    """
    INSTRUMENTATION.install(os.environ, options, None if options else _print_error, hooks=False)
    return INSTRUMENTATION.switch()


_LOADER_OPTIONS: Final = ("skip_dep_check", "raise_exception_on_conflict")


def _other_hooks(before: Settings, after: Settings, extras: Mapping[str, Any]) -> bool:
    """Whether the hooks must be put on anew to do what the settings say now."""
    return (before.own_span, before.client) != (after.own_span, after.client) or _TRACER in extras


def _both(first: Callable[[], None], second: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        first()
        second()

    return run


def _nothing() -> None:
    """What follows the ticks of a journal that was closed: its status file is gone."""


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


def pre_instrument() -> None:
    """Entry point ``opentelemetry_pre_instrument``: installs the hooks even if another package's instrumentor, which
    OpenTelemetry's loader runs before ours, fails and stops the loader."""
    disabled = [name.strip() for name in os.environ.get(OTEL_PYTHON_DISABLED_INSTRUMENTATIONS, "").split(",")]
    if "*" in disabled or "mcp_audit" in disabled:
        INSTRUMENTATION.say_disabled_by(f"{OTEL_PYTHON_DISABLED_INSTRUMENTATIONS}={','.join(disabled)}")
        return
    if not INSTRUMENTATION.installed:
        INSTRUMENTATION.install(os.environ, {}, _print_error)


def _print_error(error: settings_module.SettingsError) -> None:
    INSTRUMENTATION.notices.say(f"{error}; using the default instead")
