# SPDX-License-Identifier: Apache-2.0
"""``doctor``: green where all is well, red with a sentence where it is not."""

from __future__ import annotations

import importlib.metadata
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from trail_oracle import Trail

from opentelemetry.instrumentation.mcp_audit.cli import _checks
from opentelemetry.instrumentation.mcp_audit.cli._status import is_alive, read_statuses
from opentelemetry.instrumentation.mcp_audit.cli.app import app

DEAD = 2**22 + 1  # above the kernel's limit for pids


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As if the distribution were installed: these tests may run from a source tree."""
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [SimpleNamespace(name="mcp_audit")])
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_MCP_AUDIT_KEYRING", str(tmp_path / "keyring.json"))


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    directory = tmp_path / "svc"
    directory.mkdir(mode=0o700)
    trail = Trail()
    trail.call()
    trail.call(user="anonymous", **{"mcp_audit.actor.provenance": "none", "network.transport": "tcp"})
    trail.write(directory).chmod(0o600)
    (directory / "status").mkdir()
    return directory


def status(journal: Path, pid: int, **changed: Any) -> None:
    content = {
        "pid": pid,
        "started": time.time(),
        "updated": time.time(),
        "service": "svc",
        "versions": {"mcp": "2.3.0"},
        "hooks": [{"module": "mcp.server.runner", "attribute": "run", "stack": "mcp 2.x", "state": "hooked"}],
        "mode": "journaled",
        "level": "request",
        "fsync": "interval",
        "otel_logs": "off",
        "logger_provider": "ProxyLoggerProvider",
        "directory": str(journal),
        "records": 3,
        "gaps": 0,
        "dropped": 0,
        "failing": False,
        "last_error": None,
        "problems": [],
        **changed,
    }
    (journal / "status" / f"{pid}.json").write_text(json.dumps(content))


def doctor(*arguments: str | Path, env: dict[str, str] | None = None) -> tuple[int, dict[str, Any], str]:
    text = CliRunner().invoke(app, ["doctor", *map(str, arguments)], env=env)
    machine = CliRunner().invoke(app, ["doctor", "--json", *map(str, arguments)], env=env)
    assert text.exit_code == machine.exit_code
    return machine.exit_code, json.loads(machine.stdout), text.stdout


def reds(content: dict[str, Any]) -> list[str]:
    return [check["text"] for check in content["checks"] if check["light"] == "red"]


def test_all_is_well(journal: Path) -> None:
    status(journal, os.getpid())
    code, content, text = doctor(journal)
    assert (reds(content), code) == ([], 0)
    assert content["processes"][0]["state"] == "live"
    assert f"live process {os.getpid()} (svc): 3 records, hooks: mcp 2.x" in text
    assert "hooked   mcp.server.runner.run (mcp 2.x)" in text
    assert set(content["answers"]) == {"Logs not appearing", "Missing user information", "Performance impact"}
    assert all(heading in text for heading in content["answers"])
    assert content["answers"]["Missing user information"][0] == "1 of the last 2 calls have none."
    assert text.rstrip().endswith("nothing is red")


def test_a_failing_process_is_red(journal: Path) -> None:
    status(journal, os.getpid(), failing=True, last_error="No space left on device", dropped=4, gaps=1)
    code, content, _ = doctor(journal)
    assert code == 1
    assert reds(content) == [f"live process {os.getpid()} (svc) cannot write its journal: No space left on device"]


def test_a_live_process_without_a_hook_is_red(journal: Path) -> None:
    status(journal, os.getpid(), hooks=[{"module": "m", "attribute": "a", "stack": "mcp 2.x", "state": "missing"}])
    code, content, _ = doctor(journal)
    assert code == 1
    assert reds(content) == [f"live process {os.getpid()} (svc) has no live hook: nothing of it is audited"]


def test_the_status_of_a_dead_process_is_told_apart(journal: Path) -> None:
    status(journal, DEAD, problems=["something"])
    code, content, text = doctor(journal)
    assert code == 0
    assert content["processes"][0]["state"] == "dead"
    assert f"dead process {DEAD}" in text


def test_a_younger_process_with_the_same_pid_is_another() -> None:
    assert is_alive(os.getpid(), time.time()) is True
    assert is_alive(os.getpid(), 1.0) is (not os.path.exists("/proc/self/stat"))
    assert is_alive(DEAD, time.time()) is False
    assert is_alive(0, 0) is False


def test_status_files_of_any_content_do_not_disturb(journal: Path) -> None:
    odd = '{"pid":"x","hooks":7,"versions":[],"records":"many","updated":1' + "0" * 400 + ',"started":Infinity,"kid":7}'
    for number, content in enumerate(("", "[]", "{}", odd, "\0")):
        (journal / "status" / f"{DEAD + number}.json").write_text(content)
    os.mkfifo(journal / "status" / f"{DEAD + 5}.json")
    (journal / "status" / f"{DEAD + 6}.json").symlink_to("nowhere")
    found, problems = read_statuses(str(journal))
    assert (len(found), len(problems)) == (2, 5)
    assert problems[-1] == f"{journal / 'status' / str(DEAD + 6)}.json: not a regular file; not read"
    code, content, _ = doctor(journal)
    assert code == 0
    said = [check["text"] for check in content["checks"] if "status cannot be read" in check["text"]]
    assert len(said) == 1 and said[0].endswith(" (5 such files)")


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ({"OTEL_MCP_AUDIT_ENABLED": "false"}, "turned off by OTEL_MCP_AUDIT_ENABLED"),
        ({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "mcp_audit"}, "turned off by OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"),
        (
            {"OTEL_MCP_AUDIT_FSYNC": "often"},
            "OTEL_MCP_AUDIT_FSYNC: 'often' cannot be used; allowed: interval, always, never",
        ),
    ],
)
def test_settings_that_turn_it_off_are_red(journal: Path, env: dict[str, str], sentence: str) -> None:
    code, content, _ = doctor(journal, env=env)
    assert code == 1
    assert sentence in reds(content)
    assert sentence in content["answers"]["Logs not appearing"]


def test_a_disabled_sdk_is_no_fault(journal: Path) -> None:
    code, _, text = doctor(journal, env={"OTEL_SDK_DISABLED": "true"})
    assert code == 0
    assert "the journal goes on" in text


def test_missing_entry_points_are_red(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [])
    code, content, _ = doctor(journal)
    assert code == 1
    assert len(reds(content)) == 2


def test_open_modes_are_red(journal: Path) -> None:
    journal.chmod(0o755)
    next(journal.glob("*.jsonl")).chmod(0o644)
    code, content, _ = doctor(journal)
    assert code == 1
    assert [text.rpartition("; ")[2] for text in reds(content)] == ["chmod 0700 (or 0750) it", "chmod 0600 them"]


def test_no_journal_yet_is_no_fault(tmp_path: Path) -> None:
    code, content, text = doctor(env={"OTEL_MCP_AUDIT_DIR": str(tmp_path / "a" / "b")})
    assert (code, reds(content)) == (0, [])
    assert "is not there yet" in text
    assert "No audited server is running" in content["answers"]["Logs not appearing"][0]
    assert doctor(env={"OTEL_MCP_AUDIT_DIR": "/proc/nope/x"})[0] == 1


MOUNTS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
28 27 0:25 / /srv/data rw,relatime shared:1 - nfs4 server:/x rw
29 28 0:26 / /srv/data/local rw - xfs /dev/vdb rw
30 27 0:27 / /with\\040space rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "light"),
    [
        ("/srv/data/x", "nfs4", "red"),
        ("/srv/data/local/x", "xfs", "green"),
        ("/srv/database", "ext4", "green"),
        ("/with space/x", "tmpfs", "yellow"),
        ("/", "ext4", "green"),
    ],
)
def test_the_filesystem_is_that_of_the_innermost_mount(path: str, kind: str, light: str) -> None:
    assert _checks.filesystem_type(path, MOUNTS) == kind
    assert [check.light for check in _checks.filesystem(path, MOUNTS)] == [light]


def test_a_clock_that_is_not_set_is_red(journal: Path) -> None:
    assert [check.light for check in _checks.clock(None, 0.0)] == ["red"]
    assert [check.light for check in _checks.clock(None)] == ["green"]


def test_the_keyring_and_the_key_in_use_are_looked_at(journal: Path, tmp_path: Path) -> None:
    (tmp_path / "keyring.json").mkdir()
    status(journal, os.getpid(), kid="ephemeral-0a1b2c3d")
    code, content, text = doctor(journal)
    assert code == 1
    assert [check["topic"] for check in content["checks"] if check["light"] == "red"] == ["keyring", "keyring"]
    assert "key" not in " ".join(content["answers"]["Logs not appearing"])
    assert content["processes"][0]["kid"] == "ephemeral-0a1b2c3d"
    assert f"live process {os.getpid()} (svc) could not use its keyring" in text


def test_a_thousand_dead_processes_do_not_flood(journal: Path) -> None:
    for number in range(1000):
        status(journal, DEAD + number, updated=1_764_000_000.0 + number)
    code, content, text = doctor(journal)
    assert code == 0
    assert len(content["processes"]) == 1000
    assert len(content["checks"]) < 12
    assert len(text.splitlines()) < 60
    assert f"1000 dead processes, the newest {DEAD + 999} (svc), last heard of 2025-11-24T16:16:39.000Z" in text
    assert f"hooks of dead process {DEAD + 999}" in text
    assert len(list((journal / "status").iterdir())) == 1000


def test_a_link_to_nothing_in_the_journal_is_no_failure(journal: Path) -> None:
    (journal / "gone.jsonl").symlink_to("nowhere")
    os.mkfifo(journal / "pipe.jsonl", 0o666)
    code, content, _ = doctor(journal)
    assert (code, reds(content)) == (0, [])
