# SPDX-License-Identifier: Apache-2.0
"""``tail``, ``query`` and ``export`` on a journal that a process writes, rotates and prunes meanwhile."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import pytest
from click.testing import CliRunner
from journals import journal, record

from opentelemetry.instrumentation.mcp_audit.cli.app import app
from opentelemetry.instrumentation.mcp_audit.journal.reader import Follower

HERE = Path(__file__)
PATHS = os.pathsep.join([str(HERE.parents[2] / "src"), str(HERE.parents[1] / "helpers")])
ID = re.compile(r'"key":"audit\.record\.id","value":\{"stringValue":"([^"]+)"')
TIME = re.compile(r'"timeUnixNano":"(\d+)"')
# 300 records a second, segments of 40 KB, at most 4 MB: pruned from the middle of it on, while the readers read.
WRITER = """
import sys, time
from pathlib import Path
from journals import journal, record
from opentelemetry.instrumentation.mcp_audit.journal.acknowledged import acknowledge
from opentelemetry.instrumentation.mcp_audit.journal.disk import REAL_DISK
from opentelemetry.instrumentation.mcp_audit.journal.ticket import JournalError
directory, log = Path(sys.argv[1]), open(sys.argv[2], "a", buffering=1)
kept = journal(directory, segment_bytes=40_000, max_bytes=4_000_000, min_age=0.0, fsync_interval=0.02, adopts=False)
for number in range(2500):
    made = record()
    try:
        kept.append(made)
        log.write(made.attributes["audit.record.id"] + "\\n")
    except JournalError:
        pass  # a machine so slow that pruning came too late: a gap tells
    if number % 100 == 0:
        acknowledge(directory, REAL_DISK, time.time_ns() - 1_000_000_000)
    time.sleep(0.003)
kept.close()
"""


def start(*command: str, stdout: IO[str] | int = subprocess.PIPE) -> subprocess.Popen[str]:
    environ = {**os.environ, "PYTHONPATH": PATHS}
    return subprocess.Popen([sys.executable, *command], text=True, stdout=stdout, stderr=subprocess.PIPE, env=environ)


def written(log: Path) -> list[str]:
    return log.read_text().split("\n")[:-1] if log.exists() else []


def present(directory: Path) -> set[str]:
    found: set[str] = set()
    for path in directory.glob("*.jsonl"):
        if path.name != "ledger.jsonl":
            try:
                found.update(ID.findall(path.read_text()))
            except FileNotFoundError:
                continue
    return found


def checked(text: str) -> list[str]:
    """The ids in the output, after looking that each line is one whole call, in order, once."""
    lines = text.split("\n")
    assert lines.pop() == ""
    ids = [found[1] for line in lines if (found := ID.search(line)) is not None]
    assert len(ids) == len(lines) == len(set(ids))
    assert all(line.startswith('{"resourceLogs"') and line.endswith("]}]}]}") for line in lines)
    times = [int(found[1]) for line in lines if (found := TIME.search(line)) is not None]
    assert times == sorted(times)
    return ids


@pytest.mark.one_python
def test_readers_beside_a_writer_that_rotates_and_prunes(tmp_path: Path) -> None:
    directory, log = tmp_path / "svc", tmp_path / "log"
    directory.mkdir(mode=0o700)
    main = ("-m", "opentelemetry.instrumentation.mcp_audit.cli")
    # Into a file: a pipe that nobody empties would hold the follower up until segments it has not read are pruned.
    with open(tmp_path / "followed", "w") as followed_file:
        follower = start(*main, "tail", "-f", "-n", "0", "--format", "otlp", str(directory), stdout=followed_file)
    writer = start("-c", WRITER, str(directory), str(log))
    while len(written(log)) < 50 and writer.poll() is None:
        time.sleep(0.01)
    reads, names = 0, set()
    while writer.poll() is None:
        commands = (
            ("query", "--format", "otlp"),
            ("export", "--format", "otlp", "--event", "tool_call"),
            ("tail", "-n", "50", "--format", "otlp"),
        )
        for command in commands:
            names.update(os.listdir(directory))
            before = written(log)
            result = CliRunner().invoke(app, [*command, str(directory)])
            assert result.exit_code == 0, result.output
            assert result.exception is None or isinstance(result.exception, SystemExit)
            assert all("files went while they were read" in line for line in result.stderr.splitlines()), result.stderr
            ids = checked(result.stdout)
            if command[0] == "tail":
                assert len(ids) == 50
            else:
                assert set(before) & present(directory) <= set(ids)
            reads += 1
    assert writer.returncode == 0, writer.communicate()[1]
    assert reads > 10
    ids_written = written(log)
    assert len(present(directory)) < len(ids_written), "nothing was pruned"
    assert len([name for name in names if name.endswith(".jsonl")]) > 10
    time.sleep(1.0)  # five polls of the follower
    follower.send_signal(2)
    err = follower.communicate(timeout=20)[1]
    out = (tmp_path / "followed").read_text()
    assert "Traceback" not in err
    known = set(ids_written)
    followed = [one for one in checked(out) if one in known]
    # It may have started a moment after the writer; from then on it has everything, through all segments.
    assert followed == ids_written[len(ids_written) - len(followed) :]
    assert len(followed) > len(ids_written) / 2
    assert CliRunner().invoke(app, ["verify", str(directory)]).exit_code == 0


def test_a_file_that_takes_the_inode_of_a_pruned_one_is_read_from_its_beginning(tmp_path: Path) -> None:
    kept = journal(tmp_path)
    kept.append(record("first", size=2000))
    first = kept.path
    assert first is not None
    kept.close()
    follower = Follower([str(tmp_path)])
    data = first.read_bytes()
    inode = first.stat().st_ino
    first.unlink()
    other = tmp_path / first.name.replace(first.name[-12:-6], "000000")
    for _ in range(200):
        other.write_bytes(data[: data.find(b"\n") + 1])
        if other.stat().st_ino == inode:
            break
        other.rename(tmp_path / f"{_}.kept")
    else:
        pytest.skip("this file system does not give an inode number again so soon")
    assert [getattr(item, "event_name", item) for item in follower.poll()] == ["mcp_audit.lifecycle"]


def test_the_ledger_is_no_part_of_what_is_read(tmp_path: Path) -> None:
    kept = journal(tmp_path)
    kept.append(record())
    kept.close()
    for command in (("query", "--all"), ("tail", "--all"), ("export", "--format", "otlp")):
        result = CliRunner().invoke(app, [*command, str(tmp_path)])
        assert result.exit_code == 0
        assert len(result.stdout.splitlines()) == 3 + (command[0] == "query")
    result = CliRunner().invoke(app, ["query", "--event", "lifecycle", "--format", "otlp", str(tmp_path)])
    assert "ledger.jsonl" not in result.stdout and len(result.stdout.splitlines()) == 2
    named = CliRunner().invoke(app, ["query", "--all", "--format", "otlp", str(tmp_path / "ledger.jsonl")])
    assert len(named.stdout.splitlines()) == 3
