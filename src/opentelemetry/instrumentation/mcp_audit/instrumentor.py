# SPDX-License-Identifier: Apache-2.0
"""The instrumentor: what ``opentelemetry-instrument`` loads, and the one global that an instrumentation needs."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any, Final

from opentelemetry.instrumentation.environment_variables import OTEL_PYTHON_DISABLED_INSTRUMENTATIONS

# Upstream marks that whole file "type: ignore", which hides its names from type checkers.
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from .hooks.running import Switch
from .instrumentation import Instrumentation
from .package import _instruments
from .settings import SettingsError

INSTRUMENTATION: Final = Instrumentation()
_LOADER_OPTIONS: Final = ("skip_dep_check", "raise_exception_on_conflict")


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


def pre_instrument() -> None:
    """Entry point ``opentelemetry_pre_instrument``: installs the hooks even if another package's instrumentor, which
    OpenTelemetry's loader runs before ours, fails and stops the loader."""
    disabled = [name.strip() for name in os.environ.get(OTEL_PYTHON_DISABLED_INSTRUMENTATIONS, "").split(",")]
    if "*" in disabled or "mcp_audit" in disabled:
        INSTRUMENTATION.say_disabled_by(f"{OTEL_PYTHON_DISABLED_INSTRUMENTATIONS}={','.join(disabled)}")
        return
    if not INSTRUMENTATION.installed:
        INSTRUMENTATION.install(os.environ, {}, _print_error)


def _print_error(error: SettingsError) -> None:
    INSTRUMENTATION.notices.say(f"{error}; using the default instead")
