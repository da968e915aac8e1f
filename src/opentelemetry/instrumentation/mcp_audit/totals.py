# SPDX-License-Identifier: Apache-2.0
"""What became of the records of this process, in numbers."""

from __future__ import annotations

from typing import NamedTuple


class Totals(NamedTuple):
    """Records since the process began, and about how many wait to be acknowledged."""

    emitted: int = 0
    exported: int = 0
    dropped: int = 0
    quarantined: int = 0
    waiting: int = 0

    def plus(self, **more: int) -> Totals:
        """These and so many more of some."""
        return self._replace(**{name: getattr(self, name) + count for name, count in more.items()})
