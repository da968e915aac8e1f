# SPDX-License-Identifier: Apache-2.0
"""What the operator is told: lines on stderr (stdout is the wire of a stdio server), counted, the same one not forever."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from typing import Final

_REPEAT_SECONDS: Final = 60.0
_KINDS: Final = 100
# What POSIX lets a pipe that is ready take without blocking: at least _POSIX_PIPE_BUF; Linux and macOS 512 and more.
_LINE_BYTES: Final = select.PIPE_BUF if hasattr(select, "PIPE_BUF") else 4096


def describe(error: BaseException) -> str:
    """An exception's type and where it was raised. Never its text: that can hold what a caller sent."""
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    if where is None:
        return type(error).__name__
    return f"{type(error).__name__} in {os.path.basename(where.tb_frame.f_code.co_filename)}:{where.tb_lineno}"


def guarded(report: Callable[[str], None], what: str, step: Callable[..., None], *arguments: object) -> None:
    """Do ``step``; what it raises is reported and ends here."""
    try:
        step(*arguments)
    except (Exception, SystemExit) as error:  # a sink that wants to exit must not take the call with it
        report(f"{what} failed: {describe(error)}")


class Notices:
    """Says sentences on stderr. :meth:`report` says one of a kind at most once a minute and counts the rest."""

    def __init__(self) -> None:
        self.problems: dict[str, int] = {}
        self._last: dict[str, float] = {}
        self._lock = threading.Lock()

    def say(self, sentence: str) -> None:
        """One line, at once. A stderr that is closed or full of somebody's backlog must not hurt the server."""
        line = f"otel-mcp-audit: {_printable(sentence)}".encode()[: _LINE_BYTES - 1]
        try:
            if not _takes_a_line():
                raise BlockingIOError("stderr is a full pipe that nobody reads")
            os.write(2, line + b"\n")
        except OSError:
            # Nobody can be told; the problem still stands in the status file that `doctor` reads.
            self.problems["stderr cannot be written"] = self.problems.get("stderr cannot be written", 0) + 1

    def report(self, sentence: str) -> None:
        """A problem that may come with every call: counted each time, said at most once a minute a kind."""
        kind = sentence.partition(":")[0][:100]
        now = time.monotonic()
        with self._lock:
            if kind not in self.problems and len(self.problems) >= _KINDS:
                kind = "other problems"
            count = self.problems[kind] = self.problems.get(kind, 0) + 1
            due = now - self._last.get(kind, -_REPEAT_SECONDS) >= _REPEAT_SECONDS
            if due:
                self._last[kind] = now
        if due:
            self.say(sentence if count == 1 else f"{sentence} ({count} times so far)")

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()


def _takes_a_line() -> bool:
    """Whether a write to stderr returns at once. Clients that never read a server's stderr exist; ours must not hang it."""
    if not hasattr(select, "poll"):  # pragma: no cover - Windows
        return True
    poll = select.poll()
    poll.register(2, select.POLLOUT)
    return bool(poll.poll(0))


def _printable(text: str) -> str:
    """No control characters: what a caller chose must not drive the operator's terminal."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text[:2000])
