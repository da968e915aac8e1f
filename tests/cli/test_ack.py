# SPDX-License-Identifier: Apache-2.0
"""``otel-mcp-audit ack`` as an operator calls it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from written_segments import segment

from opentelemetry.instrumentation.mcp_audit.cli.app import app

HOUR = 3600 * 10**9


def run(*arguments: str | Path, env: dict[str, str] | None = None) -> Result:
    result = CliRunner().invoke(app, ["ack", *map(str, arguments)], env=env)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def journals(root: Path, *services: str) -> list[Path]:
    now = time.time_ns()
    for service in services:
        segment(root / service, now - HOUR, now - HOUR)
    return [root / service for service in services]


def held(directory: Path) -> int:
    return int(json.loads((directory / "acknowledged.json").read_text())["until_unix_nano"])


def test_every_journal_below_is_acknowledged_to_the_same_time(tmp_path: Path) -> None:
    one, two = journals(tmp_path, "one", "two")
    result = run("--until", "2026-11-20T05:30:00.25Z", tmp_path)
    assert result.exit_code == 0 and result.stderr == ""
    assert result.stdout.splitlines() == [
        f"{one}: acknowledged until 2026-11-20T05:30:00.250Z",
        f"{two}: acknowledged until 2026-11-20T05:30:00.250Z",
    ]
    assert held(one) == held(two) == 1_795_152_600_250_000_000
    assert not (tmp_path / "acknowledged.json").exists()


def test_without_a_path_it_is_where_the_journal_is(tmp_path: Path) -> None:
    (one,) = journals(tmp_path, "one")
    assert run("--until", "1h", env={"OTEL_MCP_AUDIT_DIR": str(one)}).exit_code == 0
    assert abs(time.time_ns() - HOUR - held(one)) < 60 * 10**9


def test_an_earlier_time_needs_force(tmp_path: Path) -> None:
    (one,) = journals(tmp_path, "one")
    run("--until", "2026-11-20", one)
    result = run("--until", "2026-11-19", one)
    assert result.exit_code == 0
    assert result.stdout == (
        f"{one}: acknowledged until 2026-11-20T00:00:00.000Z (as before, which is later; --force goes back)\n"
    )
    assert run("--until", "2026-11-19", "--force", one).stdout.endswith(" until 2026-11-19T00:00:00.000Z\n")


def test_a_path_given_twice_is_one(tmp_path: Path) -> None:
    (one,) = journals(tmp_path, "one")
    assert len(run("--until", "1h", one, f"{one}/", tmp_path).stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("tomorrow", "is no time: use"),
        ("2999-01-01", "2999-01-01T00:00:00.000Z is in the future"),
        ("1969-12-31", "is before 1970"),
        ("", "is no time"),
    ],
)
def test_what_cannot_have_been_kept_elsewhere_is_refused(tmp_path: Path, given: str, says: str) -> None:
    (one,) = journals(tmp_path, "one")
    result = run("--until", given, one)
    assert result.exit_code == 2 and says in result.stderr
    assert not (one / "acknowledged.json").exists()


def test_the_time_must_be_said(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 2 and "--until" in result.stderr


def test_where_no_journal_is_nothing_is_written_anywhere(tmp_path: Path) -> None:
    (one,) = journals(tmp_path, "one")
    (tmp_path / "empty").mkdir()
    file = next(one.glob("2*.jsonl"))
    for wrong in (tmp_path / "none", tmp_path / "empty", file):
        result = run("--until", "1h", one, wrong)
        assert (result.exit_code, result.stdout) == (2, "")
        assert str(wrong) in result.stderr
    assert not (one / "acknowledged.json").exists()
    assert list((tmp_path / "empty").iterdir()) == []


def test_one_that_cannot_be_written_does_not_keep_the_others(tmp_path: Path) -> None:
    one, two = journals(tmp_path, "one", "two")
    (one / "acknowledged.json").mkdir()
    result = run("--until", "1h", tmp_path)
    assert result.exit_code == 2 and f"{one}: cannot be acknowledged: " in result.stderr
    assert held(two) > 0


def test_a_name_cannot_drive_the_terminal(tmp_path: Path) -> None:
    (one,) = journals(tmp_path, "a\x1b[31m\nb")
    result = run("--until", "1h", tmp_path)
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout and len(result.stdout.splitlines()) == 1
    assert os.path.exists(one / "acknowledged.json")
