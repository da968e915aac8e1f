# SPDX-License-Identifier: Apache-2.0
"""Every form in which servers are started, loaded with calls. Used by ``killing.py``."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
from collections.abc import Sequence
from pathlib import Path

from under_load import SERVER, OverHttp, OverStdio, Victim

_UVICORN = ("-m", "uvicorn", "victims:app", "--log-level", "critical", "--no-access-log", "--port")
_GUNICORN = ("-m", "gunicorn", "-k", "uvicorn.workers.UvicornWorker", "--log-level", "critical")
# How many processes serve; where one costs only a fork there are more.
_PROCESSES = {"multiprocessing fork": 6, "multiprocessing spawn": 3}
_TEN = (
    *("stdio",) * 6,
    "os.fork",
    "uvicorn workers",
    "gunicorn preload",
    "multiprocessing fork",
)
FORMS = (
    "stdio",
    "uvicorn",
    "uvicorn workers",
    "gunicorn",
    "gunicorn preload",
    "multiprocessing fork",
    "multiprocessing spawn",
    "os.fork",
    "ten servers",
)


def start(
    form: str, directory: Path, numbers: itertools.count[int], chance: random.Random, began: Path
) -> list[Victim]:
    """Start one of FORMS, its journal in ``directory``, with calls numbered by ``numbers`` under way. Raises OSError.

    ``began``: the file in which its tools say which calls they began.
    """
    victims: list[Victim] = []
    try:
        for one in _TEN if form == "ten servers" else (form,):
            victims.append(_start(one, directory, numbers, chance, began))
    except BaseException:
        for victim in victims:
            victim.kill()
        raise
    return victims


def _start(form: str, directory: Path, numbers: itertools.count[int], chance: random.Random, began: Path) -> Victim:
    if form in ("stdio", "os.fork"):
        return OverStdio(directory, numbers, chance, "fork" if form == "os.fork" else "work", began)
    ports = free_ports(_PROCESSES.get(form, 1))
    env = {"OTEL_MCP_AUDIT_DIR": str(directory)}
    # A journal that is open when its process forks is the children's to leave alone.
    first = form in ("gunicorn preload", "multiprocessing fork", "multiprocessing spawn")
    return OverHttp(http_command(form, ports), ports, numbers, chance, began, env, first=first)


def http_command(form: str, ports: Sequence[int]) -> list[str]:
    """What Python is to run for this form to serve on the ports; only those of multiprocessing serve on more than one."""
    each = [str(port) for port in ports]
    at = ("--no-control-socket", "-b", f"127.0.0.1:{each[0]}", "victims:app")
    return {
        "uvicorn": [*_UVICORN, *each],
        "uvicorn workers": [*_UVICORN, *each, "--workers", "2"],
        "gunicorn": [*_GUNICORN, "-w", "2", *at],
        "gunicorn preload": [*_GUNICORN, "-w", "4", "--preload", *at],
        "multiprocessing fork": [str(SERVER), "fork", *each],
        "multiprocessing spawn": [str(SERVER), "spawn", *each],
    }[form]


def free_ports(count: int) -> list[int]:
    """Ports of this machine on which nobody listens now."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]
