# SPDX-License-Identifier: Apache-2.0
"""The audit of this process while it lives: the one lock, the run that the first request starts, and its ends.

A run ends well when settings change (the next request starts another), when the process is uninstrumented, at exit and at
SIGTERM. A forked child goes on with a stream of its own.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from .fail_closed import end_process
from .notices import Notices, describe
from .record.record import Invocation
from .settings import Settings
from .totals import Totals

if TYPE_CHECKING:
    from .auditor import Auditor, Audits
    from .hooks.install import HookState
    from .journal.events import Turn
    from .journal.journal import Journal
    from .one_run import Run
    from .otel.metrics import Metrics
    from .record.refusal import Refusal
    from .sinks.protocol import Sink

_CLOSE_SECONDS: Final = 1.0
# Beside delivery: what the journal's last words take. Clients kill after 2 s.
_CLOSE_MARGIN_SECONDS: Final = 0.3


class RunningAudit:
    """What is audited here, and by whom. Safe to use from any thread.

    ``lock`` is for whoever changes settings or hooks; a forked child has another. ``settings`` is None and ``extras`` empty
    as long as nothing is to be audited.
    """

    def __init__(self, notices: Notices, hook_states: Callable[[], Sequence[HookState]]) -> None:
        self.lock = threading.RLock()
        self.settings: Settings | None = None
        self.extras: dict[str, Any] = {}
        self._notices = notices
        self._hook_states = hook_states
        self._run: Run | None = None
        self._substitute: Auditor | None = None
        self._retired: list[Journal] = []
        self._metrics: Metrics | None = None
        self._before = Totals()
        self._guards_registered = False
        self._sigterm_hooked = False

    def auditor(self) -> Audits:
        """The Auditor of this process, built when the first request asks for it. Never raises: a request that cannot
        be audited is served all the same, and counted."""
        if self._substitute is not None:
            return self._substitute
        run = self._run
        if run is not None:
            return run.auditor
        try:
            return self._start()
        except Exception as error:
            self._notices.report(f"NOT AUDITED: the audit of this process cannot be set up: {describe(error)}")
            if self.settings is not None and self.settings.fail_closed:
                end_process(self._notices, f"the audit cannot be set up: {describe(error)}")
            return NothingAudited()

    def substitute(self, auditor: Auditor | None) -> Auditor | None:
        """Use another Auditor than the process's own (``testing.capture_audit``); None ends that. Returns the one before."""
        before, self._substitute = self._substitute, auditor
        return before

    def configure(self, settings: Settings, extras: Mapping[str, Any]) -> None:
        """Audit under these settings from now on. ``extras`` are added to those there are. With the lock held."""
        before = self.settings
        self.settings, self.extras = settings, {**self.extras, **extras}
        if before is not None and (settings != before or extras):
            # The stream ends well under the settings it began with; the next request opens one under the new.
            self._close("reconfigured", keep=self.extras.get("sinks", ()))

    def end(self) -> None:
        """Audit nothing from now on; the stream ends well. With the lock held."""
        self._close("uninstrumented")
        self.settings, self.extras = None, {}

    def register_guards(self) -> None:
        """Once: a good end at exit, a fresh start in a forked child."""
        if self._guards_registered:
            return
        self._guards_registered = True
        atexit.register(self._exit)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork_in_child)

    def hook_sigterm(self) -> None:
        """Once, and only where something is delivered: without, what is in the journal is as good after a kill."""
        if self._sigterm_hooked:
            return
        from .delivery.sigterm import hook_sigterm

        self._sigterm_hooked = hook_sigterm(self._exit, self._shutdown_seconds)

    def _start(self) -> Audits:
        with self.lock:
            current = self.settings
            if current is None:
                return NothingAudited()  # uninstrumented while this request was on its way here
            if self._run is None:
                from .one_run import Run

                run = self._run = Run(current, self.extras, self._notices, self._metered())
                run.start(self._hook_states)
            return self._run.auditor

    def _metered(self) -> Metrics:
        if self._metrics is None:
            from .otel.metrics import Metrics
            from .version import __version__

            self._metrics = Metrics(__version__, self._totals)
        return self._metrics

    def _totals(self) -> Totals:
        """Since the process began: of the runs that ended, and of the one that goes on."""
        before, run = self._before, self._run
        return before if run is None else run.added_to(before)

    def _shutdown_seconds(self) -> float:
        current = self.settings
        return _CLOSE_MARGIN_SECONDS + (0.0 if current is None else current.shutdown_ms / 1000)

    def _close(self, turn: Turn, keep: Sequence[Sink] = ()) -> None:
        if not self.lock.acquire(timeout=_CLOSE_SECONDS):
            # At exit, with a disk that hangs in somebody's first request: the process must still end.
            self._notices.say("the audit was busy and could not be ended well")
            return
        try:
            run, self._run = self._run, None
            if run is None:
                return
            self._before = totals = run.added_to(self._before)._replace(waiting=0)
        finally:
            self.lock.release()
        run.end_journal(turn, keep, self._next_settings_hash() if turn == "reconfigured" else None)
        # A call that was in flight ends in the journal it began with, which opens a segment for it: closed at exit.
        journal = run.journal
        self._retired = [old for old in (*self._retired, journal) if old is journal or old.path is not None]
        # After the journal's last words, so that they are delivered too.
        self._before = totals.plus(exported=run.end_delivery())

    def _next_settings_hash(self) -> str | None:
        from .assembly import settings_hash

        return None if self.settings is None else settings_hash(self.settings)

    def _exit(self) -> None:
        self._close("stopped")
        for journal in self._retired:
            journal.close()

    def _after_fork_in_child(self) -> None:
        self.lock = threading.RLock()
        self._before = Totals()
        self._notices.after_fork_in_child()
        if self._run is not None:
            self._run.after_fork_in_child()
        for journal in self._retired:
            journal.after_fork_in_child()


class NothingAudited:
    """Stands in while no Auditor can be built; each request asks anew."""

    def begin(self, invocation: Invocation) -> None:
        return None

    def refuse(self, refusal: Refusal) -> None:
        return None
