# SPDX-License-Identifier: Apache-2.0
"""``doctor`` on the inside of a journal: calls in flight, the dead, the ledger, gaps, room. It never changes a file."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from journals import journal, record, segments
from trail_oracle import Trail

from opentelemetry.instrumentation.mcp_audit.cli._room import Room, _day, room_checks
from opentelemetry.instrumentation.mcp_audit.cli.app import app

HERE = Path(__file__)
SRC, HELPERS = HERE.parents[2] / "src", HERE.parents[1] / "helpers"
WRITER = """
import sys, time
from pathlib import Path
from journals import journal, record
kept = journal(Path(sys.argv[1]), adopts=False)
kept.append(record())
kept.begin("mcp_audit.tool_call", time.time_ns(), dict(record().attributes), "", "")
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As if the distribution were installed: these tests may run from a source tree."""
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [SimpleNamespace(name="mcp_audit")])
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_MCP_AUDIT_KEYRING", str(tmp_path / "keyring.json"))


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with one recorded call, and one in flight, in ``svc``."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "svc")],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SRC), str(HELPERS)])},
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A journal of three processes that ended well."""
    directory = tmp_path / "svc"
    for _ in range(3):
        kept = journal(directory)
        kept.append(record())
        kept.close()
    return directory


def doctor(directory: Path, **env: str) -> tuple[int, dict[str, Any], dict[str, Any]]:
    result = CliRunner().invoke(app, ["doctor", "--json", str(directory)], env=env)
    content = json.loads(result.stdout)
    return result.exit_code, content, content["journals"][0]


def said(content: dict[str, Any], topic: str, light: str) -> list[str]:
    return [check["text"] for check in content["checks"] if check["topic"] == topic and check["light"] == light]


def snapshot(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino, path.read_bytes()) for path in files}


def test_a_closed_journal_is_green(closed: Path) -> None:
    before = snapshot(closed)
    code, content, found = doctor(closed)
    assert (code, found["directory"], found["segments"]) == (0, str(closed), 3)
    assert found["ledger"]["state"] == "ok" and found["ledger"]["entries"] == 6 and found["ledger"]["whole"]
    assert (found["ledger"]["missing"], found["ledger"]["unknown"], found["ledger"]["unsettled"]) == ([], [], [])
    assert found["markers"]["live"]["processes"] == found["markers"]["dead"]["processes"] == 0
    assert found["gaps"]["groups"] == []
    assert said(content, "ledger", "yellow") == said(content, "room", "red") == []
    assert snapshot(closed) == before


def test_calls_in_flight_and_then_the_dead(tmp_path: Path, writer: subprocess.Popen[str]) -> None:
    directory = tmp_path / "svc"
    code, content, found = doctor(directory)
    assert (code, found["markers"]["live"]["processes"], found["markers"]["live"]["calls"]) == (0, 1, 1)
    assert found["markers"]["dead"]["processes"] == 0 and found["ledger"]["unsettled"] == []
    assert (
        f"{directory}: 1 live process with a start marker, 1 call in flight" in said(content, "processes", "green")[0]
    )

    writer.send_signal(signal.SIGKILL)
    writer.wait()
    before = snapshot(directory)
    code, content, found = doctor(directory)
    assert (code, found["markers"]["dead"]["processes"], found["markers"]["dead"]["calls"]) == (0, 1, 1)
    assert found["ledger"]["unsettled"] == [path.name for path in segments(directory)]
    (text,) = said(content, "processes", "yellow")
    assert "1 dead process not adopted yet, with 1 call that nobody has answered for" in text
    assert text.endswith("or: otel-mcp-audit adopt")
    assert snapshot(directory) == before

    assert CliRunner().invoke(app, ["adopt", str(directory)]).exit_code == 0
    _, content, found = doctor(directory)
    assert found["markers"]["dead"]["processes"] == 0 and found["ledger"]["unsettled"] == []
    assert said(content, "processes", "yellow") == []


