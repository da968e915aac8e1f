# SPDX-License-Identifier: Apache-2.0
"""The status files that instrumented processes keep (``status/<pid>.json``), read with doubt: members may be missing."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

State = Literal["live", "dead"]


@dataclass(slots=True)
class ProcessStatus:
    """One process as it last described itself. Times are seconds since the epoch, 0 when unknown."""

    file: str
    pid: int
    state: State
    service: str = ""
    started: float = 0
    updated: float = 0
    mode: str = ""
    level: str = ""
    fsync: str = ""
    otel_logs: str = ""
    logger_provider: str = ""
    kid: str = ""
    records: int = 0
    gaps: int = 0
    dropped: int = 0
    failing: bool = False
    last_error: str | None = None
    delivery_error: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    hooks: list[dict[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def hooked(self) -> list[dict[str, str]]:
        return [hook for hook in self.hooks if hook.get("state") == "hooked"]

    def missing(self) -> list[dict[str, str]]:
        return [hook for hook in self.hooks if hook.get("state") == "missing"]


def read_statuses(directory: str) -> tuple[list[ProcessStatus], list[str]]:
    """The statuses below one journal directory, and a sentence for every file that could not be read."""
    found: list[ProcessStatus] = []
    problems: list[str] = []
    folder = Path(directory, "status")
    try:
        files = sorted(folder.glob("*.json"))
    except OSError as error:
        return [], [f"{folder}: {error.strerror or error}"]
    for file in files:
        try:
            if not stat.S_ISREG(file.lstat().st_mode):
                raise ValueError("not a regular file; not read")
            content = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError("no JSON object")
            found.append(_status(str(file), content))
        except (OSError, ValueError, RecursionError) as error:
            problems.append(f"{file}: {error}")
    return found, problems


def _status(file: str, content: dict[str, Any]) -> ProcessStatus:
    pid = _number(content.get("pid") or Path(file).stem)
    updated = _seconds(content.get("updated"))
    error = content.get("last_error")
    versions = content.get("versions")
    return ProcessStatus(
        file=file,
        pid=pid,
        state="live" if is_alive(pid, updated) else "dead",
        service=str(content.get("service") or ""),
        started=_seconds(content.get("started")),
        updated=updated,
        mode=str(content.get("mode") or ""),
        level=str(content.get("level") or ""),
        fsync=str(content.get("fsync") or ""),
        otel_logs=str(content.get("otel_logs") or ""),
        logger_provider=str(content.get("logger_provider") or ""),
        kid=str(content.get("kid") or ""),
        records=_number(content.get("records")),
        gaps=_number(content.get("gaps")),
        dropped=_number(content.get("dropped")),
        failing=content.get("failing") is True,
        last_error=None if error is None else str(error),
        delivery_error=_delivery_error(content.get("delivery")),
        versions={str(name): str(version) for name, version in _pairs(versions)},
        hooks=[
            {str(name): str(value) for name, value in hook.items()}
            for hook in _items(content.get("hooks"))
            if isinstance(hook, dict)
        ],
        problems=[str(problem) for problem in _items(content.get("problems"))],
    )


def _delivery_error(delivery: Any) -> str | None:
    error = delivery.get("last_error") if isinstance(delivery, dict) else None
    return None if error is None else str(error)


def is_alive(pid: int, updated: float) -> bool:
    """Whether the process that wrote at ``updated`` still runs. A younger process with its pid is another one."""
    if pid <= 0:
        return False
    if os.name != "posix":
        return True  # there os.kill(pid, 0) would end the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # somebody else's process: it runs, and we may not signal it
    began = _process_start(pid)
    # One second of grace: the kernel counts in ticks since boot, the boot time is known to the second.
    return began is None or updated == 0 or began <= updated + 1


def _process_start(pid: int) -> float | None:
    """When a process began, in seconds since the epoch; None where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot = next(
            line for line in Path("/proc/stat").read_text(encoding="ascii").splitlines() if line.startswith("btime ")
        )
        return int(boot.split()[1]) + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return 0


def _seconds(value: Any) -> float:
    # JSON as Python reads it holds numbers that no clock gives, infinite ones too.
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e12
    return float(value) if usable else 0.0
