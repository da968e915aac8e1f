# SPDX-License-Identifier: Apache-2.0
"""SHA-256 as the trail spells it: 64 lowercase hex digits."""

from __future__ import annotations

import hashlib
from typing import Final

# OpenSSL looks its algorithm up anew for each hash that is begun, which takes longer than hashing a record; a copy of a
# hash that was begun needs no look-up.
_BEGUN: Final = hashlib.sha256()


def sha256_hex(data: bytes) -> str:
    """The digest of ``data``."""
    made = _BEGUN.copy()
    made.update(data)
    return made.hexdigest()
