# SPDX-License-Identifier: Apache-2.0
"""Makes the helpers beside these tests, and the stack of the coverage matrix, importable (importlib mode adds no path)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "coverage")]
pytest.importorskip("mcp", reason="the fuzz of the wire needs an MCP SDK in this environment")
