# SPDX-License-Identifier: Apache-2.0
"""``doctor`` on processes: their keys one by one, the dead as a group."""

from __future__ import annotations

from typing import Any

import pytest

from opentelemetry.instrumentation.mcp_audit.cli._processes import processes
from opentelemetry.instrumentation.mcp_audit.cli._status import ProcessStatus, State

HOOKED = [{"module": "m", "attribute": "a", "stack": "mcp 2.x", "state": "hooked"}]


def status(pid: int, state: State = "dead", **changed: Any) -> ProcessStatus:
    return ProcessStatus(f"{pid}.json", pid, state, **{"service": "svc", "hooks": HOOKED, "records": 2, **changed})


@pytest.mark.parametrize(("state", "light"), [("live", "red"), ("dead", "yellow")])
def test_an_ephemeral_key_shows(state: State, light: str) -> None:
    told = [(check.light, check.text) for check in processes([status(7, state, kid="ephemeral-0a1b2c3d")])]
    assert told == [
        (
            light,
            f"{state} process 7 (svc) could not use its keyring: its keyed hashes are of the key ephemeral-0a1b2c3d "
            "and compare with no other process's",
        ),
        ("green", f"{state} process 7 (svc): 2 records, hooks: mcp 2.x"),
    ]


@pytest.mark.parametrize("kid", ["", "0a1b2c3d"])
def test_a_key_of_the_keyring_and_an_older_status_are_no_news(kid: str) -> None:
    assert [check.light for check in processes([status(7, "live", kid=kid)])] == ["green"]


def test_the_dead_are_told_together_by_the_newest() -> None:
    dead = [status(pid, updated=1_764_000_000.0 + pid) for pid in range(1, 1001)]
    dead[3].failing, dead[3].last_error = True, "No space left on device"
    dead[4].failing, dead[4].last_error = True, "Permission denied"
    dead[5].dropped, dead[5].gaps = 9, 1
    for one in dead[6:10]:
        one.problems = ["sink Mine failed (3 times)", "another"]
    dead[10].kid = "ephemeral-0a1b2c3d"
    told = [(check.light, check.text) for check in processes([status(5000, "live"), *dead])]
    assert told == [
        ("green", "live process 5000 (svc): 2 records, hooks: mcp 2.x"),
        (
            "green",
            "1000 dead processes, the newest 1000 (svc), last heard of 2025-11-24T16:16:40.000Z: 2000 records in all",
        ),
        ("red", "2 of the dead processes could not write their journal, the newest 5 (svc): Permission denied"),
        ("yellow", "1 of the dead processes lost records, the newest 6 (svc): 9; 1 gap records tell of it"),
        ("yellow", "4 of the dead processes had problems, the newest 10 (svc): sink Mine failed (3 times)"),
        (
            "yellow",
            "1 of the dead processes could not use their keyring, the newest 11 (svc): the key ephemeral-0a1b2c3d",
        ),
    ]
