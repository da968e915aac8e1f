# SPDX-License-Identifier: Apache-2.0
"""Makes the helpers of this directory, and those of all tests, importable by name."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "helpers")]
