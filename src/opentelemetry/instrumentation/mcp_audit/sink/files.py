# SPDX-License-Identifier: Apache-2.0
"""Records into a file of JSON lines, in the seed's shape or as OTLP; on the disk before the sender is told so.

A file cannot know what it holds: what is sent twice stands there twice. It is rotated by size and never deleted.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from opentelemetry.instrumentation.mcp_audit.render.ocsf import ocsf_line
from opentelemetry.instrumentation.mcp_audit.render.seed import seed_line

from .received import Batch, Received, Rejected
from .store import Away, Kept

_MEGABYTES: Final = 100
_FORMS: Final[dict[str, Callable[[Received], str]]] = {
    "otlp": lambda received: received.line,
    "seed": lambda received: seed_line(received.record),
    "ocsf": lambda received: ocsf_line(received.record),
}


class FileStore:
    """One file, kept by one process. ``max_bytes``: a file that has as many is set aside under a name with the time."""

    def __init__(self, path: Path, form: str, max_bytes: int) -> None:
        self._path = path
        self._form = _FORMS[form]
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._descriptor: int | None = None

    @property
    def name(self) -> str:
        return f"file:{self._path}"

    def write(self, batch: Batch) -> Kept:
        """Append and sync; what could not be written whole is taken back."""
        lines: list[str] = []
        rejected: list[Rejected] = []
        for good, bad in batch.chunks():
            lines += map(self._form, good)
            rejected += bad
        with self._lock:
            try:
                if rejected:
                    self._set_apart(rejected)
                if lines:
                    self._append(lines)
            except OSError as error:
                self._let_go()
                raise Away(f"{error.filename or self._path}: {error.strerror or error}") from error
        return Kept(stored=len(lines), rejected=len(rejected))

    def reject(self, item: Rejected) -> None:
        """Beside the file."""
        with self._lock:
            try:
                self._set_apart([item])
            except OSError as error:
                raise Away(f"{error.filename or self._path}: {error.strerror or error}") from error

    def ping(self) -> None:
        """The directory can be written to."""
        if not os.access(self._path.parent, os.W_OK):
            raise Away(f"{self._path.parent} cannot be written to")

    def tend(self) -> list[str]:
        """Nothing."""
        return []

    def close(self) -> None:
        with self._lock:
            self._let_go()

    # --- with the lock held ----------------------------------------------------------------------------------------

    def _append(self, lines: list[str]) -> None:
        if self._descriptor is None:
            self._descriptor = self._open(self._path)
        if os.fstat(self._descriptor).st_size >= self._max_bytes:
            self._rotate()
            self._descriptor = self._open(self._path)
        self._append_to(self._descriptor, lines)

    def _append_to(self, descriptor: int, lines: list[str]) -> None:
        size = os.fstat(descriptor).st_size
        data = memoryview("".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
        try:
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise

    def _set_apart(self, items: list[Rejected]) -> None:
        descriptor = self._open(self._path.with_name(f"{self._path.name}.rejected"))
        try:
            lines = [json.dumps({"reason": item.reason, "line": item.line}, ensure_ascii=False) for item in items]
            self._append_to(descriptor, lines)
        finally:
            os.close(descriptor)

    def _open(self, path: Path) -> int:
        there = path.exists()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0), 0o600)
        if not there:
            self._sync_directory()
        return descriptor

    def _rotate(self) -> None:
        self._let_go()
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        for more in range(1_000_000):
            aside = self._path.with_name(f"{self._path.name}.{stamp}.{more:06}")
            if not aside.exists():
                os.rename(self._path, aside)
                self._sync_directory()
                return
        raise OSError(f"no free name beside {self._path}")

    def _sync_directory(self) -> None:
        if os.name == "posix":
            directory = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    def _let_go(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def file_store(url: str) -> FileStore:
    """The store for ``file:PATH[?format=otlp|seed|ocsf][&max_megabytes=N]``. Raises ValueError that says what is wrong."""
    split = urlsplit(url)
    asked = {name: values[-1] for name, values in parse_qs(split.query, keep_blank_values=True).items()}
    form, megabytes = asked.pop("format", "otlp"), asked.pop("max_megabytes", str(_MEGABYTES))
    if asked:
        raise ValueError(f"file: {', '.join(asked)} is not known; known are format, max_megabytes")
    if form not in _FORMS:
        raise ValueError(f"file: format={form} is not known; known are {', '.join(_FORMS)}")
    if not (megabytes.isascii() and megabytes.isdigit() and int(megabytes) > 0):
        raise ValueError(f"file: max_megabytes={megabytes} is no positive whole number")
    path = Path(unquote(split.path))
    if not split.path or not path.parent.is_dir():
        raise ValueError(f"file: there is no directory {path.parent} for {path.name or 'a file'}")
    return FileStore(path.absolute(), form, int(megabytes) * 1_000_000)
