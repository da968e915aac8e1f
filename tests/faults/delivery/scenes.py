# SPDX-License-Identifier: Apache-2.0
"""The scenes that rows are played in: each takes a row and a side, and returns what came of it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from receiver import Kept, Mode, Receiver
from rows import Row, Side
from sides import SECONDS, Outcome, emitter, environment, exit_text, ship, shortened, tallied

Scene = Callable[[Row, Side, Path], Outcome]


class NotRun(Exception):
    """A row that cannot run here, and why."""


@contextmanager
def receiving(row: Row) -> Iterator[Receiver]:
    """A receiver in the row's first mode."""
    receiver = Receiver()
    try:
        receiver.tell(row.mode)
        yield receiver
    finally:
        receiver.close()


def wait_until(condition: Callable[[], bool], seconds: float, pause: float = 0.02) -> bool:
    """Whether it held in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def start(command: list[str], environ: dict[str, str], home: Path, name: str = "emitter") -> subprocess.Popen[bytes]:
    """A process whose output goes to a file, which nobody needs to read for it to go on."""
    with (home / f"{name}.said").open("ab") as said:
        return subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=home)


def said(home: Path, name: str = "emitter") -> str:
    """What it said, up to now."""
    path = home / f"{name}.said"
    return path.read_text(errors="replace") if path.exists() else ""


def ended(process: subprocess.Popen[bytes], seconds: float = SECONDS) -> int | None:
    """Its exit code; a process that does not end is killed, and None."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def one_emitter(row: Row, side: Side, home: Path) -> Outcome:
    """One process emits and ends, then the endpoint is healed, then (ours) `ship --once`."""
    with receiving(row) as receiver:
        environ = environment(side, row, home, receiver.url)
        began = time.monotonic()
        process = start(emitter(side, row, home), environ, home)
        if row.heal_after is not None:
            wait_until(lambda: bool(tallied(home)) or process.poll() is not None, 60)
            _wait(process, row.heal_after)
            receiver.tell(Mode())
        code = ended(process)
        outcome = Outcome(exit=exit_text(code), seconds=time.monotonic() - began)
        outcome.at_once = len(tallied(home) & set(receiver.kept.marks))
        # What one mode never heals from stays: a record that is refused is refused for ever.
        if row.mode.kind not in ("reject_poison",):
            receiver.tell(Mode())
        settle(outcome, side, home, receiver, environ)
        return outcome


def settle(outcome: Outcome, side: Side, home: Path, receiver: Receiver, environ: dict[str, str]) -> None:
    """The end of a row: for ours deliver what is left; then count."""
    text = said(home)
    if side == "ours":
        journal = Path(environ["OTEL_MCP_AUDIT_DIR"])
        if journal.exists():
            code, shipped = ship(environ, journal)
            text += shipped
            if code != 0:
                outcome.exit += f"; ship: {exit_text(code)}"
            outcome.quarantined = len(list((journal / "quarantine").glob("*.refused")))
    count(outcome, home, receiver.kept)
    outcome.saw = shortened(text, home)


def count(outcome: Outcome, home: Path, kept: Kept) -> None:
    """Emitted, arrived, duplicated, missing, said to be missing."""
    emitted = tallied(home)
    outcome.emitted = len(emitted)
    outcome.arrived = len(emitted & set(kept.marks))
    outcome.duplicated = sum(kept.marks.values()) - len(kept.marks)
    outcome.ids = len(kept.ids) - len(kept.marks)
    outcome.gap = kept.gap_total
    outcome.missing = sorted(emitted - set(kept.marks))


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


SCENES: dict[str, Scene] = {"emitter": one_emitter}
