# SPDX-License-Identifier: Apache-2.0
"""One shipper a directory at a time: the flock of ``delivered.lock``. A dead holder's is free at once."""

from __future__ import annotations

import os
from pathlib import Path

from opentelemetry.instrumentation.mcp_audit.journal.delivered import DELIVERED_LOCK
from opentelemetry.instrumentation.mcp_audit.journal.disk import Disk


class DirectoryLock:
    """The lock of one directory, for one process; a forked child must :meth:`release` its copy."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        self._path = directory / DELIVERED_LOCK
        self._disk = disk
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Whether it is ours now. Raises OSError when there can be no such file."""
        if self._descriptor is not None:
            return True
        try:
            descriptor = self._disk.open(self._path, append=False)
        except FileNotFoundError:
            try:
                descriptor = self._disk.create(self._path, append=False)
            except FileExistsError:
                return False  # made by another just now: next time
        if self._disk.lock(descriptor):
            self._descriptor = descriptor
            return True
        self._disk.close(descriptor)
        return False

    def release(self) -> None:
        """Give it back; in a forked child: only the child's copy, so that it does not outlive the parent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
