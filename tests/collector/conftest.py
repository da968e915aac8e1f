# SPDX-License-Identifier: Apache-2.0
"""Makes ``tests/helpers`` importable for the tests of this directory; a disk that is soon full."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_HELPERS = str(Path(__file__).parents[1] / "helpers")
if _HELPERS not in sys.path:
    sys.path.insert(0, _HELPERS)

import small_disk as mounting  # noqa: E402


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    with mounting.small_disk(tmp_path / "disk", "size=1m") as place:
        yield place
