# SPDX-License-Identifier: Apache-2.0
"""The journal's own adopter: what dead processes left is adopted once, beside the calls, and not once it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from dead_process import Dead, adopted, outcomes
from journals import journal, record, until

from opentelemetry.instrumentation.mcp_audit.journal.adopt import Adopted, Stopping

ID = "0190c1d2-1234-7abc-8def-0123456789a"


def test_a_journal_that_writes_adopts_once_on_a_thread_of_its_own(tmp_path: Path) -> None:
    dead = Dead(tmp_path)
    dead.call(f"{ID}1", 1)
    dead.write()
    said: list[str] = []
    trail = journal(tmp_path, said.append)
    trail.append(record())
    until(lambda: bool(said))
    trail.close()
    assert said == [
        f"1 dead processes were found in {tmp_path}: 1 calls were recorded as abandoned, 1 segments adopted"
    ]
    assert len(outcomes(tmp_path, f"{ID}1")) == 1


def test_an_adopter_that_ends_itself_leaves_the_rest_to_the_next_one_without_a_word(tmp_path: Path) -> None:
    dead = Dead(tmp_path)
    dead.call(f"{ID}1", 1)
    dead.write()
    said: list[str] = []
    trail = journal(tmp_path, said.append, adopts=False)
    trail.open()
    trail.close()
    with pytest.raises(Stopping):
        trail.adopt()
    assert said == []
    assert outcomes(tmp_path, f"{ID}1") == []
    assert adopted(tmp_path) == (Adopted(1, 1, 1), [])
