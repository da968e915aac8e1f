# SPDX-License-Identifier: Apache-2.0
"""What came of the rows, as lines on the terminal and as docs/faults.md."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

from rows import NOT_PLAYED, Row, Side
from sides import Outcome

_HEAD = """# What is lost, and what is not

Written by `make faults`, not by hand. Each row is one fault, played at the same time for the stock pipeline
(opentelemetry-sdk's `BatchLogRecordProcessor` with the OTLP/HTTP exporter, defaults) and for this package (journal and
shipper, defaults, `http/json`), except that in the half-open row a request has 5 s instead of 10 s on both sides. A record is emitted when the emitting call returned: for the stock pipeline `Logger.emit()`, for this package the
tool call, whose answer the client has. *At once* is what the endpoint had when the process was gone; *after* is what it
had when the fault was over and `otel-mcp-audit ship --once` had run (the stock pipeline has nothing that could run).
*Twice* is how many records arrived more than once; each has its `audit.record.id`, by which sinks let go of them.
"""


@dataclass
class Result:
    """A row and what came of it, by side."""

    section: str
    row: Row
    outcomes: Mapping[Side, Outcome]


def broken(result: Result) -> str:
    """What ours did not keep of the row's promise; empty when it did, or when the row did not run."""
    ours = result.outcomes["ours"]
    if ours.not_run:
        return ""
    if result.row.promise == "no start":
        return "" if (ours.emitted, ours.exit) == (0, "78") else f"it started: {ours.emitted} emitted, exit {ours.exit}"
    if not ours.emitted:
        return "nothing was emitted"
    if "ship: " in ours.exit:
        return f"ship did not end well ({ours.exit})"
    if "verify: " in ours.exit:
        return f"the archive does not verify ({ours.exit})"
    if ours.ids:
        return f"{ours.ids} record ids more than records: what arrives twice cannot be told"
    missing = ours.emitted - ours.arrived
    if result.row.promise == "all" and missing:
        return f"{missing} of {ours.emitted} are missing, the first {ours.missing[0]}"
    if result.row.promise == "accounted" and missing > max(ours.gap, ours.quarantined):
        return f"{missing} missing, gap records name {ours.gap}, quarantined {ours.quarantined}"
    return ""


def line(result: Result) -> str:
    """A row for the terminal."""
    stock, ours = (result.outcomes[side] for side in ("stock", "ours"))
    verdict = "BROKEN" if broken(result) else "not run" if ours.not_run else "ok"
    return f"{verdict:7} {result.row.name[:66]:66} stock {_short(stock):18} ours {_short(ours)}"


def _short(outcome: Outcome) -> str:
    if outcome.not_run:
        return f"not run: {outcome.not_run}"
    more = f" twice {outcome.duplicated}" if outcome.duplicated else ""
    aside = f" gap {outcome.gap} quarantine {outcome.quarantined}" if outcome.gap or outcome.quarantined else ""
    beside = f" [{outcome.beside}]" if outcome.beside else ""
    return f"{outcome.emitted}->{outcome.at_once}->{outcome.arrived}{more}{aside} ({outcome.exit}, {outcome.seconds:.0f} s){beside}"


def document(results: list[Result], seconds: float) -> str:
    """docs/faults.md."""
    parts = [_HEAD, _where(len(results), seconds)]
    for section in dict.fromkeys(result.section for result in results):
        mine = [result for result in results if result.section == section]
        parts.append(f"## {section}\n\n{_table(mine)}")
    idle = [result for result in results if any(outcome.not_run for outcome in result.outcomes.values())]
    parts.append("## Not run\n\n" + "".join(f"- {text}\n" for text in [*map(_not_run, idle), *NOT_PLAYED]))
    return "\n".join(parts)


def _where(rows: int, seconds: float) -> str:
    names = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http", "mcp")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return (
        f"This run: {day}, {rows} rows in {seconds / 60:.0f} minutes, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores, {versions}.\n"
    )


def _not_run(result: Result) -> str:
    return f"{result.row.name}: " + "; ".join(
        f"{side}: {outcome.not_run}" for side, outcome in result.outcomes.items() if outcome.not_run
    )


def _table(results: list[Result]) -> str:
    rows = [
        "| fault | stock: arrived | ours: at once | ours: after | ours: twice | stock: the operator saw | ours: the operator saw |"
    ]
    rows.append("|---|---|---|---|---|---|---|")
    notes = []
    for result in results:
        row, stock, ours = result.row, result.outcomes["stock"], result.outcomes["ours"]
        name = row.name
        if row.note:
            notes.append(f"{row.name}: {row.note}.")
        if ours.not_run:
            continue
        after = f"{ours.arrived} of {ours.emitted}"
        if ours.emitted > ours.arrived:
            aside = [f"{ours.gap} named by a gap record"] if ours.gap else []
            aside += [f"{ours.quarantined} in quarantine"] if ours.quarantined else []
            after = ", ".join([after, *aside])
        if ours.beside:
            after += f" ({ours.beside})"
        arrived = "not run" if stock.not_run else f"{stock.arrived} of {stock.emitted}"
        if stock.beside:
            arrived += f" ({stock.beside})"
        cells = [name, arrived, str(ours.at_once), f"**{after}**", str(ours.duplicated), _saw(stock), _saw(ours)]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n" + "".join(f"\n{note}\n" for note in notes)


def _saw(outcome: Outcome) -> str:
    if outcome.not_run:
        return ""
    said = f"`{outcome.saw.replace('`', chr(39))}`" if outcome.saw else "nothing"
    return f"{said}; exit {outcome.exit}, {outcome.seconds:.0f} s"
