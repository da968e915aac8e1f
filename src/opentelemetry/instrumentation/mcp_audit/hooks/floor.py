# SPDX-License-Identifier: Apache-2.0
"""The oldest MCP SDK that is hooked.

Everywhere else the SDK's features decide, never its version. Here they cannot: the server of mcp 1.23.3 is the same,
byte for byte, as that of the supported 1.24.0. The floor is what is tested, and only the version says that.
"""

from __future__ import annotations

import re
from typing import Final

FLOOR: Final = (1, 24)
_NUMBERS: Final = re.compile(r"(\d+)\.(\d+)")


def below_floor() -> str | None:
    """The version of the installed ``mcp`` when it is older than :data:`FLOOR`, else None.

    None too where no version is to be had, as of a copy without its metadata: its features then decide alone.
    """
    from importlib import metadata  # dear, and only wanted where an MCP SDK is imported

    try:
        version = metadata.version("mcp")
    except metadata.PackageNotFoundError:
        return None
    return version if is_below(version) else None


def is_below(version: str) -> bool:
    """Whether a version, such as ``1.23.3`` or ``1.24.0rc1``, is older than the floor; no for one that has no numbers."""
    numbers = _NUMBERS.match(version)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) < FLOOR


def sentence(version: str) -> str:
    """What is said of it, aloud."""
    least = ".".join(map(str, FLOOR))
    return (
        f"requests are NOT audited: mcp {version} is older than {least}, the oldest version that "
        f"opentelemetry-instrumentation-mcp-audit supports; pip install 'mcp>={least}'"
    )
