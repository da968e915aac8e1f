# SPDX-License-Identifier: Apache-2.0
"""The flat JSON object of ``--json``, and the line as it was."""

from __future__ import annotations

import json

from trail_oracle import Trail

from opentelemetry.instrumentation.mcp_audit.integrity.parse import parse_line
from opentelemetry.instrumentation.mcp_audit.render.flat import flat_line
from opentelemetry.instrumentation.mcp_audit.render.otlp import otlp_for_terminal, otlp_line


def test_attributes_are_keys() -> None:
    trail = Trail()
    trail.call("search\x9b", {"q": 1})
    raw = trail.lines()[-1][:-1]
    record = parse_line(raw)[0]
    flat = json.loads(flat_line(record))
    assert list(flat)[:7] == ["time", "event", "trace_id", "span_id", "service", "file", "line"]
    assert flat["gen_ai.tool.name"] == "search\x9b"
    assert flat["audit.sequence.number"] == 2
    assert flat["arguments"] == {"q": 1}
    assert otlp_line(record).encode() == raw
    assert "\x9b" not in otlp_for_terminal(record)
    assert json.loads(otlp_for_terminal(record)) == json.loads(raw)
