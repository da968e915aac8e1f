# SPDX-License-Identifier: Apache-2.0
"""What bears a segment's name, or leads to a journal, and is not read: links, pipes and devices inside a directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from opentelemetry.instrumentation.mcp_audit.integrity.files import SEGMENT_SUFFIX, odd_files
from opentelemetry.instrumentation.mcp_audit.integrity.parse import Problem


def not_read(paths: Iterable[str]) -> list[Problem]:
    """One problem for each such thing in the directories ``paths`` and right below these, in order, each once.

    What cannot be listed is left out: that a directory cannot be read is told where its journal is looked for.
    """
    found: dict[str, Problem] = {}
    for path in paths:
        for directory in (path, *_below(path)):
            for file, why in _odd(directory):
                found.setdefault(file, Problem(file, 0, 0, f"not a regular file; not read ({why})"))
    return list(found.values())


def _odd(directory: str) -> Iterator[tuple[str, str]]:
    try:
        for file, why in odd_files(directory):
            mode = os.lstat(file).st_mode
            named = file.endswith(SEGMENT_SUFFIX) and not stat.S_ISREG(mode)
            if named or (stat.S_ISLNK(mode) and os.path.isdir(file)):
                yield file, why
    except OSError:
        return


def _below(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
