# SPDX-License-Identifier: Apache-2.0
"""Which earlier request a request belongs to: rounds of one logical call, and the result of a call that became a task.

MCP 2026-07-28 lets a server answer ``input_required`` with a ``requestState``, which the client brings back with the
user's input in a new request; the task methods name a call by the ``taskId`` that it was answered with. Both are
remembered here, as keyed hashes, with the id of the call. The memory is bounded and a process's own: what is not in it
(another process, a restart, a state that was never issued) is a call of its own. The keyed hashes stand in the records
too, so that a reader joins by them what this process could not.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Final

from .record import attributes as a
from .record.polled import TASK_META
from .record.record import Actor, Invocation, Outcome

# Calls that wait for their user or their task. One entry is two short texts: some 250 bytes.
_KEPT_MAX: Final = 4096
# A state is opaque and may be long; one that is longer than this is nobody's who means well.
_TEXT_MAX: Final = 65_536

Related = dict[str, a.AttributeValue]


class Relations:
    """The bounded memory of calls that are not over with their first answer. Safe to use from any thread."""

    def __init__(self, keyed: Callable[[str], str], kept_max: int = _KEPT_MAX) -> None:
        self._keyed = keyed
        self._kept_max = kept_max
        self._call_ids: OrderedDict[str, str] = OrderedDict()
        self._lock = Lock()

    def given(self, call: Invocation, actor: Callable[[], Actor]) -> tuple[str | None, Related | None]:
        """The call id that a request continues, None if it is not known, and the attributes that say what it brought.

        Nearly every request brings nothing, and costs two look-ups.
        """
        params = call.params
        state, task = params.get("requestState"), params.get("taskId")
        if type(state) is str and len(state) <= _TEXT_MAX:
            return self._find(_round(call, actor(), state)), {a.STATE_GIVEN: self._keyed(state)}
        if type(task) is str and len(task) <= _TEXT_MAX:
            return self._find(_task(actor(), task)), {a.TASK_ID: self._keyed(task)}
        return None, None

    def issued(self, call: Invocation, outcome: Outcome, call_id: str, actor: Callable[[], Actor]) -> Related | None:
        """Remember what an answer gave the client to come back with; the attributes that say so."""
        if outcome.detail not in ("input_required", "task_created"):
            return None
        result = outcome.result() if callable(outcome.result) else outcome.result
        if not isinstance(result, Mapping):
            return None
        if outcome.detail == "input_required":
            state = result.get("requestState")
            if type(state) is not str or len(state) > _TEXT_MAX:
                return None
            self._keep(_round(call, actor(), state), call_id)
            return {a.STATE_ISSUED: self._keyed(state)}
        meta = result.get("_meta")
        task = result.get("task") or (meta.get(TASK_META) if isinstance(meta, Mapping) else None)
        task_id = task.get("taskId") if isinstance(task, Mapping) else result.get("taskId")
        if type(task_id) is not str or len(task_id) > _TEXT_MAX:
            return None
        self._keep(_task(actor(), task_id), call_id)
        return {a.TASK_ID: self._keyed(task_id)}

    def _find(self, key: str) -> str | None:
        return self._call_ids.get(self._keyed(key))

    def _keep(self, key: str, call_id: str) -> None:
        hashed = self._keyed(key)
        with self._lock:
            self._call_ids[hashed] = call_id
            self._call_ids.move_to_end(hashed)
            while len(self._call_ids) > self._kept_max:
                self._call_ids.popitem(last=False)


def _round(call: Invocation, actor: Actor, state: str) -> str:
    """A state is only its own caller's, for the same request again: one that was stolen or guessed joins nothing.

    A server may issue the same short text to everybody (``"step-2"``): the request around it tells such calls apart.
    """
    asked = json.dumps(call.params.get("arguments"), sort_keys=True, default=repr)
    target = call.params.get("name", call.params.get("uri"))
    return json.dumps(["round", actor.issuer, actor.id, call.method, target, asked, state], default=repr)


def _task(actor: Actor, task_id: str) -> str:
    return json.dumps(["task", actor.issuer, actor.id, task_id], default=repr)
