# SPDX-License-Identifier: Apache-2.0
"""What became of a task, as a poll for it tells: since SEP-2663 the answer of ``tasks/get`` brings the result once there is one.

A client polls until then, every second or so: of those answers that only say "working" the trail keeps nothing. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    answer = outcome.result() if callable(outcome.result) else outcome.result
    if not isinstance(answer, Mapping):
        return None
    result, error = answer.get("result"), answer.get("error")
    if isinstance(error, Mapping):
        return _failed(error, answer)
    if not isinstance(result, Mapping):
        return None
    return Outcome("tool_error" if result.get("isError") is True else "ok", result=answer)


def _failed(error: Mapping[str, Any], answer: Mapping[str, Any]) -> Outcome:
    code, message = str(error.get("code")), str(error.get("message", ""))[:_MESSAGE_LIMIT]
    return Outcome(
        "protocol_error", error_type=code, result=answer, error={"code": error.get("code"), "message": message}
    )
