# SPDX-License-Identifier: Apache-2.0
"""What the operator is told on stderr, and that telling it never hurts the server. Seen through a real descriptor 2."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading

import pytest

from opentelemetry.instrumentation.mcp_audit import notices as module
from opentelemetry.instrumentation.mcp_audit.notices import Notices


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is written to descriptor 2."""
    lines: list[bytes] = []

    def write(descriptor: int, data: bytes) -> int:
        assert descriptor == 2
        lines.append(data)
        return len(data)

    monkeypatch.setattr(module.os, "write", write)
    return lines


def test_one_line_with_our_name(said: list[bytes]) -> None:
    Notices().say("the journal is \u00e9")
    assert said == ["otel-mcp-audit: the journal is \u00e9\n".encode()]


def test_what_a_caller_chose_drives_no_terminal(said: list[bytes]) -> None:
    Notices().say("tool \x1b[2J\r\n\x07 \udcff \u202e \U000e0001 end")
    (line,) = said
    assert line == rb"otel-mcp-audit: tool \x1b[2J\x0d\x0a\x07 \xdcff \x202e \xe0001 end" + b"\n"


def test_a_line_is_bounded_so_that_a_pipe_takes_it_whole(said: list[bytes]) -> None:
    Notices().say("\U0001f600" * 1_000_000)
    assert len(said[0]) <= 4096 and said[0].endswith(b"\n")


def test_the_same_problem_is_said_once_a_minute_and_counted(said: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    notices = Notices()
    for _ in range(10):
        notices.report("sink Mine failed: no")
    notices.report("OpenTelemetry failed: no")
    assert [line.decode().strip() for line in said] == [
        "otel-mcp-audit: sink Mine failed: no",
        "otel-mcp-audit: OpenTelemetry failed: no",
    ]
    now[0] += 59.9
    notices.report("sink Mine failed: again")
    assert len(said) == 2
    now[0] += 0.2
    notices.report("sink Mine failed: later")
    assert said[2:] == [b"otel-mcp-audit: sink Mine failed: later (12 times so far)\n"]
    assert notices.problems == {"sink Mine failed": 12, "OpenTelemetry failed": 1}


def test_kinds_are_bounded(said: list[bytes]) -> None:
    notices = Notices()
    for number in range(10_000):
        notices.report(f"problem {number}: x")
    assert len(notices.problems) == 101
    assert notices.problems["other problems"] == 9_900
    assert len(said) == 101


def test_threads_count_exactly(said: list[bytes]) -> None:
    notices = Notices()
    threads = [threading.Thread(target=lambda: [notices.report("a: b") for _ in range(1000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert notices.problems == {"a": 4000}
    assert len(said) == 1


def test_a_lock_held_at_fork_does_not_hold_the_child(said: list[bytes]) -> None:
    notices = Notices()
    notices._lock.acquire()
    notices.after_fork_in_child()
    notices.report("a: b")
    assert notices.problems == {"a": 1}


def _run(script: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    text = "import os, sys\nfrom opentelemetry.instrumentation.mcp_audit.notices import Notices\n" + textwrap.dedent(
        script
    )
    return subprocess.run([sys.executable, "-c", text], timeout=60, stdout=subprocess.PIPE, check=False, **options)  # type: ignore[call-overload, no-any-return]


def test_stdout_is_never_touched() -> None:
    done = _run("Notices().say('x'); Notices().report('a: b')", stderr=subprocess.PIPE)
    assert (done.stdout, done.stderr) == (b"", b"otel-mcp-audit: x\notel-mcp-audit: a: b\n")


def test_a_closed_stderr_is_counted() -> None:
    done = _run("n = Notices(); os.close(2); n.say('x'); n.say('y'); os.write(1, repr(n.problems).encode())")
    assert done.stdout == b"{'stderr cannot be written': 2}"


def test_a_stderr_that_nobody_reads_blocks_nobody() -> None:
    """Some MCP clients never read a server's stderr: the pipe fills up and the next write would hang the server."""
    read_end, write_end = os.pipe()
    done = _run(
        """
        n = Notices()
        os.set_blocking(2, False)
        try:
            while True:
                os.write(2, b"x" * 1000)
        except BlockingIOError:
            os.set_blocking(2, True)
        for _ in range(5):
            n.say("y" * 1900)
        os.write(1, repr(n.problems).encode())
        """,
        stderr=write_end,
    )
    os.close(write_end)
    os.close(read_end)
    assert done.stdout == b"{'stderr cannot be written': 5}"


def test_a_broken_pipe_is_counted() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = _run("n = Notices(); n.say('x'); os.write(1, repr(n.problems).encode())", stderr=write_end)
    os.close(write_end)
    assert done.stdout == b"{'stderr cannot be written': 1}"
