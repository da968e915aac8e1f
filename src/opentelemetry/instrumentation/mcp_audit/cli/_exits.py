# SPDX-License-Identifier: Apache-2.0
"""Exit codes that several commands share."""

from __future__ import annotations

from typing import Final

EXIT_UNREADABLE: Final = 2
"""Nothing could be read, or what was named cannot be used."""
