# SPDX-License-Identifier: Apache-2.0
"""Pipes, devices and links in a journal directory: said once, never opened, never followed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from trail_oracle import Trail, sample

from opentelemetry.instrumentation.mcp_audit.cli.app import app

SRC = Path(__file__).parents[2] / "src"
READING = ["query", "export", "tail"]


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A service with a journal, and what does not belong there; a journal elsewhere that links lead to."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = Trail(stream="6f1d1c1e-0000-4000-8000-000000000002", seed=2)
    other.call("of another")
    outside = other.write(elsewhere)
    root = tmp_path / "root"
    (root / "svc").mkdir(parents=True)
    sample(1).write(root / "svc")
    os.mkfifo(root / "svc" / "a.jsonl")
    (root / "svc" / "b.jsonl").symlink_to("nowhere")
    (root / "svc" / "c.jsonl").symlink_to(outside)
    (root / "svc" / "notes.txt").write_text("not ours, no link: no matter here")
    (root / "linked").symlink_to(elsewhere)
    return root


@pytest.mark.parametrize("command", READING)
def test_they_are_told_once_and_not_read(root: Path, command: str) -> None:
    result = run(command, root, root / "svc")
    assert result.exit_code == 0
    assert "of another" not in result.stdout
    assert "tool_0" in result.stdout
    told = sorted(line.partition(" (")[0] for line in result.stderr.splitlines())
    assert told == [
        f"{path}: not a regular file; not read"
        for path in (root / "linked", *(root / "svc" / name for name in ("a.jsonl", "b.jsonl", "c.jsonl")))
    ]


@pytest.mark.parametrize("command", READING)
def test_a_directory_with_nothing_else_cannot_be_read(tmp_path: Path, command: str) -> None:
    os.mkfifo(tmp_path / "a.jsonl")
    result = run(command, tmp_path)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{tmp_path / 'a.jsonl'}: not a regular file; not read (")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", READING)
def test_a_link_that_is_named_itself_is_followed(root: Path, command: str) -> None:
    for path in (root / "linked", root / "svc" / "c.jsonl"):
        result = run(command, path)
        assert (result.exit_code, result.stderr) == (0, "")
        assert "of another" in result.stdout


def test_following_tells_them_once(root: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli", "tail", "-f", "--json", str(root)],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SRC), os.environ.get("PYTHONPATH", "")])},
    )
    try:
        assert process.stdout is not None and process.stderr is not None
        assert json.loads(process.stdout.readline())["gen_ai.tool.name"] == "tool_0"
        later = Trail(stream="6f1d1c1e-0000-4000-8000-000000000003", seed=3)
        later.call("later")
        later.write(root / "svc")
        assert json.loads(process.stdout.readline())["gen_ai.tool.name"] == "later"
        process.send_signal(2)
        assert process.wait(10) == 130
        assert len(process.stderr.read().splitlines()) == 4
    finally:
        process.kill()
        process.communicate()


def test_doctor_tells_them(root: Path) -> None:
    result = run("doctor", "--json", root)
    told = [check for check in json.loads(result.stdout)["checks"] if "not a regular file" in check["text"]]
    assert [check["light"] for check in told] == ["yellow"]
    assert told[0]["text"].startswith(f"{root / 'linked'}: not a regular file; not read (")
    assert told[0]["text"].endswith(" (4 such)")
