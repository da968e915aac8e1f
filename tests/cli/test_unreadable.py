# SPDX-License-Identifier: Apache-2.0
"""``query``, ``export``, ``tail`` where nothing can be read: said on stderr, and exit code 2, as for ``verify``."""

from __future__ import annotations

import builtins
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from trail_oracle import sample

from opentelemetry.instrumentation.mcp_audit.cli.app import app

READING = ["query", "export", "tail"]


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


@pytest.mark.parametrize("command", [*READING, "verify"])
@pytest.mark.parametrize("as_directory", [True, False])
def test_a_file_without_a_record(tmp_path: Path, command: str, as_directory: bool) -> None:
    file = tmp_path / "x.jsonl"
    file.write_bytes(b"garbage\n\x00\n")
    result = run(command, tmp_path if as_directory else file)
    assert result.exit_code == 2
    assert f"{file}:1: " in (result.stdout if command == "verify" else result.stderr)


@pytest.mark.parametrize("command", READING)
def test_a_file_that_cannot_be_opened(tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = sample(1).write(tmp_path)

    def refuse(real: Any) -> Any:
        def opened(path: Any, *rest: Any, **named: Any) -> Any:
            if path == str(file):
                raise PermissionError(13, "Permission denied", path)
            return real(path, *rest, **named)

        return opened

    monkeypatch.setattr(builtins, "open", refuse(open))
    monkeypatch.setattr(os, "open", refuse(os.open))
    result = run(command, tmp_path)
    assert result.exit_code == 2
    assert result.stderr == f"{file}: cannot be read: Permission denied\n"


@pytest.mark.parametrize("command", READING)
def test_one_record_is_something_also_when_it_does_not_fit(tmp_path: Path, command: str) -> None:
    (tmp_path / "x.jsonl").write_bytes(b"garbage\n")
    sample(1).write(tmp_path)
    assert run(command, tmp_path).exit_code == 0
    assert run(command, "--user", "nobody", tmp_path).exit_code == 0


@pytest.mark.parametrize("command", [*READING, "verify"])
@pytest.mark.parametrize("content", [b"", b'{"resource'])
def test_a_file_that_just_begins_is_nothing_wrong(tmp_path: Path, command: str, content: bytes) -> None:
    (tmp_path / "x.jsonl").write_bytes(content)
    result = run(command, tmp_path)
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize("command", [*READING, "verify"])
def test_a_path_that_is_not_there_beside_an_empty_file(tmp_path: Path, command: str) -> None:
    (tmp_path / "x.jsonl").write_bytes(b"")
    assert run(command, tmp_path / "nope", tmp_path).exit_code == 2


def test_tail_reads_no_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    result = run("tail", pipe)
    assert (result.exit_code, result.stderr) == (2, f"{pipe}: not a regular file; not read\n")


def test_tail_says_what_it_could_not_read(tmp_path: Path) -> None:
    good = sample(1).write(tmp_path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    result = run("tail", good, pipe)
    assert (result.exit_code, result.stderr) == (0, f"{pipe}: not a regular file; not read\n")
    assert len(result.stdout.splitlines()) == 1


def test_an_export_of_nothing_readable_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "svc").mkdir()
    (tmp_path / "svc" / "x.jsonl").write_bytes(b"garbage\n")
    target = tmp_path / "out.csv"
    assert run("export", "--format", "csv", "-o", target, tmp_path).exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["svc"]
    target.write_text("before")
    assert run("export", "--format", "csv", "--force", "-o", target, tmp_path).exit_code == 2
    assert target.read_text() == "before"
