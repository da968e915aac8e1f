# SPDX-License-Identifier: Apache-2.0
"""Torn tails are set aside, whole lines are kept, and a live writer's file is never touched."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journals import journal, kinds, read, record, segments
from trail_oracle import sample

from opentelemetry.instrumentation.mcp_audit.journal import torn

_HELPERS = str(Path(__file__).parents[1] / "helpers")
_LINES = sample(3).lines()
_NAME = sample(3).name


def _repaired(directory: Path) -> list[str]:
    return list(torn.set_aside_torn_tails(directory))


def _quarantined(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (directory / "quarantine").glob("*")}


@settings(max_examples=150, deadline=None)
@given(whole=st.integers(0, len(_LINES)), cut=st.integers(1, min(map(len, _LINES)) - 1))
def test_any_cut_of_the_last_line(whole: int, cut: int) -> None:
    last = _LINES[whole % len(_LINES)][:cut]
    _sets_aside(b"".join(_LINES[:whole]), last)


@settings(max_examples=150, deadline=None)
@given(
    whole=st.integers(0, 2),
    garbage=st.one_of(
        st.binary(min_size=1, max_size=300),
        st.integers(1, 200_000).map(lambda size: b"\0" * size),
    ).filter(lambda data: b"\n" not in data),
)
def test_garbage_without_a_line_end(whole: int, garbage: bytes) -> None:
    _sets_aside(b"".join(_LINES[:whole]), garbage)


def _sets_aside(whole: bytes, tail: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        path = directory / _NAME
        path.write_bytes(whole + tail)
        (sentence,) = _repaired(directory)
        assert sentence.startswith(f"{_NAME}: {len(tail)} bytes behind the last whole record set aside in ")
        assert path.read_bytes() == whole
        assert _quarantined(directory) == {f"{_NAME}.{len(whole)}.torn": tail}
        assert (directory / "quarantine").stat().st_mode & 0o777 == 0o700
        assert (directory / "quarantine" / f"{_NAME}.{len(whole)}.torn").stat().st_mode & 0o777 == 0o600
        assert _repaired(directory) == [], "once is enough"
        assert len(_quarantined(directory)) == 1


def test_whole_files_and_empty_ones_are_left_alone(tmp_path: Path) -> None:
    whole, empty = tmp_path / _NAME, tmp_path / "empty.jsonl"
    whole.write_bytes(b"".join(_LINES))
    empty.write_bytes(b"")
    before = whole.stat().st_mtime_ns, empty.stat().st_mtime_ns
    assert _repaired(tmp_path) == []
    assert (whole.stat().st_mtime_ns, empty.stat().st_mtime_ns) == before
    assert not (tmp_path / "quarantine").exists()


def test_only_segments_are_looked_at(tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.write_bytes(b"not ours")
    (tmp_path / "link.jsonl").symlink_to(outside)
    (tmp_path / "dir.jsonl").mkdir()
    (tmp_path / "notes.txt").write_bytes(b"no line end")
    assert _repaired(tmp_path) == []
    assert outside.read_bytes() == b"not ours"
    assert (tmp_path / "notes.txt").read_bytes() == b"no line end"


def test_what_cannot_be_set_aside_is_said_and_left(tmp_path: Path) -> None:
    (tmp_path / "quarantine").write_text("a file where the directory should be")
    (tmp_path / _NAME).write_bytes(_LINES[0] + b"torn")
    (sentence,) = _repaired(tmp_path)
    assert sentence.startswith(f"{_NAME}: its end could not be checked: ")
    assert (tmp_path / _NAME).read_bytes() == _LINES[0] + b"torn"


def test_a_live_writers_file_is_never_touched(tmp_path: Path) -> None:
    """The writer is another process, stopped in the middle of a line."""
    script = (
        "import os, pathlib, sys\n"
        "sys.path[:0] = [sys.argv[2]]\n"
        "from journals import journal, record\n"
        "trail = journal(pathlib.Path(sys.argv[1]))\n"
        "ticket = trail.append(record('one'))\n"
        "os.write(trail._stream.current.descriptor, ticket.line[:40])\n"
        "print(trail.path, flush=True)\n"
        "sys.stdin.read()\n"
        "os._exit(0)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), _HELPERS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        path = Path(process.stdout.readline().decode().strip())
        before = path.read_bytes()
        assert not before.endswith(b"\n")
        trail = journal(tmp_path)
        trail.append(record("mine"))
        trail.close()
        assert path.read_bytes() == before
        assert not (tmp_path / "quarantine").exists()
        process.stdin.close()
        process.wait(30)
    said: list[str] = []
    trail = journal(tmp_path, said.append)
    trail.append(record("later"))
    trail.close()
    assert len(said) == 1 and path.name in said[0]
    assert kinds(read(path)) == ["opened", "one"]
    assert len(segments(tmp_path)) == 3


def test_a_second_journal_of_the_same_process_does_not_touch_the_first(tmp_path: Path) -> None:
    first = journal(tmp_path)
    first.append(record("one"))
    assert first._stream.current is not None
    os.write(first._stream.current.descriptor, b"half a li")
    second = journal(tmp_path)
    second.append(record("two"))
    second.close()
    assert first.path is not None and first.path.read_bytes().endswith(b"half a li")
    first.close()


def test_a_start_repairs_before_it_writes(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / _NAME).write_bytes(b"".join(_LINES) + b'{"resourceLogs":[{"re')
    trail = journal(tmp_path, said.append)
    trail.open()
    assert (tmp_path / _NAME).read_bytes() == b"".join(_LINES)
    assert len(said) == 1 and "21 bytes" in said[0]
    trail.close()


def test_without_real_locks_nothing_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / _NAME
    path.write_bytes(_LINES[0] + b"half")
    monkeypatch.setattr("opentelemetry.instrumentation.mcp_audit.journal.platform.CAN_LOCK", False)
    assert _repaired(tmp_path) == []
    assert path.read_bytes() == _LINES[0] + b"half"


def test_a_system_without_pread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pread")
    path = tmp_path / _NAME
    path.write_bytes(_LINES[0] + b"half")
    assert len(_repaired(tmp_path)) == 1
    assert path.read_bytes() == _LINES[0]
    assert _quarantined(tmp_path) == {f"{_NAME}.{len(_LINES[0])}.torn": b"half"}
