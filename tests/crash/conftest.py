# SPDX-License-Identifier: Apache-2.0
"""Makes the helpers of this directory and ``tests/helpers`` importable by name."""

import sys
from pathlib import Path

for _directory in (Path(__file__).parent, Path(__file__).parents[1] / "helpers"):
    if str(_directory) not in sys.path:
        sys.path.insert(0, str(_directory))
