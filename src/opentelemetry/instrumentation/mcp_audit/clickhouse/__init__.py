# SPDX-License-Identifier: Apache-2.0
"""Reading records that the Collector's exporter wrote into ClickHouse (``collector-config/clickhouse/mcp_audit.sql``)."""
