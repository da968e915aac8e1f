# SPDX-License-Identifier: Apache-2.0
"""``status/<pid>.json``: what this process's audit is doing, for ``doctor``. Rewritten whole, atomically, 0600."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from .hooks.install import HookState
from .notices import Notices

if TYPE_CHECKING:
    from .assembly import Assembled
    from .settings import Settings

_SECONDS: Final = 1.0


class Delivers(Protocol):
    """What delivers this process's journal, and can say how that goes."""

    def status(self) -> dict[str, Any]: ...


class StatusFile:
    """Writes the status of one process, at most once a second; the journal's thread calls :meth:`write` after its work.

    A status that cannot be written is no reason to disturb a server: the same directory holds the journal, whose own
    failure is said loudly; the number of failed attempts is in the next status that works.
    """

    def __init__(
        self,
        assembled: Assembled,
        settings: Settings,
        notices: Notices,
        hooks: Callable[[], Sequence[HookState]],
        delivery: Delivers | None = None,
    ) -> None:
        self._assembled = assembled
        self._settings = settings
        self._notices = notices
        self._hooks = hooks
        self._delivery = delivery
        self._started = time.time()
        self._written = 0.0
        self._failures = 0

    def write(self, force: bool = False) -> None:
        """Bring the file up to date, if it is due or ``force``."""
        now = time.monotonic()
        if not force and now - self._written < _SECONDS:
            return
        self._written = now
        directory = self._assembled.journal.directory / "status"
        temporary = directory / f".{os.getpid()}.tmp"
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(self._content(), file)
            os.replace(temporary, self._path)
        except Exception:  # a provider whose own set-up raises, a value that is no JSON: the status is not worth a call
            self._failures += 1

    def end(self) -> None:
        """The process ends well: its status goes with it, unless there is something that `doctor` should still show."""
        if self._assembled.journal.counters.lost or self._notices.problems:
            self.write(force=True)
            return
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            self._failures += 1

    @property
    def _path(self) -> Path:
        return self._assembled.journal.directory / "status" / f"{os.getpid()}.json"

    def _content(self) -> dict[str, Any]:
        from opentelemetry._logs import get_logger_provider

        journal, settings = self._assembled.journal, self._settings
        return {
            "pid": os.getpid(),
            "started": self._started,
            "updated": time.time(),
            "service": self._assembled.service,
            "versions": dict(item.split("=", 1) for item in self._assembled.versions),
            "hooks": [
                {"module": hook.module, "attribute": hook.attribute, "stack": hook.stack, "state": hook.state}
                for hook in self._hooks()
            ],
            "mode": "journaled",
            "level": settings.level,
            "fsync": settings.fsync,
            "otel_logs": settings.otel_logs,
            "kid": self._assembled.kid,
            "logger_provider": type(get_logger_provider()).__name__,
            "directory": str(journal.directory),
            "file": None if journal.path is None else journal.path.name,
            "records": journal.counters.records,
            "gaps": journal.counters.gaps,
            "dropped": journal.counters.lost,
            "failing": journal.failing,
            "last_error": journal.last_error,
            "delivery": None if self._delivery is None else self._delivery.status(),
            "status_failures": self._failures,
            "problems": [f"{kind} ({count} times)" for kind, count in dict(self._notices.problems).items()],
        }
