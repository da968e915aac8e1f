# SPDX-License-Identifier: Apache-2.0
"""Rows with the real Collector, whose archive says what arrived; or, for its queue, a receiver behind it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from delivered import archived
from receiver import Kept, Mode, Receiver, json_items
from rows import Row, Side
from scenes import NotRun, count, ended, said, start, wait_until
from scenes_disk import tmpfs
from sides import Outcome, emitter, environment, exit_text, ship, shortened, tallied, verify

import collector as real

Act = Callable[[real.Collector, "subprocess.Popen[bytes]"], None]
_BEGIN = b'{"resourceLogs":['
_QUEUE = """
exporters:
  otlp_http/faults:
    endpoint: {url}
    encoding: json
    compression: none
    sending_queue: {{storage: file_storage/audit, sizer: bytes, queue_size: 100000000, block_on_overflow: true}}
    retry_on_failure: {{enabled: true, initial_interval: 200ms, max_interval: 1s, max_elapsed_time: 0}}
service:
  pipelines:
    logs/faults: {{receivers: [forward/audit], exporters: [otlp_http/faults]}}
"""


@contextmanager
def _running(collector: real.Collector) -> Iterator[real.Collector]:
    import pytest

    try:
        collector.start()
    except pytest.skip.Exception as skipped:
        raise NotRun(str(skipped)) from None
    try:
        yield collector
    finally:
        collector.kill()


def _kept(collector: real.Collector) -> Kept:
    """What the archive holds, a batch glued to a torn one included."""
    kept = Kept()
    for line in archived(collector):
        for piece in line.split(_BEGIN)[1:]:
            if piece.endswith(b"]}]}]}"):
                kept.add(json_items(json.loads(_BEGIN + piece)))
    return kept


def _play(row: Row, side: Side, home: Path, collector: real.Collector, act: Act, kept: Callable[[], Kept]) -> Outcome:
    environ = environment(side, row, home, collector.url)
    began = time.monotonic()
    process = start(emitter(side, row, home), environ, home)
    wait_until(lambda: bool(tallied(home)) or process.poll() is not None, 60)
    act(collector, process)
    code = ended(process)
    outcome = Outcome(exit=exit_text(code), seconds=time.monotonic() - began)
    emitted = tallied(home)
    outcome.at_once = len(emitted & set(kept().marks))
    text = said(home)
    if side == "ours":
        shipped, words = ship(environ, home / "journal")
        text += words
        if shipped != 0:
            outcome.exit += f"; ship: {exit_text(shipped)}"
        outcome.quarantined = len(list((home / "journal" / "quarantine").glob("*.refused")))
    # A queue behind the Collector still empties itself; an archive does not change any more.
    wait_until(lambda: emitted <= set(kept().marks), 10 if side == "ours" else 3, 0.5)
    count(outcome, home, kept())
    outcome.saw = shortened(text, home)
    if side == "ours":
        verdict = verify(collector.archive.parent)
        outcome.beside = "the archive passes `verify`" if verdict == 0 else f"`verify` of the archive: {verdict}"
        outcome.exit += "" if verdict == 0 else f"; verify: {verdict}"
    return outcome


def _with_archive(act: Act) -> Callable[[Row, Side, Path], Outcome]:
    def scene(row: Row, side: Side, home: Path) -> Outcome:
        with _running(real.Collector(home / "c", "audit.yaml", "sinks/file.yaml")) as collector:
            return _play(row, side, home, collector, act, lambda: _kept(collector))

    return scene


def _kill_often(collector: real.Collector, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            collector.kill()
            collector.start()


def _kill_at_once(collector: real.Collector, process: subprocess.Popen[bytes]) -> None:
    wait_until(lambda: bool(_kept(collector).marks) or process.poll() is not None, 30)
    collector.kill()
    time.sleep(2)
    collector.start()


def archive_full(row: Row, side: Side, home: Path) -> Outcome:
    """The disk of the archive is full but for 100 kB; 4 s later it is free again."""
    with tmpfs(home / "disk", "64m") as disk:
        archive = disk / "archive" / "audit.jsonl"
        with _running(
            real.Collector(home / "c", "audit.yaml", "sinks/file.yaml", env={"AUDIT_JSONL": str(archive)})
        ) as collector:
            collector.archive = archive
            return _play(row, side, home, collector, _filled(disk), lambda: _kept(collector))


def queue_full(row: Row, side: Side, home: Path) -> Outcome:
    """The sink behind the Collector is down, so its queue grows on a disk that is full; then both are mended.

    The archive is on another disk and part of the same answer, as it should be in every deployment; what arrived is what
    it has. What came out of the queue is told beside it: a Collector may let go of queued items while its disk is full.
    """
    with ExitStack() as stack:
        disk = stack.enter_context(tmpfs(home / "disk", "64m"))
        behind = Receiver()
        stack.callback(behind.close)
        sink = home / "sink.yaml"
        sink.write_text(_QUEUE.format(url=behind.url))
        behind.tell(Mode("down"))
        environ = {"AUDIT_QUEUE_DIR": str(disk / "queue")}
        made = real.Collector(home / "c", "audit.yaml", "sinks/file.yaml", sink, env=environ)
        collector = stack.enter_context(_running(made))
        fill = _filled(disk)

        def act(running: real.Collector, process: subprocess.Popen[bytes]) -> None:
            fill(running, process)
            behind.tell(Mode())

        outcome = _play(row, side, home, collector, act, lambda: _kept(collector))
        emitted = tallied(home)
        wait_until(lambda: emitted <= set(behind.kept.marks), 15, 0.5)
        came = f"{len(emitted & set(behind.kept.marks))} came out of the queue"
        outcome.beside = f"{outcome.beside}; {came}" if outcome.beside else came
        return outcome


def _filled(disk: Path) -> Act:
    def act(collector: real.Collector, process: subprocess.Popen[bytes]) -> None:
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * 65536) == 65536:
                    pass
            except OSError as full:
                file.truncate(max(0, file.tell() - 100_000))
                assert "space" in str(full)
        try:
            process.wait(4)
        except subprocess.TimeoutExpired:
            pass  # as it should be: it emits for longer
        filler.unlink()

    return act


SCENES = {
    "collector_kills": _with_archive(_kill_often),
    "collector_dies": _with_archive(_kill_at_once),
    "archive_full": archive_full,
    "queue_full": queue_full,
}
