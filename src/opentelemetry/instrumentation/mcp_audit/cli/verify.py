# SPDX-License-Identifier: Apache-2.0
"""``otel-mcp-audit verify``: is the trail whole and as it was written."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Callable, Sequence

import click

from opentelemetry.instrumentation.mcp_audit.integrity.report import Finding, Report, StreamReport, as_json
from opentelemetry.instrumentation.mcp_audit.integrity.verify import machine_boot_id, verify_paths
from opentelemetry.instrumentation.mcp_audit.render.text import iso_milliseconds, visible

from ._output import paths_argument, places
from ._stores import checked, split

EPILOG = """\b
Examples:
  otel-mcp-audit verify
  otel-mcp-audit verify --strict /var/log/mcp-audit
  otel-mcp-audit verify 20261124T053000Z-4711-*.jsonl
  otel-mcp-audit verify --json | jq .first_violation

\b
Exit codes: 0 valid (notes may remain); 1 violated, or with --strict any note;
2 unreadable: no such path, no permission, nothing readable, a newer format;
also wrong usage."""


@click.command(epilog=EPILOG)
@click.option("--json", "machine", is_flag=True, help="The whole report as one JSON object.")
@click.option("--strict", is_flag=True, help="Leave with 1 for notes too.")
@click.option(
    "--foreign",
    is_flag=True,
    help="The journal was brought here from another machine or boot that is not to be trusted: a hole in a stream "
    "without an end is then a violation, not what a power cut leaves.",
)
@click.option(
    "--collected",
    is_flag=True,
    help="The files were written by a Collector (or `sink`): records of many streams in any order, some more than once. "
    "Without it that is told by how they begin.",
)
@paths_argument
def command(machine: bool, strict: bool, foreign: bool, collected: bool, paths: tuple[str, ...]) -> None:
    """Check every record against its hash, the chain, the numbers, the content and the resource.

    PATH is a segment file, a journal directory or a directory of these; or the archive that a Collector wrote, a file or
    its directory; or a database (postgresql://…, mysql://…, sqlite:///…, clickhouse://…). Nothing is changed or locked.
    """
    report = _verified(places(paths), foreign, collected)
    if machine:
        click.echo(json.dumps(as_json(report, strict), ensure_ascii=False, indent=2))
    else:
        _print(report, strict)
    raise click.exceptions.Exit(report.exit_code(strict))


def _verified(looked: Sequence[str], foreign: bool, collected: bool) -> Report:
    """The report; one that says why when the verification itself could not be done (no room for its index, …)."""
    files, urls = split(looked)
    try:
        report = Report()
        if files or not urls:
            report = verify_paths(files, boot_id="" if foreign else None, collected=collected, progress=_progress())
        checked(urls, report, None if foreign else machine_boot_id())
        return report
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        where = error.filename if isinstance(error, OSError) and isinstance(error.filename, str) else looked[0]
        return Report(findings=[Finding("unreadable", where, f"cannot be verified: {reason}")])


def _progress() -> Callable[[int], None] | None:
    """On a terminal, how far it is, on one line of stderr that is wiped when there is something to print."""
    if not sys.stderr.isatty():
        return None

    def show(done: int) -> None:
        click.echo(f"\rverified {done / 1e6:.0f} MB\r", nl=False, err=True)

    return show


def _print(report: Report, strict: bool) -> None:
    for finding in report.findings:
        click.echo(_finding(finding))
    for stream in report.streams:
        click.echo(_stream(stream))
        for finding in stream.findings:
            click.echo("  " + _finding(finding))
        hidden = sum(stream.counted.values()) - len(stream.findings)
        if hidden:
            click.echo(f"  … and {hidden} more")
    counts = (
        f"{report.records} records in {len(report.streams)} streams; "
        f"{report.count('violation')} violations, {report.count('note')} notes"
    )
    verdict = report.verdict.upper()
    if strict and report.exit_code() == 0 and report.exit_code(strict):
        verdict = "VALID, with notes (--strict)"
    click.secho(f"{verdict}: {counts}", bold=True, fg={0: "green", 1: "red", 2: "yellow"}[report.exit_code(strict)])
    first = report.first_violation()
    if first is not None:
        click.echo(f"first violation: {_place(first)}: {visible(first.sentence)}")
    if report.records:
        last = max(report.streams, key=lambda stream: stream.last_time)
        click.echo(
            f"last covered record: number {last.last_number} of stream {visible(str(last.stream_id))}, "
            f"{iso_milliseconds(last.last_time)}, id {visible(str(last.last_record_id))}"
        )
    click.echo(f"tier {report.tier_text}")
    sys.stdout.flush()


def _stream(stream: StreamReport) -> str:
    name = visible(os.path.basename(stream.file))
    end = "closed" if stream.ended else "open"
    span = ""
    if stream.records:
        span = f", {iso_milliseconds(stream.first_time)} to {iso_milliseconds(stream.last_time)}"
    return f"{stream.verdict:<10} {name}: {stream.records} records{span}, {end}"


def _finding(finding: Finding) -> str:
    label = {"violation": "VIOLATED", "note": "note", "unreadable": "UNREADABLE"}[finding.kind]
    details = []
    if finding.number is not None:
        details.append(f"number {finding.number}")
    if finding.record_id is not None:
        details.append(f"id {visible(finding.record_id)}")
    if finding.offset is not None:
        details.append(f"byte {finding.offset}")
    extra = f" ({', '.join(details)})" if details else ""
    return f"{label} {_place(finding)}: {visible(finding.sentence)}{extra}"


def _place(finding: Finding) -> str:
    return visible(finding.file) + (f":{finding.line}" if finding.line else "")
