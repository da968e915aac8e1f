# SPDX-License-Identifier: Apache-2.0
"""``python -m opentelemetry.instrumentation.mcp_audit.cli``: the command, where its script is not on the path."""

from . import main

main()
