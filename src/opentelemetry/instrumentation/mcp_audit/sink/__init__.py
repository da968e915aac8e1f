# SPDX-License-Identifier: Apache-2.0
"""``otel-mcp-audit sink``: an OTLP/HTTP endpoint that keeps records in SQL databases and JSON-lines files."""