def test_a_segment_that_was_removed_is_red(closed: Path) -> None:
    gone = segments(closed)[1]
    gone.unlink()
    code, content, found = doctor(closed)
    assert (code, found["ledger"]["missing"]) == (1, [gone.name])
    assert "missing and not pruned" in said(content, "ledger", "red")[0]


def test_a_segment_that_was_brought_here_is_red(closed: Path, tmp_path: Path) -> None:
    other = journal(tmp_path / "other")
    other.append(record())
    other.close()
    (foreign,) = segments(tmp_path / "other")
    shutil.copy(foreign, closed)
    code, content, found = doctor(closed)
    assert (code, found["ledger"]["unknown"]) == (1, [foreign.name])
    assert "not in the ledger" in said(content, "ledger", "red")[0]


def test_a_ledger_with_a_torn_last_line_is_yellow(closed: Path) -> None:
    with open(closed / "ledger.jsonl", "ab") as file:
        file.write(b'{"resourceLogs":[{"re')
    code, content, found = doctor(closed)
    assert (code, found["ledger"]["state"], found["ledger"]["entries"]) == (0, "torn", 6)
    assert "the next writer sets it aside" in said(content, "ledger", "yellow")[0]


def test_a_ledger_of_garbage_is_red(closed: Path) -> None:
    with open(closed / "ledger.jsonl", "ab") as file:
        file.write(b"garbage\nmore of it\n")
    code, content, found = doctor(closed)
    assert (code, found["ledger"]["state"]) == (1, "broken")
    assert "no segment can be opened" in said(content, "ledger", "red")[0]


@pytest.mark.parametrize("what", ["link", "pipe", "directory"])
def test_a_ledger_that_is_no_file_is_red_and_not_followed(closed: Path, tmp_path: Path, what: str) -> None:
    path = closed / "ledger.jsonl"
    path.rename(tmp_path / "kept")
    {"link": lambda: path.symlink_to(tmp_path / "kept"), "pipe": lambda: os.mkfifo(path), "directory": path.mkdir}[
        what
    ]()
    code, _, found = doctor(closed)
    assert (code, found["ledger"]["state"]) == (1, "foreign")


def test_no_ledger_is_red_only_where_somebody_writes(tmp_path: Path, closed: Path) -> None:
    (closed / "ledger.jsonl").unlink()
    code, content, found = doctor(closed)
    assert (code, found["ledger"]["state"], len(said(content, "ledger", "yellow"))) == (0, "absent", 1)
    kept = journal(tmp_path / "other")
    kept.append(record())
    (tmp_path / "other" / "ledger.jsonl").unlink()
    code, content, _ = doctor(tmp_path / "other")
    assert code == 1 and "a removed file would not show" in said(content, "ledger", "red")[0]
    kept.close()


def test_gaps_are_told_by_reason(tmp_path: Path) -> None:
    trail = Trail()
    for count, reason in (
        (3, "No space left, 10 bytes"),
        (4, "No space left, 20 bytes"),
        (0, "fsync: I/O error: x.jsonl"),
    ):
        trail.call('a tool named "eventName":"mcp_audit.gap"')
        trail.system("gap", {"mcp_audit.gap.count": count, "mcp_audit.gap.reason": reason}, event="mcp_audit.gap")
    trail.write(tmp_path).chmod(0o600)
    tmp_path.chmod(0o700)
    code, content, found = doctor(tmp_path)
    told = {(group["records"], group["lost"], group["unsafe"], group["reason"]) for group in found["gaps"]["groups"]}
    assert told == {(2, 7, False, "No space left, 20 bytes"), (1, 0, True, "fsync: I/O error: x.jsonl")}
    assert found["gaps"]["all"] is True
    yellow = "\n".join(said(content, "gaps", "yellow"))
    assert code == 0 and "7 records were lost, by 2 gap records" in yellow and "may not outlive a power cut" in yellow


