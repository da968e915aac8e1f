# SPDX-License-Identifier: Apache-2.0
"""Metrics through the global MeterProvider: how the trail fares, and how long requests take.

Instruments are made with the first record, so that a process that serves none pays nothing; until somebody sets a
provider they are the API's empty ones. Names: the audit signal's draft, and ``mcp.server.operation.duration`` of the
semantic conventions for MCP. No label is of a caller's choosing: a tool is named only after a call of it succeeded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.instrumentation.mcp_audit.record.attributes import (
    DURATION_US,
    ERROR_TYPE,
    GEN_AI_TOOL_NAME,
    MCP_METHOD_NAME,
    METHODS,
    OUTCOME_DETAIL,
)
from opentelemetry.instrumentation.mcp_audit.sinks.protocol import Entry
from opentelemetry.instrumentation.mcp_audit.totals import Totals

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Histogram, Observation

_SCOPE: Final = "opentelemetry.instrumentation.mcp_audit"
_MAX_TOOLS: Final = 200
_MAX_ERRORS: Final = 50
_OTHER: Final = "_OTHER"
# Of the semantic conventions for MCP, in seconds.
_BOUNDARIES: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Metrics:
    """The instruments of one process. ``read`` tells what the observed ones show."""

    def __init__(self, version: str, read: Callable[[], Totals]) -> None:
        self._version = version
        self._read = read
        self._operation: Histogram | None = None
        self._export: Histogram | None = None
        self._tools: set[str] = set()
        self._errors: set[str] = set()

    def operation(self, entry: Entry) -> None:
        """A request was answered. Called for every record; those of no request are passed over."""
        from opentelemetry import metrics

        if self._operation is None:
            self._make()
        # The API's stand-in for a provider that nobody has set: spare the labels.
        if self._operation is None or type(metrics.get_meter_provider()).__name__ == "_ProxyMeterProvider":
            return
        duration = entry.record.attributes.get(DURATION_US)
        if isinstance(duration, int):
            self._operation.record(duration / 1e6, self._labels(entry.record.attributes))

    def exported(self, count: int, seconds: float, good: bool) -> None:
        """A batch was sent: how long that took, with all its parts."""
        if self._export is not None:
            self._export.record(seconds, {} if good else {ERROR_TYPE: "not_acknowledged"})

    def _make(self) -> None:
        from opentelemetry.metrics import get_meter

        meter = get_meter(_SCOPE, self._version)
        self._operation = meter.create_histogram(
            "mcp.server.operation.duration",
            "s",
            "Duration of an MCP request as its server sees it",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )
        self._export = meter.create_histogram("audit.export.duration", "s", "Duration of a batch's delivery")
        for name in ("emitted", "exported", "dropped", "quarantined"):
            meter.create_observable_counter(
                f"audit.records.{name}", [self._observed(name)], "{record}", f"Audit records {_SAYS[name]}"
            )
        meter.create_observable_gauge(
            "audit.queue.depth",
            [self._observed("waiting")],
            "{record}",
            "Audit records in the journal that are not acknowledged (from their bytes and the mean of those sent)",
        )

    def _observed(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(options: CallbackOptions) -> Sequence[Observation]:
            from opentelemetry.metrics import Observation

            return [Observation(getattr(self._read(), name))]

        return observe

    def _labels(self, attributes: dict[str, Any]) -> dict[str, str]:
        method = str(attributes.get(MCP_METHOD_NAME, _OTHER))
        labels = {MCP_METHOD_NAME: method if method in METHODS else _OTHER}
        tool = attributes.get(GEN_AI_TOOL_NAME)
        if isinstance(tool, str):
            if attributes.get(OUTCOME_DETAIL) == "ok" and len(self._tools) < _MAX_TOOLS:
                self._tools.add(tool)
            labels[GEN_AI_TOOL_NAME] = tool if tool in self._tools else _OTHER
        error = attributes.get(ERROR_TYPE)
        if isinstance(error, str):
            if len(self._errors) < _MAX_ERRORS:
                self._errors.add(error)
            labels[ERROR_TYPE] = error if error in self._errors else _OTHER
        return labels


_SAYS: Final = {
    "emitted": "written to the journal",
    "exported": "acknowledged by the endpoint",
    "dropped": "lost (counted in gap records)",
    "quarantined": "refused by the endpoint and kept in quarantine",
}
