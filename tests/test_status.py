# SPDX-License-Identifier: Apache-2.0
"""The status file that ``doctor`` reads: whole, private, at most once a second, gone after a good end."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from opentelemetry.instrumentation.mcp_audit import status as module
from opentelemetry.instrumentation.mcp_audit.assembly import Assembled, Extras, assemble
from opentelemetry.instrumentation.mcp_audit.hooks.install import HookState
from opentelemetry.instrumentation.mcp_audit.journal.gap import Counters
from opentelemetry.instrumentation.mcp_audit.notices import Notices
from opentelemetry.instrumentation.mcp_audit.settings import Settings
from opentelemetry.instrumentation.mcp_audit.status import StatusFile

HOOK = HookState("mcp.server.runner", "ServerRunner._on_request", "mcp 2.x", "hooked", True)


class _Setup:
    """A status file over a journal whose facts a test sets."""

    def __init__(self, directory: Path) -> None:
        self.journal = SimpleNamespace(
            directory=directory,
            path=directory / "segment.jsonl",
            counters=Counters(records=5, lost=0, gaps=1, segments=2),
            failing=False,
            last_error=None,
        )
        assembled = SimpleNamespace(
            journal=self.journal, versions=("python=3.11.0", "mcp=2.3.0"), service="svc", kid="0a1b2c3d"
        )
        self.notices = Notices()
        self.status = StatusFile(cast(Assembled, assembled), Settings(level="digest"), self.notices, lambda: [HOOK])
        self.path = directory / "status" / f"{os.getpid()}.json"

    def read(self) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(self.path.read_text()))


@pytest.fixture
def setup(tmp_path: Path) -> _Setup:
    return _Setup(tmp_path)


def test_what_it_says(setup: _Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opentelemetry._logs.get_logger_provider", lambda: SimpleNamespace())
    setup.notices.problems["sink Mine failed"] = 3
    setup.status.write(force=True)
    found = setup.read()
    assert found.pop("started") <= found.pop("updated")
    assert found == {
        "pid": os.getpid(),
        "service": "svc",
        "versions": {"python": "3.11.0", "mcp": "2.3.0"},
        "hooks": [
            {
                "module": "mcp.server.runner",
                "attribute": "ServerRunner._on_request",
                "stack": "mcp 2.x",
                "state": "hooked",
            }
        ],
        "mode": "journaled",
        "level": "digest",
        "fsync": "interval",
        "otel_logs": "metadata",
        "kid": "0a1b2c3d",
        "logger_provider": "SimpleNamespace",
        "directory": str(setup.journal.directory),
        "file": "segment.jsonl",
        "records": 5,
        "gaps": 1,
        "dropped": 0,
        "failing": False,
        "last_error": None,
        "delivery": None,
        "status_failures": 0,
        "problems": ["sink Mine failed (3 times)"],
    }


def test_private_and_without_leftovers(setup: _Setup) -> None:
    setup.status.write(force=True)
    assert setup.path.stat().st_mode & 0o777 == 0o600
    assert setup.path.parent.stat().st_mode & 0o777 == 0o700
    assert [item.name for item in setup.path.parent.iterdir()] == [setup.path.name]


def test_at_most_once_a_second(setup: _Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    setup.status.write()
    setup.journal.counters.records = 6
    now[0] += 0.9
    setup.status.write()
    assert setup.read()["records"] == 5
    now[0] += 0.2
    setup.status.write()
    assert setup.read()["records"] == 6
    setup.journal.counters.records = 7
    setup.status.write(force=True)
    assert setup.read()["records"] == 7


def test_a_reader_never_sees_half_of_it(setup: _Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new content is written beside and put in place by rename(2)."""
    setup.status.write(force=True)
    seen: list[str] = []
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        seen.append(setup.path.read_text())
        json.loads(Path(source).read_text())
        real(source, target)

    monkeypatch.setattr(module.os, "replace", replace)
    setup.status.write(force=True)
    assert len(seen) == 1 and json.loads(seen[0])["pid"] == os.getpid()


def test_a_status_that_cannot_be_written_is_counted_and_disturbs_nobody(setup: _Setup) -> None:
    blocked = setup.journal.directory / "status"
    blocked.write_text("a file where the directory should be")
    setup.status.write(force=True)
    setup.status.write(force=True)
    setup.status.end()
    blocked.unlink()
    setup.status.write(force=True)
    assert setup.read()["status_failures"] == 3


def test_no_segment_yet(setup: _Setup) -> None:
    setup.journal.path = None
    setup.journal.failing, setup.journal.last_error = True, "[Errno 28] No space left on device"
    setup.status.write(force=True)
    found = setup.read()
    assert (found["file"], found["failing"]) == (None, True)
    assert found["last_error"] == "[Errno 28] No space left on device"


def test_a_good_end_leaves_nothing(setup: _Setup) -> None:
    setup.status.write(force=True)
    setup.status.end()
    assert not setup.path.exists()
    setup.status.end()


@pytest.mark.parametrize("trouble", ["lost", "problem"])
def test_an_end_with_something_to_tell_leaves_the_last_word(setup: _Setup, trouble: str) -> None:
    if trouble == "lost":
        setup.journal.counters.lost = 4
    else:
        setup.notices.problems["sink Mine failed"] = 1
    setup.status.end()
    found = setup.read()
    assert (found["dropped"], found["problems"]) == (
        (4, []) if trouble == "lost" else (0, ["sink Mine failed (1 times)"])
    )


@pytest.mark.parametrize("usable", [True, False])
def test_it_names_the_key_in_use(tmp_path: Path, usable: bool) -> None:
    keyring = tmp_path / "keyring.json"
    if not usable:
        keyring.mkdir()
    settings, notices = Settings(directory=str(tmp_path / "svc"), keyring=str(keyring)), Notices()
    notices.say = lambda sentence: None  # type: ignore[method-assign]
    assembled = assemble(settings, Extras(), notices, {})
    (tmp_path / "svc").mkdir()
    StatusFile(assembled, settings, notices, lambda: []).write(force=True)
    kid = json.loads((tmp_path / "svc" / "status" / f"{os.getpid()}.json").read_text())["kid"]
    if usable:
        assert kid == json.loads(keyring.read_text())["keys"][0]["kid"]
    else:
        assert kid.startswith("ephemeral-")
    assembled.journal.close()
