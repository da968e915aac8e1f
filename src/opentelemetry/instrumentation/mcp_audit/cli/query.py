# SPDX-License-Identifier: Apache-2.0
"""``otel-mcp-audit query``: find records."""

from __future__ import annotations

import click

from ._output import colours, emit, heading, line_of, paths_argument, readable, sources
from ._select import Selection, selection_options

EPILOG = """\b
Examples:
  otel-mcp-audit query --tool 'patient_*' --outcome failure --since 1h
  otel-mcp-audit query --user ada@example.com --since 2026-11-01 --until 2026-11-08 --format csv
  otel-mcp-audit query --trace 5b8efff798038103d269b633813fc60c --json | jq .arguments
  otel-mcp-audit query --event gap --event lifecycle

\b
Exit codes: 0 (also when nothing fits); 2 nothing could be read, or wrong usage.
Lines that are no records are named on stderr, with file and line, and passed over."""


@click.command(epilog=EPILOG)
@selection_options
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Stop after N records (the oldest come first).")
@click.option(
    "--format", "form", type=click.Choice(["table", "seed", "ocsf", "otlp", "csv"]), default="table", show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="One flat JSON object a line.")
@paths_argument
def command(selection: Selection, limit: int | None, form: str, as_json: bool, paths: tuple[str, ...]) -> None:
    """Find records, oldest first (one of a call that outlived its process stands where it was told).

    Filters are joined by AND. GLOBs know * ? [abc]. PATH is a segment file, a journal directory or a directory of
    these, a Collector's archive, or a database (postgresql://…, mysql://…, sqlite:///…, clickhouse://…).
    """
    items, missed = sources(paths, selection.since, selection.until)
    colour = colours()
    name = "json" if as_json else form
    line, head = line_of(name, colour), heading(name, colour)
    if head is not None:
        emit(head)
    shown = 0
    for record in readable(items, missed):
        if selection.wants(record):
            emit(line(record))
            shown += 1
            if limit is not None and shown >= limit:
                break
