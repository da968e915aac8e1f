# SPDX-License-Identifier: Apache-2.0
"""A sink that appends to one file (0600): the journal's OTLP lines, or the seed's JSON, one object a line."""

from __future__ import annotations

import json
import os
import threading
from typing import Literal

from opentelemetry.instrumentation.mcp_audit.render.seed import to_seed

from .protocol import Entry


class FileSink:
    """Appends each record to ``path``, which is made (0600) if it is not there. Raises OSError when that fails.

    A convenience copy: no chain of its own, no rotation, no sync to the disk. The journal is the trail.
    """

    def __init__(self, path: str | os.PathLike[str], format: Literal["seed", "otlp"] = "seed") -> None:  # noqa: A002
        if format not in ("seed", "otlp"):
            raise ValueError(f"format: {format!r} cannot be used; allowed: seed, otlp")
        self._format = format
        self._path = os.path.abspath(path)
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._descriptor: int | None = self._open()

    def write(self, entry: Entry) -> None:
        if self._format == "otlp":
            line = entry.line
        else:
            line = json.dumps(to_seed(entry.record), ensure_ascii=False).encode() + b"\n"
        if self._pid != os.getpid():
            # A fork may have copied a lock that was held: the child has nobody who would release it.
            self._pid, self._lock = os.getpid(), threading.Lock()
        with self._lock:
            # None after close(): an instrumentation that was reconfigured goes on with the sinks it had.
            descriptor = self._descriptor = self._open() if self._descriptor is None else self._descriptor
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(descriptor, rest) :]

    def close(self) -> None:
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0), 0o600)