ROOM = Room(
    used=100 << 20,
    max_bytes=1 << 30,
    on_full="drop_acknowledged",
    acknowledged_until=0,
    acknowledged_problem=None,
    may_go=0,
    day=10 << 20,
    free=1 << 40,
    total=1 << 41,
    inodes_free=1 << 20,
    inodes_total=1 << 21,
    reserve="there",
    days=92.0,
)


@pytest.mark.parametrize(
    ("changed", "light", "text"),
    [
        ({}, "green", "at the rate of the last 24 h (10 MiB a day) full in about 92 days"),
        ({"day": None, "days": None}, "green", "nothing written in the last 24 h"),
        ({"days": 5.0}, "yellow", "in about 5 days"),
        ({"used": 900 << 20}, "yellow", "nothing is acknowledged (otel-mcp-audit ack)"),
        ({"used": 900 << 20, "may_go": 1 << 20, "acknowledged_until": 1}, "green", "are deleted, 1.0 MiB by now"),
        ({"used": 900 << 20, "days": 0.5}, "red", "in about 12 h"),
        ({"days": 0.5}, "yellow", "in about 12 h"),
        ({"free": 1 << 20, "days": 0.1}, "red", "the disk is full in about 2 h"),
        ({"used": 1 << 30, "days": 0.0}, "red", "it is full"),
        ({"used": 1 << 30, "on_full": "stop", "days": 0.0}, "red", "OTEL_MCP_AUDIT_ON_FULL=stop"),
    ],
)
def test_the_forecast(changed: dict[str, Any], light: str, text: str) -> None:
    first = next(room_checks("/j", replace(ROOM, **changed), live=True))
    assert (first.light, text in first.text) == (light, True), first.text


def test_inodes_reserve_and_a_bad_acknowledgement_are_told() -> None:
    found = replace(ROOM, inodes_free=7, reserve="used up", acknowledged_problem="acknowledged.json cannot be used")
    assert [check.light for check in room_checks("/j", found, live=False)] == ["green", "yellow", "red", "yellow"]
    found = replace(ROOM, inodes_free=None, reserve="absent")
    assert [check.light for check in room_checks("/j", found, live=False)] == ["green"]
    assert [check.light for check in room_checks("/j", found, live=True)] == ["green", "yellow"]


def test_the_rate_counts_what_lies_within_a_day() -> None:
    now = 1_764_000_000.0

    def segment(hours_ago: float, touched_hours_ago: float, size: int) -> tuple[str, Any]:
        import time

        began = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now - hours_ago * 3600))
        return f"/j/{began}-1-x.jsonl", SimpleNamespace(st_size=size, st_mtime=now - touched_hours_ago * 3600)

    assert _day([], now) is None
    assert _day([segment(100, 90, 500)], now) is None
    assert _day([segment(100, 90, 500), segment(12, 6, 700)], now) == 700
    assert _day([segment(48, 0, 1000)], now) == 500
    assert _day([segment(0.5, 0, 1000)], now) == 24_000


def test_the_settings_of_the_environment_hold(closed: Path) -> None:
    _, _, found = doctor(closed, OTEL_MCP_AUDIT_MAX_BYTES="1048576", OTEL_MCP_AUDIT_ON_FULL="stop")
    assert (found["room"]["max_bytes"], found["room"]["on_full"]) == (1_048_576, "stop")
    _, _, found = doctor(closed, OTEL_MCP_AUDIT_MAX_BYTES="much")
    assert found["room"]["max_bytes"] == 4 * 1024**3


def test_a_marker_of_garbage_is_told(closed: Path) -> None:
    (closed / "0b0e5c0e-0000-4000-8000-000000000000.calls").write_bytes(b"rubbish" * 500)
    (closed / "link.calls").symlink_to("nowhere")
    code, content, found = doctor(closed)
    assert code == 0 and len(found["markers"]["odd"]) == 2
    assert "tells nothing" in said(content, "processes", "yellow")[0]
