# SPDX-License-Identifier: Apache-2.0
"""What became of a task, as the answers to the requests for it tell. Pure.

Since SEP-2663 the answer of ``tasks/get`` brings the result once there is one; before, its ``status`` says that the task
failed or was cancelled, and ``tasks/result`` brings what there is. A client polls every second or so: of the answers
that only say "working" the trail keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from .record import Outcome

POLLS: Final = frozenset({"tasks/get"})
# Where fastmcp 2.14 says in `_meta` that an answer is a task's, before the protocol had a place for it.
TASK_META: Final = "modelcontextprotocol.io/task"
_MESSAGE_LIMIT: Final = 8192


def polled(outcome: Outcome) -> Outcome | None:
    """The outcome of the task; of the poll itself, where that failed; None while there is nothing to tell."""
    if outcome.detail != "ok":
        return outcome
    answer = _answer(outcome)
    if not isinstance(answer, Mapping):
        return None
    if answer.get("status") == "cancelled":
        return Outcome("cancelled", result=answer)
    result, error = answer.get("result"), answer.get("error")
    if isinstance(error, Mapping):
        return _failed(error, answer)
    if answer.get("status") == "failed":
        message = str(answer.get("statusMessage") or "")[:_MESSAGE_LIMIT]
        return Outcome("tool_error", error_type="task_failed", result=answer, error={"message": message})
    if not isinstance(result, Mapping):
        return None
    return Outcome("tool_error" if result.get("isError") is True else "ok", result=answer)


def fetched(outcome: Outcome) -> Outcome:
    """The outcome of the task. mcp 1.x answers for one that failed or was cancelled with an empty result."""
    if outcome.detail != "ok":
        return outcome
    answer = _answer(outcome)
    if isinstance(answer, Mapping) and not answer.keys() - {"_meta"}:
        return Outcome("tool_error", error_type="no_result", result=answer)
    return outcome


TASK_ANSWERS: Final[Mapping[str, Callable[[Outcome], Outcome | None]]] = {"tasks/get": polled, "tasks/result": fetched}
"""By method: the outcome that its record tells, None for no record."""


def _answer(outcome: Outcome) -> Any:
    return outcome.result() if callable(outcome.result) else outcome.result


def _failed(error: Mapping[str, Any], answer: Mapping[str, Any]) -> Outcome:
    code, message = str(error.get("code")), str(error.get("message", ""))[:_MESSAGE_LIMIT]
    return Outcome(
        "protocol_error", error_type=code, result=answer, error={"code": error.get("code"), "message": message}
    )
