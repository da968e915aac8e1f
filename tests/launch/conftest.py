# SPDX-License-Identifier: Apache-2.0
"""Makes ``tests/servers`` importable: its environments (``venvs``) and its strict client over stdio (``wire``)."""

from __future__ import annotations

import sys
from pathlib import Path

_SERVERS = str(Path(__file__).parents[1] / "servers")
if _SERVERS not in sys.path:
    sys.path.insert(0, _SERVERS)
