# SPDX-License-Identifier: Apache-2.0
"""The file of requests that a sink will never take: one JSON line each, on the disk before anybody is told 200."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

# Secrets of the sender.
_LEFT_OUT: Final = frozenset(("authorization", "proxy-authorization", "cookie", "dd-api-key", "api-key", "x-api-key"))


class Kept:
    """Appends to one file (0600). Safe to use from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def add(self, target: str, headers: Mapping[str, str], body: bytes, status: int, answer: bytes) -> None:
        """``{"time", "target", "status", "answer", "headers", "body"}``; the body in base64. Raises OSError."""
        line = json.dumps(
            {
                "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
                "target": target,
                "status": status,
                "answer": answer[:2000].decode("utf-8", "replace"),
                "headers": {name: value for name, value in headers.items() if name.lower() not in _LEFT_OUT},
                "body": base64.b64encode(body).decode(),
            }
        )
        data = f"{line}\n".encode()
        with self._lock:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
            descriptor = os.open(self._path, flags, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                try:
                    if os.write(descriptor, data) != len(data):
                        raise OSError(f"{self._path}: only a part could be written (is the disk full?)")
                    os.fsync(descriptor)
                except OSError:
                    os.ftruncate(descriptor, size)
                    raise
            finally:
                os.close(descriptor)
