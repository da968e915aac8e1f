# SPDX-License-Identifier: Apache-2.0
"""A file system in memory of a given size, for tests of what happens when it is full."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(place: Path, options: str) -> Iterator[Path]:
    """Mount it at ``place`` (made here) with options of tmpfs(5), as root or by a sudo that asks nothing.

    Where that is not possible the test is skipped, but never under CI: there it fails, or nobody would ever know.
    """
    place.mkdir()
    asroot = [] if os.name != "posix" or os.geteuid() == 0 else ["sudo", "-n"]
    owner = f"uid={os.geteuid()},gid={os.getegid()}" if os.name == "posix" else ""
    command = [*asroot, "mount", "-t", "tmpfs", "-o", f"mode=0700,{owner},{options}", "tmpfs", str(place)]
    why = "no such command"
    if shutil.which(command[0]):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        why = (done.stdout + done.stderr).strip() if done.returncode else ""
    if why:
        sentence = f"NOT TESTED HERE: A FULL DISK. No small file system can be mounted ({why})"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)
    try:
        yield place
    finally:
        subprocess.run([*asroot, "umount", "-l", str(place)], check=True, timeout=60)
