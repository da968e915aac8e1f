# SPDX-License-Identifier: Apache-2.0
"""``make faults``: every row for the stock pipeline and for ours in the same run; writes docs/faults.md.

    python tests/faults/delivery/campaign.py [--only TEXT] [--quick] [--write PATH]

FAULTS_SHIP_KILLS (20) is how often the shipper is killed, FAULTS_SEED when. Exit code 1 when ours did not keep a row's promise; rows that could not run are listed with the reason.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parents[1] / "helpers"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import report  # noqa: E402
import scenes  # noqa: E402
import scenes_collector  # noqa: E402
import scenes_disk  # noqa: E402
import scenes_servers  # noqa: E402
from rows import SECTIONS, SIDES, Row, Side  # noqa: E402
from sides import Outcome  # noqa: E402

# The parts of its name are packages of the API: looking for it imports nothing heavy.
_EXPORTER = "opentelemetry.exporter"
SCENES = {**scenes.SCENES, **scenes_disk.SCENES, **scenes_servers.SCENES, **scenes_collector.SCENES}


def play(row: Row, home: Path) -> dict[Side, Outcome]:
    """Both sides of a row at the same time, each in a directory of its own."""
    with ThreadPoolExecutor(2) as both:
        running = {side: both.submit(_one, row, side, home / side) for side in SIDES}
        return {side: future.result() for side, future in running.items()}


def _one(row: Row, side: Side, home: Path) -> Outcome:
    home.mkdir(parents=True)
    if side == "stock" and find_spec(_EXPORTER) is None:
        return Outcome(not_run="opentelemetry-exporter-otlp-proto-http is not installed")
    try:
        return SCENES[row.scene](row, side, home)
    except scenes.NotRun as reason:
        return Outcome(not_run=str(reason))


def quickly(row: Row) -> Row:
    """The row as the ordinary tests run it."""
    return replace(row, count=row.quick_count or row.count)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    parser.add_argument("--quick", action="store_true", help="only the share of the ordinary tests")
    parser.add_argument("--write", type=Path, help="where the table goes; nothing is written without")
    given = parser.parse_args()
    results: list[report.Result] = []
    began = time.monotonic()
    for section, rows in SECTIONS.items():
        for row in rows:
            if given.only.lower() not in row.name.lower() or (given.quick and not row.quick):
                continue
            chosen = quickly(row) if given.quick else row
            with tempfile.TemporaryDirectory(prefix="faults-") as home:
                result = report.Result(section, chosen, play(chosen, Path(home)))
            results.append(result)
            print(report.line(result), flush=True)
    if given.write:
        given.write.write_text(report.document(results, time.monotonic() - began))
    broken = [result for result in results if report.broken(result)]
    for result in broken:
        print(f"BROKEN: {result.row.name}: {report.broken(result)}")
    print(f"{len(results)} rows, {len(broken)} broken, {time.monotonic() - began:.0f} s")
    return 1 if broken or not results else 0


if __name__ == "__main__":
    sys.exit(main())
