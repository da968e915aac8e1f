# SPDX-License-Identifier: Apache-2.0
"""The end of a server that was started to run only audited (``otel-mcp-audit run``), and cannot be."""

from __future__ import annotations

import os
from typing import Final, NoReturn

from .notices import Notices

EXIT_CONFIGURATION: Final = 78  # EX_CONFIG of sysexits.h


def end_process(notices: Notices, why: str) -> NoReturn:
    """Say why and end this process at once, whatever it is doing."""
    notices.say(f"ending with {EXIT_CONFIGURATION}, because this server was started to run only audited: {why}")
    os._exit(EXIT_CONFIGURATION)
