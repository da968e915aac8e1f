# SPDX-License-Identifier: Apache-2.0
"""``otel-mcp-audit export``: records into a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import BinaryIO

import click

from opentelemetry.instrumentation.mcp_audit.integrity.files import ledger_file
from opentelemetry.instrumentation.mcp_audit.journal.reader import find

from ._output import heading, line_of, paths_argument, places, readable, sources
from ._select import Selection, selection_options
from ._stores import split

EPILOG = """\b
Examples:
  otel-mcp-audit export --since 2026-11-01 --until 2026-12-01 --format csv -o november.csv
  otel-mcp-audit export --user ada --format seed -o ada.jsonl
  otel-mcp-audit export --format otlp -o everything.jsonl

\b
Exit codes: 0; 1 the file could not be written (it is there already, …);
2 nothing could be read, or wrong usage (FILE inside a journal that is read)."""


@click.command(epilog=EPILOG)
@selection_options
@click.option("--format", "form", type=click.Choice(["seed", "ocsf", "otlp", "csv"]), default="seed", show_default=True)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False), metavar="FILE", help="Where to (0600). Default: stdout."
)
@click.option("--force", is_flag=True, help="Replace FILE when it is there already.")
@paths_argument
def command(selection: Selection, form: str, output: str | None, force: bool, paths: tuple[str, ...]) -> None:
    """Write records, oldest first, to a file that only its owner can read.

    `otlp` writes the lines of the journal as they are, those of opened and closed streams too (as far as the filters
    allow).
    """
    if form == "otlp":
        selection = replace(selection, lifecycle=True)
    items, missed = sources(paths, selection.since, selection.until)
    if output is not None:
        files = split(places(paths))[0]
        _keep_out(output, files, find(files).files)
    line, head = line_of(form), heading(form)
    written = 0
    with _target(output, force) as out:
        if head is not None:
            out.write(head.encode() + b"\n")
        for record in readable(items, missed):
            if selection.wants(record):
                out.write(line(record).encode("utf-8", "backslashreplace") + b"\n")
                written += 1
    if output is not None:
        click.echo(f"{written} records in {output}", err=True)


def _keep_out(output: str, given: Sequence[str], files: Sequence[str]) -> None:
    """Refuse a place where the export would become part of what it is made from, or replace it."""
    name = os.path.basename(output)
    place = os.path.realpath(os.path.dirname(output) or os.curdir)
    target = os.path.join(place, name)
    journals = {os.path.realpath(os.path.dirname(file)) for file in files if file not in given or _of_a_server(file)}
    for journal in sorted(journals):
        if place == journal or place.startswith(journal.rstrip(os.sep) + os.sep):
            raise click.BadParameter(
                f"{output} is in the journal {journal}, which holds what its servers write and nothing else: name a "
                "place outside of it",
                param_hint="-o",
            )
    for path in map(os.path.realpath, given):
        if path == target:
            raise click.BadParameter(f"{output} is what is read", param_hint="-o")
        if path == place and name.endswith(".jsonl"):
            raise click.BadParameter(
                f"{output} would be read as a part of the journal: name a place outside of {path}", param_hint="-o"
            )


def _of_a_server(file: str) -> bool:
    """Whether a segment that was named by itself lies where a server keeps its journal, and is no copy elsewhere."""
    directory = os.path.dirname(file) or os.curdir
    return ledger_file(directory) is not None or os.path.isdir(os.path.join(directory, "status"))


@contextmanager
def _target(output: str | None, force: bool) -> Iterator[BinaryIO]:
    """stdout, or a new file that takes its name only when it is whole."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if not force and os.path.lexists(output):
        raise click.ClickException(f"{output} is there already; --force replaces it")
    partial = f"{output}.{os.getpid()}.partial"
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            if force:
                os.replace(partial, output)
            else:
                os.link(partial, output)  # unlike a rename this refuses to replace what came there meanwhile
        finally:
            if os.path.lexists(partial):
                os.unlink(partial)
    except OSError as error:
        raise click.ClickException(f"{output} cannot be written: {error.strerror or error}") from error
