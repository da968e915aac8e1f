# SPDX-License-Identifier: Apache-2.0
"""Makes the helpers beside these tests importable: `stack`, `serving` (importlib mode adds no path)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.importorskip("mcp", reason="the coverage matrix needs an MCP SDK in this environment")
