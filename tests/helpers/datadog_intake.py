# SPDX-License-Identifier: Apache-2.0
"""A local endpoint that behaves as Datadog's OTLP logs intake is documented to, Datadog itself being out of reach of a test.

It takes ``POST /v1/logs`` in protobuf with the right ``dd-api-key``, answers 403 to another key, and refuses a request
over the limits that Datadog states for its logs API. It can be told to answer otherwise, or to hang up.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from endpoint import Endpoint, Reply, Request

PATH, KEY = "/v1/logs", "0123456789abcdef0123456789abcdef"
# https://docs.datadoghq.com/api/latest/logs/#send-logs
MAX_BYTES, MAX_RECORDS = 5_000_000, 1000


class DatadogIntake:
    """``url`` for the exporter; ``ids`` of the records that were taken, in order, repeated ones too.

    ``answer``: a status to give instead of judging, or ``"reset"`` to hang up; None: judge. ``refused`` counts by status.
    """

    def __init__(self) -> None:
        self.answer: int | str | None = None
        self.refused: dict[int | str, int] = {}
        self._taken: list[Request] = []
        self._endpoint = Endpoint(self._judge)
        self.url = f"http://127.0.0.1:{self._endpoint.port}{PATH}"

    @property
    def ids(self) -> list[str]:
        return [one for request in list(self._taken) for one in request.ids]

    @property
    def taken(self) -> list[Request]:
        """The requests that were taken."""
        return list(self._taken)

    def logs(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """What was taken, decoded: each record's resource attributes, and the record (``MessageToDict``) with its
        attributes by name under ``facts``."""
        from google.protobuf.json_format import MessageToDict
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

        return [
            (_facts(group["resource"]), {**record, "facts": _facts(record)})
            for request in self.taken
            for group in MessageToDict(ExportLogsServiceRequest.FromString(request.body))["resourceLogs"]
            for scoped in group["scopeLogs"]
            for record in scoped["logRecords"]
        ]

    def close(self) -> None:
        self._endpoint.close()

    def _judge(self, request: Request) -> Reply:
        verdict = self.answer or _status(request)
        if verdict == 200:
            self._taken.append(request)
            return Reply()
        self.refused[verdict] = self.refused.get(verdict, 0) + 1
        if verdict == "reset":
            return Reply(close=True, body=b"")
        return Reply(status=int(verdict), body=b"refused")


@contextlib.contextmanager
def datadog_intake() -> Iterator[DatadogIntake]:
    """A running intake."""
    intake = DatadogIntake()
    try:
        yield intake
    finally:
        intake.close()


def _status(request: Request) -> int:
    if request.path != PATH:
        return 404
    if request.headers.get("dd-api-key") != KEY:
        return 403
    if request.headers.get("content-type") != "application/x-protobuf":
        return 400
    return 413 if len(request.body) > MAX_BYTES or len(request.ids) > MAX_RECORDS else 200


def _facts(holder: dict[str, Any]) -> dict[str, Any]:
    return {item["key"]: _value(item["value"]) for item in holder.get("attributes", ())}


def _value(value: dict[str, Any]) -> Any:
    ((kind, inner),) = value.items()
    if kind == "arrayValue":
        return [_value(one) for one in inner.get("values", ())]
    return int(inner) if kind == "intValue" else inner
