# SPDX-License-Identifier: Apache-2.0
"""``kill -9`` at random, under load, over every form in which servers are started; then the journal is judged.

    python tests/faults/campaign.py --kills 500 --seed 7 [--form "gunicorn preload"]

After each series of kills in one directory: no answered call is missing, every call in flight has exactly one record
(``abandoned``, or its own where the kill came behind it), no file was written by two processes, and ``verify`` finds
nothing but notes, before what died is adopted and after. Prints a table; exit code 1 for a problem.
"""

from __future__ import annotations

import argparse
import itertools
import random
import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TextIO

sys.path.insert(0, str(Path(__file__).parent))

from killing import Tally, series
from launching import FORMS

_COLUMNS = ("kills", "answered", "recorded", "in_flight", "abandoned", "late", "segments", "notes")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500, help="how many at least (default: 500)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31), help="of all choices (default: random)")
    parser.add_argument("--form", choices=FORMS, action="append", help="only this one; may be given more than once")
    parser.add_argument("--keep", type=Path, help="where the directories of series with a problem are kept")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    total, began = {form: Tally(form) for form in given.form or FORMS}, time.monotonic()
    # Whoever ends it ends the servers that it started, and sees what came of it so far.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _campaign(given.kills, random.Random(given.seed), total, given.keep)
    except KeyboardInterrupt:
        print("interrupted")
    _print(total, sys.stdout)
    kills, problems = sum(each.kills for each in total.values()), sum(len(each.problems) for each in total.values())
    print(f"{kills} kills, seed {given.seed}, {problems} problems, {time.monotonic() - began:.0f} s")
    return 1 if problems or kills < given.kills else 0


def _campaign(kills: int, chance: random.Random, total: dict[str, Tally], keep: Path | None) -> None:
    """Series of all forms in turn, each at least once, until so many processes were killed; what came of it in ``total``."""
    began, forms, killed = time.monotonic(), tuple(total), 0
    for turn in itertools.count():
        if killed >= kills and turn >= len(forms):
            return
        form, seed = forms[turn % len(forms)], chance.randrange(2**32)
        with tempfile.TemporaryDirectory(prefix="kills-") as base:
            tally = _one(form, Path(base), seed)
            if tally.problems and keep:
                shutil.copytree(base, keep / f"{turn}-{form.replace(' ', '-')}-{seed}")
        _add(total[form], tally)
        killed += tally.kills
        print(f"{time.monotonic() - began:6.0f} s, {killed} kills: {form}", file=sys.stderr, flush=True)
        for problem in tally.problems:
            print(f"PROBLEM {form}, turn {turn}, seed {seed}: {problem}", flush=True)
        if (turn + 1) % len(forms) == 0:
            _print(total, sys.stderr)


def _one(form: str, base: Path, seed: int) -> Tally:
    try:
        return series(form, base, seed, rounds=1 if form == "ten servers" else 3)
    except (OSError, ValueError, KeyError) as error:
        # Servers that hang, or records that are none: as bad as a wrong count, and no reason to stop counting.
        return Tally(form, problems=[f"{type(error).__name__}: {error}"])


def _add(whole: Tally, more: Tally) -> None:
    for name in (*_COLUMNS, "verified"):
        setattr(whole, name, getattr(whole, name) + getattr(more, name))
    whole.problems += more.problems


def _print(total: dict[str, Tally], file: TextIO) -> None:
    print(f"{'form':22}" + "".join(f"{name.replace('_', ' '):>11}" for name in _COLUMNS) + "  verify", file=file)
    for form, each in total.items():
        cells = "".join(f"{getattr(each, name):11}" for name in _COLUMNS)
        verdict = "PROBLEMS" if each.problems else f"exit 0, {each.verified} times"
        print(f"{form:22}{cells}  {verdict}", file=file, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
