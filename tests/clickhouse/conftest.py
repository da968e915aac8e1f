# SPDX-License-Identifier: Apache-2.0
"""Makes ``tests/helpers`` importable for the tests of this directory."""

import sys
from pathlib import Path

_HELPERS = str(Path(__file__).parents[1] / "helpers")
if _HELPERS not in sys.path:
    sys.path.insert(0, _HELPERS)
