# SPDX-License-Identifier: Apache-2.0
"""Makes the campaign and ``tests/helpers`` importable by name."""

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
for _folder in (_HERE, _HERE.parents[1] / "helpers"):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))
