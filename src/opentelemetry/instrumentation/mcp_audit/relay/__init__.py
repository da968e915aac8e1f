# SPDX-License-Identifier: Apache-2.0
"""``otel-mcp-audit relay``: between a Collector and a sink that refuses for a moment what the Collector would then drop."""
