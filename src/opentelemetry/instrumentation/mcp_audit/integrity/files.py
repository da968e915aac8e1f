# SPDX-License-Identifier: Apache-2.0
"""What lies in a journal directory: which files are segments, which are ours beside them, and what is odd.

Nothing inside a directory is followed: a link, a pipe or a device that bears a segment's name is told of, never opened.
Only what the caller named himself may be a link.
"""

from __future__ import annotations

import os
import re
import stat
from typing import Final

LEDGER: Final = "ledger.jsonl"
SEGMENT_SUFFIX: Final = ".jsonl"
MARKER_SUFFIX: Final = ".calls"
SEGMENT_NAME: Final = re.compile(r"(\d{8}T\d{6}Z)-\d+-.+\.jsonl")
_UNFINISHED_MARKER: Final = ".calls.new"

_SIDE_FILES: Final = frozenset(
    (LEDGER, "ledger.lock", "reserve", "acknowledged.json", "keyring.json", "delivered.log", "delivered.lock")
)
_SIDE_DIRECTORIES: Final = frozenset(("status", "quarantine"))
_KINDS: Final = (
    (stat.S_ISLNK, "a symbolic link, which is not followed"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISCHR, "a device"),
)


def segment_files(directory: str) -> list[str]:
    """The segments of one journal directory, oldest first (their names begin with the time). Raises OSError."""
    with os.scandir(directory) as entries:
        return sorted(entry.path for entry in entries if _is_segment(entry))


def is_segment_name(path: str) -> bool:
    """Whether a file is called as a journal calls its segments: time, process, stream."""
    return SEGMENT_NAME.fullmatch(os.path.basename(path)) is not None


def marker_files(directory: str) -> list[str]:
    """The start markers (open calls) of the processes that write or wrote here. Raises OSError."""
    with os.scandir(directory) as entries:
        return sorted(
            entry.path
            for entry in entries
            if entry.name.endswith(MARKER_SUFFIX) and entry.is_file(follow_symlinks=False)
        )


def ledger_file(directory: str) -> str | None:
    """The ledger of a journal directory, None when there is none (or what bears its name is no regular file)."""
    path = os.path.join(directory, LEDGER)
    try:
        return path if stat.S_ISREG(os.lstat(path).st_mode) else None
    except (OSError, ValueError):
        return None


def journal_directories(directory: str) -> list[str]:
    """``directory`` if it holds segments or a ledger, and those right below it that do. Raises OSError.

    One below it that may not be listed counts as a journal: whoever reads it then says so, and goes on with the rest.
    """
    with os.scandir(directory) as entries:
        below = sorted(
            entry.path
            for entry in entries
            if entry.name not in _SIDE_DIRECTORIES and entry.is_dir(follow_symlinks=False)
        )
    itself = [directory] if is_journal(directory) else []
    return itself + [path for path in below if _may_be_journal(path)]


def _may_be_journal(directory: str) -> bool:
    try:
        return is_journal(directory)
    except FileNotFoundError:
        return False  # gone since it was listed
    except OSError:
        return True


def is_journal(directory: str) -> bool:
    """Whether there is anything in ``directory`` that only a journal has. Raises OSError."""
    with os.scandir(directory) as entries:
        return any(_is_segment(entry) or _is_ledger(entry) for entry in entries)


def odd_files(directory: str) -> list[tuple[str, str]]:
    """What lies in a journal directory and is not the journal's: path and what it is, for a sentence. Raises OSError."""
    found: list[tuple[str, str]] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                mode = entry.stat(follow_symlinks=False).st_mode
            except FileNotFoundError:
                continue  # gone since it was listed: a marker, a pruned segment
            why = _odd(entry.name, entry.path, mode)
            if why is not None:
                found.append((entry.path, why))
    return sorted(found)


def _odd(name: str, path: str, mode: int) -> str | None:
    if stat.S_ISREG(mode):
        ours = name in _SIDE_FILES or name.endswith((SEGMENT_SUFFIX, MARKER_SUFFIX)) or _is_temporary(name)
        return None if ours else "not a file of the journal"
    kind = next((what for is_kind, what in _KINDS if is_kind(mode)), "no regular file")
    if name in _SIDE_FILES or name.endswith((SEGMENT_SUFFIX, MARKER_SUFFIX)):
        return f"{kind} where a file of the journal would be"
    if stat.S_ISDIR(mode):
        if name in _SIDE_DIRECTORIES:
            return None
        try:
            # The journals of several services may lie below a directory that is one itself.
            return None if is_journal(path) else "a directory that is not the journal's"
        except OSError as error:
            return f"a directory that cannot be read ({error.strerror})"
    return f"{kind}, not a file of the journal"


def _is_temporary(name: str) -> bool:
    """A side file that is just being made or replaced: its name with something before or behind it."""
    return name.endswith(_UNFINISHED_MARKER) or any(name.startswith((f".{side}.", f"{side}.")) for side in _SIDE_FILES)


def _is_segment(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith(SEGMENT_SUFFIX) and entry.name != LEDGER and entry.is_file(follow_symlinks=False)


def _is_ledger(entry: os.DirEntry[str]) -> bool:
    return entry.name == LEDGER and entry.is_file(follow_symlinks=False)
