# SPDX-License-Identifier: Apache-2.0
"""Run a server script, audited: ``launcher.py SCRIPT``. What ``opentelemetry-instrument`` does, without its exporters."""

from __future__ import annotations

import runpy
import sys

from opentelemetry.instrumentation.mcp_audit.instrumentor import McpAuditInstrumentor

if __name__ == "__main__":
    McpAuditInstrumentor().instrument()
    assert "mcp" not in sys.modules, "instrumenting must import no SDK"
    runpy.run_path(sys.argv[1], run_name="__main__")
