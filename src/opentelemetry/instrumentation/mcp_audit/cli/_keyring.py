# SPDX-License-Identifier: Apache-2.0
"""What ``doctor`` says of the keyring that a server started from this environment would use. Read, never made."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from opentelemetry.instrumentation.mcp_audit.integrity.keyring import KeyringError, load_or_create

from ._checks import Check

_TOPIC: Final = "keyring"
_ELSE: Final = "until then every process uses a key of its own, and its keyed hashes compare with no other's"


def keyring(path: str, kids: Collection[str] = ()) -> Iterator[Check]:
    """Is the keyring there, private, and does it hold a key; ``kids``: the ids of the keys that live processes use."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        yield _absent(path)
        yield from _others(path, None, kids)
        return
    except OSError as error:
        yield Check(_TOPIC, "red", f"{path} cannot be read: {error.strerror or error}; {_ELSE}")
        return
    if not stat.S_ISREG(status.st_mode):
        yield Check(_TOPIC, "red", f"{path} is not a regular file; {_ELSE}")
        return
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        yield Check(_TOPIC, "red", f"{path} has mode {mode:04o}, open to others; chmod 0600 it; {_ELSE}")
        return
    try:
        kid = load_or_create(Path(path)).kid  # it is there, so nothing is made
    except KeyringError as error:
        yield Check(_TOPIC, "red", f"{error}; {_ELSE}")
        return
    if status.st_uid != os.geteuid():
        yield Check(
            _TOPIC, "yellow", f"{path} belongs to user {status.st_uid}: run doctor as the user that the server has"
        )
    folder = os.stat(os.path.dirname(path)).st_mode
    if folder & 0o022 and not folder & stat.S_ISVTX:
        yield Check(_TOPIC, "yellow", f"others can replace {path}: its directory has mode {stat.S_IMODE(folder):04o}")
    yield Check(_TOPIC, "green", f"{path}: key {kid}, mode {mode:04o}")
    yield from _others(path, kid, kids)


def _absent(path: str) -> Check:
    if os.path.islink(path):
        return Check(_TOPIC, "red", f"{path} is a link to nothing; {_ELSE}")
    above = next((str(parent) for parent in Path(path).parents if parent.is_dir()), "/")
    if not os.access(above, os.W_OK | os.X_OK):
        return Check(_TOPIC, "red", f"{path} is not there and cannot be made in {above}; {_ELSE}")
    return Check(_TOPIC, "green", f"{path} is not there yet; it is made with the first server")


def _others(path: str, kid: str | None, kids: Collection[str]) -> Iterator[Check]:
    other = sorted(used for used in kids if used != kid)
    if other:
        yield Check(
            _TOPIC,
            "yellow",
            f"running servers use the key {', '.join(other)}, which is not in {path}: their environment is another "
            "than this one, or the file was replaced",
        )
