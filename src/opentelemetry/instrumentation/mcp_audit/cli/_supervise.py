# SPDX-License-Identifier: Apache-2.0
"""Run a child that has our stdin, stdout and stderr; pass signals on; end as it ends.

On POSIX signals are blocked and taken one by one (``sigwaitinfo``), which tells who sent them: what the terminal sends
(Ctrl-C) goes to the whole foreground group and so has reached the child already, everything else is passed on. Where
that is missing (macOS, Windows) handlers pass everything on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Final

_NAMES: Final = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGBREAK")
_FORWARDED: Final = frozenset(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_SENT_BY_KERNEL: Final = 0x80  # SI_KERNEL: by the terminal, not by a process
_PR_SET_PDEATHSIG: Final = 1


def supervise(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """The exit code of ``command``, 128+n when signal n ended it. Raises OSError when it cannot be started."""
    if sys.platform == "linux":
        return _with_sigwait(command, environ)
    return _with_handlers(command, environ)


def exit_code(returncode: int) -> int:
    """What a shell would report for a child that returned this (negative: ended by a signal)."""
    return 128 - returncode if returncode < 0 else returncode


if sys.platform == "linux":

    def _with_sigwait(command: Sequence[str], environ: Mapping[str, str]) -> int:
        watched = _FORWARDED | {signal.SIGCHLD}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
        die_with_us = _DieWithParent()

        def in_child() -> None:
            # Should we be killed without a chance to pass it on, the child must not live on unsupervised.
            die_with_us()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

        try:
            child = subprocess.Popen(command, env=environ, preexec_fn=in_child)
            while child.poll() is None:
                received = signal.sigwaitinfo(watched)
                if received.si_signo in _FORWARDED and received.si_code != _SENT_BY_KERNEL:
                    child.send_signal(received.si_signo)
            return exit_code(child.returncode)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _with_handlers(command: Sequence[str], environ: Mapping[str, str]) -> int:
    child: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        if child is None:
            early.append(number)
        else:
            child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in _FORWARDED}
    try:
        child = subprocess.Popen(command, env=environ)
        for number in early:
            child.send_signal(number)
        return exit_code(child.wait())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _DieWithParent:
    """``prctl(PR_SET_PDEATHSIG, SIGTERM)``, looked up before the fork; does nothing where there is no such call."""

    def __init__(self) -> None:
        import ctypes

        self._parent = os.getpid()
        self._call: Callable[..., int] | None = None
        try:
            self._call = ctypes.CDLL(None).prctl
        except (OSError, AttributeError):
            self._call = None  # an unusual libc: the child then outlives a supervisor that was killed

    def __call__(self) -> None:
        if self._call is not None:
            self._call(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
            if os.getppid() != self._parent:
                os.kill(os.getpid(), signal.SIGTERM)  # we died between fork and this call
