# SPDX-License-Identifier: Apache-2.0
"""Metrics: exact names, units, values and labels, by the SDK's own reader; and nothing without a provider."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from opentelemetry.instrumentation.mcp_audit.otel.metrics import Metrics
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord
from opentelemetry.instrumentation.mcp_audit.sinks.protocol import Entry
from opentelemetry.instrumentation.mcp_audit.totals import Totals


def entry(**attributes: Any) -> Entry:
    return Entry(AuditRecord("mcp_audit.tool_call", 1, 1, attributes), "s", 1, None, "h", b"")


def call(tool: str, detail: str = "ok", duration: int = 1_500_000, **more: Any) -> Entry:
    return entry(
        **{
            "mcp.method.name": "tools/call",
            "gen_ai.tool.name": tool,
            "mcp_audit.outcome.detail": detail,
            "mcp_audit.duration_us": duration,
            **more,
        }
    )


def collected(reader: InMemoryMetricReader) -> dict[str, Any]:
    tree = json.loads(reader.get_metrics_data().to_json())
    (scope,) = tree["resource_metrics"][0]["scope_metrics"]
    assert scope["scope"]["name"] == "opentelemetry.instrumentation.mcp_audit"
    return {metric["name"]: metric for metric in scope["metrics"]}


def with_provider(monkeypatch: Any) -> InMemoryMetricReader:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr("opentelemetry.metrics.get_meter_provider", lambda: provider)
    monkeypatch.setattr("opentelemetry.metrics.get_meter", provider.get_meter)
    return reader


def test_names_units_and_values(monkeypatch: Any) -> None:
    reader = with_provider(monkeypatch)
    metrics = Metrics("1.0", lambda: Totals(7, 5, 1, 1, 2))
    metrics.operation(call("add"))
    metrics.exported(5, 0.25, True)
    found = collected(reader)
    values = {name: (metric["unit"], metric["data"]["data_points"][0].get("value")) for name, metric in found.items()}
    assert values == {
        "mcp.server.operation.duration": ("s", None),
        "audit.export.duration": ("s", None),
        "audit.records.emitted": ("{record}", 7),
        "audit.records.exported": ("{record}", 5),
        "audit.records.dropped": ("{record}", 1),
        "audit.records.quarantined": ("{record}", 1),
        "audit.queue.depth": ("{record}", 2),
    }
    (point,) = found["mcp.server.operation.duration"]["data"]["data_points"]
    assert (point["sum"], point["count"]) == (1.5, 1)
    assert point["attributes"] == {"mcp.method.name": "tools/call", "gen_ai.tool.name": "add"}
    assert point["explicit_bounds"][0] == 0.01 and point["explicit_bounds"][-1] == 300


def test_what_a_caller_chooses_is_no_label(monkeypatch: Any) -> None:
    reader = with_provider(monkeypatch)
    metrics = Metrics("1.0", Totals)
    metrics.operation(call("add"))
    metrics.operation(call("add", "tool_error", **{"error.type": "tool_error"}))
    for number in range(300):
        metrics.operation(call(f"made-up-{number}", "unknown_tool", **{"error.type": f"-{number}"}))
        metrics.operation(entry(**{"mcp.method.name": f"made/up{number}", "mcp_audit.duration_us": 1}))
    metrics.operation(entry(**{"mcp_audit.lifecycle.kind": "opened"}))
    points = collected(reader)["mcp.server.operation.duration"]["data"]["data_points"]
    assert {point["attributes"].get("gen_ai.tool.name") for point in points} == {"add", "_OTHER", None}
    assert {point["attributes"]["mcp.method.name"] for point in points} == {"tools/call", "_OTHER"}
    assert len(points) < 60
    assert sum(point["count"] for point in points) == 602


def test_nothing_is_loaded_and_nothing_fails_without_a_provider() -> None:
    code = (
        "import sys\n"
        "from opentelemetry.instrumentation.mcp_audit.otel.metrics import Metrics\n"
        "assert 'opentelemetry.metrics' not in sys.modules\n"
        "from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord\n"
        "from opentelemetry.instrumentation.mcp_audit.sinks.protocol import Entry\n"
        "from opentelemetry.instrumentation.mcp_audit.totals import Totals\n"
        "metrics = Metrics('1', Totals)\n"
        "metrics.operation(Entry(AuditRecord('x', 1, 1, {'mcp_audit.duration_us': 1}), 's', 1, None, 'h', b''))\n"
        "metrics.exported(1, 0.1, True)\n"
        "assert not any(name.startswith('opentelemetry.sdk') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
