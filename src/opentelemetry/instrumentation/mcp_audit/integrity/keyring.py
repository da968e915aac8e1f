# SPDX-License-Identifier: Apache-2.0
"""The local key for keyed hashes (session ids, tokens, request digests, pseudonyms).

A keyed hash lets equal values be seen as equal without letting anybody who has the trail try values against it. The key
lies in one 0600 file, made at first use; several processes may try at once, the first wins (``link(2)`` refuses to
replace). When the file can be neither read nor made, a key for the life of the process serves, and its ``kid`` says so.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class KeyringError(Exception):
    """The keyring cannot be used; the message says which file and why."""


@dataclass(frozen=True, slots=True)
class HashKey:
    """A key for HMAC-SHA256 and the id that readers see beside its hashes."""

    kid: str
    key: bytes
    # Begun once: a copy costs less than beginning anew, and a call takes several.
    _begun: hmac.HMAC = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_begun", hmac.new(self.key, digestmod="sha256"))

    def hash(self, value: str) -> str:
        """``hmac-sha256:<kid>:<hex>``: one of the trail's fixed forms."""
        made = self._begun.copy()
        made.update(value.encode("utf-8", "surrogatepass"))
        return f"hmac-sha256:{self.kid}:{made.hexdigest()}"


def ephemeral_key() -> HashKey:
    """A key that dies with the process: its hashes compare only within one process's life."""
    key = os.urandom(32)
    return HashKey(f"ephemeral-{key_id(key)}", key)


def key_id(key: bytes) -> str:
    """The first 8 hex characters of SHA-256 of the key."""
    return hashlib.sha256(key).hexdigest()[:8]


def load_or_create(path: Path) -> HashKey:
    """The key for keyed hashes from the keyring at ``path``, which is made (0600) if it is not there.

    Raises :class:`KeyringError` when the file can be neither read nor made, or is open to others.
    """
    try:
        if not path.exists():
            _create(path)
        return _read(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise KeyringError(f"keyring {path}: {error}") from error


def _create(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = os.urandom(32)
    content = {"version": 1, "keys": [{"kid": key_id(key), "use": "hash", "key": base64.b64encode(key).decode()}]}
    temporary = path.parent / f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return  # another process was first: its key is the key
    finally:
        os.unlink(temporary)


def _read(path: Path) -> HashKey:
    with open(path, encoding="utf-8") as file:
        if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o077:
            raise ValueError("open to others; chmod it to 0600")
        content: dict[str, Any] = json.load(file)
    for entry in content["keys"]:
        if entry.get("use") == "hash":
            key = base64.b64decode(entry["key"], validate=True)
            if len(key) < 16:
                raise ValueError(f"key {entry.get('kid')} is shorter than 16 bytes")
            return HashKey(key_id(key), key)
    raise ValueError('holds no key with "use": "hash"')
