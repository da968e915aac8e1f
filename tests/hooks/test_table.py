# SPDX-License-Identifier: Apache-2.0
"""The table of what is wrapped."""

from __future__ import annotations

from typing import Any

from opentelemetry.instrumentation.mcp_audit.hooks.asked import IN_TASK
from opentelemetry.instrumentation.mcp_audit.hooks.running import Switch
from opentelemetry.instrumentation.mcp_audit.hooks.table import ASKING, ROWS


def test_every_wrapper_is_there() -> None:
    """They are named as text and imported when they are put on; a name that is none must not wait for an SDK to show."""
    switch = Switch(_nobody, _silence)
    assert all(callable(row.wrapper(switch)) for row in ROWS)


def test_every_question_of_a_task_has_its_method() -> None:
    assert set(ASKING) == set(IN_TASK)


def _nobody() -> Any:
    raise AssertionError("nobody asks for an auditor here")


def _silence(sentence: str) -> None:
    """Nothing is wrong here."""
