# SPDX-License-Identifier: Apache-2.0
"""The command ``otel-mcp-audit``. Its parts are imported when they are called, so that ``--help`` is quick."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        import click  # noqa: F401
    except ModuleNotFoundError:
        extra = 'pip install "opentelemetry-instrumentation-mcp-audit[cli]"'
        print(f'otel-mcp-audit needs the extra "cli": {extra}', file=sys.stderr)
        sys.exit(2)
    from .app import run

    sys.exit(run(sys.argv[1:]))
