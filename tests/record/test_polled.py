# SPDX-License-Identifier: Apache-2.0
"""An answer to a poll tells what became of a task, or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from opentelemetry.instrumentation.mcp_audit.record.polled import fetched, polled
from opentelemetry.instrumentation.mcp_audit.record.record import Outcome


@pytest.mark.parametrize(
    ("answer", "detail", "error_type"),
    [
        ({"status": "completed", "result": {"content": []}}, "ok", None),
        ({"status": "completed", "result": {"content": [], "isError": True}}, "tool_error", None),
        ({"status": "failed", "error": {"code": -32603, "message": "m" * 9000}}, "protocol_error", "-32603"),
        ({"status": "failed", "statusMessage": "m" * 9000}, "tool_error", "task_failed"),
        ({"status": "cancelled", "statusMessage": "enough"}, "cancelled", None),
    ],
)
def test_what_became_of_a_task(answer: dict[str, Any], detail: str, error_type: str | None) -> None:
    for result in (answer, lambda: answer):
        told = polled(Outcome("ok", result=result))
        assert told is not None
        assert (told.detail, told.error_type, told.result) == (detail, error_type, answer)
        if error_type is not None:
            assert told.error is not None and told.error["message"] == "m" * 8192


@pytest.mark.parametrize(
    "answer",
    [None, [], {}, {"status": "working"}, {"status": "completed"}, {"result": None}, {"result": "text", "error": None}],
)
def test_nothing_yet(answer: Any) -> None:
    assert polled(Outcome("ok", result=answer)) is None


def test_a_result_that_is_none() -> None:
    empty: dict[str, Any] = {"_meta": {"io.modelcontextprotocol/related-task": {"taskId": "t"}}}
    for result in (empty, lambda: empty):
        told = fetched(Outcome("ok", result=result))
        assert (told.detail, told.error_type, told.result) == ("tool_error", "no_result", empty)
    for outcome in (Outcome("ok", result={"content": []}), Outcome("ok"), Outcome("invalid_params", result=empty)):
        assert fetched(outcome) is outcome


def test_a_poll_that_fails_is_told_as_it_is() -> None:
    failed = Outcome("invalid_params", status_code="-32602")
    assert polled(failed) is failed
