# SPDX-License-Identifier: Apache-2.0
"""``otel-mcp-audit adopt``: a process was killed with calls in flight, and nobody starts a server in its place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from journals import journal, kinds, read, record
from written_segments import ledger

from opentelemetry.instrumentation.mcp_audit.cli.app import app
from opentelemetry.instrumentation.mcp_audit.integrity.verify import verify_paths

HELPERS = str(Path(__file__).parents[1] / "helpers")
_DYING = """
import pathlib, sys
sys.path[:0] = [sys.argv[2]]
from journals import journal, record
trail = journal(pathlib.Path(sys.argv[1]), adopts=False)
trail.open()
for name in ("lost1", "lost2", "kept"):
    one = record(name)
    slot = trail.begin(one.event_name, one.time, dict(one.attributes), "", "")
    if name == "kept":
        trail.append(one, slot)
print("ready", flush=True)
sys.stdin.readline()
"""


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, ["adopt", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def start(directory: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _DYING, str(directory), HELPERS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def names(directory: Path) -> list[str]:
    return sorted(kind for path in directory.glob("2*.jsonl") for kind in kinds(read(path)))


def details(directory: Path) -> dict[str, str]:
    found = {}
    for path in directory.glob("2*.jsonl"):
        for item in read(path):
            if item["eventName"] == "mcp_audit.tool_call":
                found[item["facts"]["gen_ai.tool.name"]] = item["facts"]["mcp_audit.outcome.detail"]
    return found


def test_calls_in_flight_are_answered_for_once(tmp_path: Path) -> None:
    kill(start(tmp_path))
    result = run(tmp_path)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path}: 1 of 1 dead processes adopted\n"
    assert details(tmp_path) == {"lost1": "abandoned", "lost2": "abandoned", "kept": "ok"}
    assert names(tmp_path).count("lost1") == 1
    assert list(tmp_path.glob("*.calls")) == []
    said = [entry.kind for entry in ledger(tmp_path).backwards()][::-1]
    assert sorted(said) == ["adopted", "closed", "opened", "opened"]
    report = verify_paths([tmp_path])
    assert (report.exit_code(), report.first_violation()) == (0, None)
    before = names(tmp_path)
    again = run(tmp_path)
    assert (again.exit_code, again.stdout) == (0, f"{tmp_path}: no dead process\n")
    assert names(tmp_path) == before, "no segment is opened for nothing"


def test_what_is_written_for_it_is_of_the_service(tmp_path: Path) -> None:
    kill(start(tmp_path))
    (dead,) = tmp_path.glob("2*.jsonl")
    run(tmp_path)
    (ours,) = [path for path in tmp_path.glob("2*.jsonl") if path != dead]
    resource = read(ours)  # checked as a whole
    assert resource[0]["facts"]["mcp_audit.lifecycle.kind"] == "opened"
    assert b'{"key":"service.name","value":{"stringValue":"svc"}}' in ours.read_bytes().splitlines()[0]


def test_a_living_process_is_left_alone(tmp_path: Path) -> None:
    process = start(tmp_path)
    try:
        result = run(tmp_path)
        assert (result.exit_code, result.stdout) == (0, f"{tmp_path}: no dead process\n")
        assert len(list(tmp_path.glob("*.calls"))) == 1
    finally:
        kill(process)


def test_a_marker_that_nobody_can_read_is_left_and_told(tmp_path: Path) -> None:
    trail = journal(tmp_path, adopts=False)
    trail.append(record("one"))
    trail.close()
    (tmp_path / "x.calls").write_bytes(b"garbage" * 1000)
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "x.calls" in result.stderr and result.stdout == f"{tmp_path}: 0 of 1 dead processes adopted\n"
    assert (tmp_path / "x.calls").read_bytes() == b"garbage" * 1000


@pytest.mark.parametrize("where", ["none", "empty"])
def test_where_no_journal_is(tmp_path: Path, where: str) -> None:
    (tmp_path / "empty").mkdir()
    result = run(tmp_path / where)
    assert (result.exit_code, result.stdout) == (2, "") and where in result.stderr


def test_a_wrong_setting_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_MCP_AUDIT_FSYNC", "sometimes")
    result = run(tmp_path)
    assert result.exit_code == 1 and "OTEL_MCP_AUDIT_FSYNC" in result.stderr
