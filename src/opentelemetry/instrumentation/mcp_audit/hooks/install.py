# SPDX-License-Identifier: Apache-2.0
"""The hooks of a process, put on and taken off: each row of ``table.py`` waits for its module with a post-import hook.

Nothing of an SDK is imported here, and which generation of it is there is told by its features, never by its version.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from threading import RLock, Thread
from types import ModuleType
from typing import TYPE_CHECKING, Final, Literal

import wrapt

from . import floor
from .importing import exists, is_initialising
from .patch import Patch, put_on, take_off
from .running import Switch
from .table import LOWLEVEL, ROWS, RUNNER, Row, Stack

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from opentelemetry.instrumentation.mcp_audit.auditor import AuditorSource

State = Literal["hooked", "waiting", "missing"]

# How often, in seconds, an import that had begun before the hooks were put on is asked whether it has ended.
_POLL: Final = 0.002


@dataclass(frozen=True, slots=True)
class HookState:
    """How one row stands: ``hooked``, ``waiting`` for its module to be imported, ``missing`` from it."""

    module: str
    attribute: str
    stack: Stack
    state: State
    needed: bool


class Hooks:
    """The hooks of one instrumentation: :meth:`install`, :meth:`remove`, and again, as often as wanted.

    ``source`` gives the auditor in force, asked anew for every request. ``on_problem`` gets one clear sentence for
    each thing that keeps requests from being audited. ``own_span``: mcp 1.x gets a SERVER span made here, by
    ``tracer_provider`` or the global one. ``client``: what this process's MCP clients ask is recorded too.
    """

    def __init__(
        self,
        source: AuditorSource,
        on_problem: Callable[[str], None],
        *,
        own_span: bool = False,
        client: bool = False,
        tracer_provider: TracerProvider | None = None,
    ) -> None:
        self._switch = Switch(source, on_problem, own_span=own_span, tracer_provider=tracer_provider)
        self._switch.on = False
        self._rows = tuple(row for row in ROWS if client or not row.client)
        self._waiting: set[str] = set()
        self._patches: dict[tuple[str, str], Patch] = {}
        self._missing: set[tuple[str, str]] = set()
        # Imports happen on any thread.
        self._lock = RLock()

    @property
    def problem_free(self) -> bool:
        """False when a module that must be hooked was imported and could not be."""
        return not any(row.needed and (row.module, row.attribute) in self._missing for row in self._rows)

    def install(self) -> Hooks:
        """Wrap what is imported already, and wait for the rest. Does nothing where it is done."""
        with self._lock:
            self._switch.on = True
            modules = list(dict.fromkeys(row.module for row in self._rows))
            new = [module for module in modules if module not in self._waiting]
            self._waiting.update(new)
        # Not under our lock: wrapt 1.x calls import hooks under its own, and they want ours.
        for module in modules:
            loaded = sys.modules.get(module)
            if module in new:
                self._register(module)
            elif loaded is not None:
                self._imported(loaded, whole=False)
        return self

    def _register(self, module: str) -> None:
        """Have ``module`` hooked now if it is imported, else when it is.

        An import hook cannot be taken back; ours asks whether it is still wanted.
        """
        registering = True

        def imported(loaded: ModuleType) -> None:
            # Called at once it may be given a module whose import has only begun; called later, never.
            self._imported(loaded, whole=not registering)

        wrapt.register_post_import_hook(imported, module)
        registering = False

    def _await(self, module: ModuleType) -> None:
        """Hook a module whose import had begun before we came: no import hook is called for it any more."""
        while is_initialising(module):
            time.sleep(_POLL)
        with self._lock:
            # Where the import failed there is nothing to hook, and the next attempt has to be awaited anew.
            self._waiting.discard(module.__name__)
            if not self._switch.on:
                return
            self._waiting.add(module.__name__)
        self._register(module.__name__)

    def remove(self) -> None:
        """Take every wrapper off, leaving the SDK's classes as they were, and make the import hooks inert."""
        with self._lock:
            self._switch.on = False
            self._missing.clear()
            for key, patch in list(self._patches.items()):
                if take_off(patch):
                    del self._patches[key]

    def live(self) -> list[HookState]:
        """Every row and how it stands, for ``doctor``."""
        return [HookState(row.module, row.attribute, row.stack, self._state(row), row.needed) for row in self._rows]

    def _state(self, row: Row) -> State:
        key = (row.module, row.attribute)
        if key in self._missing:
            return "missing"
        return "hooked" if key in self._patches and self._switch.on else "waiting"

    def _imported(self, module: ModuleType, *, whole: bool = True) -> None:
        # Python says `_initializing` of a module until after the import hooks, so that it tells nothing to those.
        partial = not whole and is_initialising(module)
        with self._lock:
            if not self._switch.on:
                return
            self._wrap(module, partial)
        if partial:
            Thread(target=self._await, args=(module,), name="mcp_audit-import", daemon=True).start()

    def _wrap(self, module: ModuleType, partial: bool) -> None:
        """Wrap what is in the module; of one that is ``partial`` nothing is missing yet."""
        if self._too_old is not None:
            self._refuse(module.__name__, self._too_old)
            return
        for row in self._rows:
            if row.module != module.__name__:
                continue
            key = (row.module, row.attribute)
            if key in self._patches:
                # Still on from before a remove() that found another wrapper on top of it; live again by the switch.
                continue
            try:
                patch = put_on(module, row, self._switch)
            except AttributeError:
                if not partial:
                    self._absent(row)
                continue
            self._patches[key] = patch
            self._missing.discard(key)

    @cached_property
    def _too_old(self) -> str | None:
        """Looked up once, not for each module: it costs half a millisecond."""
        return floor.below_floor()

    def _refuse(self, module: str, version: str) -> None:
        """Leave the modules of an SDK below the floor as they are, and say so where a hook is needed."""
        rows = [row for row in ROWS if row.module == module]
        self._missing.update((row.module, row.attribute) for row in rows)
        if any(row.needed for row in rows):
            self._switch.problem(f"mcp_audit: {floor.sentence(version)}")

    def _absent(self, row: Row) -> None:
        """A row's attribute is not in its module: expected between generations, loud where nothing else covers it."""
        if not row.needed:
            return
        if row.module == LOWLEVEL and exists(RUNNER):
            # mcp 2.x: its low-level server is only a registry, requests pass the runner.
            return
        self._missing.add((row.module, row.attribute))
        other = f" and there is no module {RUNNER}" if row.module == LOWLEVEL else ""
        self._switch.problem(
            f"mcp_audit: requests are NOT audited: {row.module} has no {row.attribute}{other}. "
            "This version of the MCP SDK is too old or has changed; "
            "see the supported versions of opentelemetry-instrumentation-mcp-audit."
        )
