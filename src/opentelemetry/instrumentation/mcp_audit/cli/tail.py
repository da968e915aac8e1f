# SPDX-License-Identifier: Apache-2.0
"""``otel-mcp-audit tail``: the newest records, and those that come."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from itertools import chain

import click

from opentelemetry.instrumentation.mcp_audit.integrity.parse import Problem
from opentelemetry.instrumentation.mcp_audit.journal.reader import Follower, find, last, read_file

from ._exits import EXIT_UNREADABLE
from ._odd import not_read
from ._output import colours, emit, found, line_of, paths_argument, places, readable, tell
from ._select import Selection, selection_options

EPILOG = """\b
Examples:
  otel-mcp-audit tail
  otel-mcp-audit tail -f
  otel-mcp-audit tail -f --outcome failure /var/log/mcp-audit
  otel-mcp-audit tail -n 1 --json | jq .

\b
Exit codes: 0; 2 nothing could be read, or wrong usage; 130 interrupted (the end of -f)."""


@click.command(epilog=EPILOG)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on; new files are noticed.")
@click.option("-n", "count", type=click.IntRange(min=0), default=20, show_default=True, metavar="N", help="How many.")
@selection_options
@click.option(
    "--format", "form", type=click.Choice(["table", "seed", "otlp", "csv"]), default="table", show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="One flat JSON object a line.")
@paths_argument
def command(follow: bool, count: int, selection: Selection, form: str, as_json: bool, paths: tuple[str, ...]) -> None:
    """Show the newest records, one line each, oldest first. -f waits for more, also where no journal is yet."""
    line = line_of("json" if as_json else form, colours())
    looked = places(paths)
    # The follower notes the ends of the files first: what is written while the last lines are read is then shown twice
    # rather than never, and what was shown is known.
    follower = Follower(looked) if follow else None
    journal = find(looked) if follow else found(paths)
    # What the follower cannot read it tells itself; what it passes over it does not.
    closed = [] if follow else list(_closed(journal.files))
    tell(not_read(looked) if follow else closed)
    unread = {problem.file for problem in closed}
    files = [file for file in journal.files if file not in unread]
    shown = last(files, count, selection.wants)
    for record in shown:
        emit(line(record), at_once=follow)
    if follower is None:
        if not shown:
            # Nothing fits, or nothing is there to fit: one record of any kind tells.
            next(readable(chain.from_iterable(map(read_file, files)), missed=bool(closed or journal.problems)), None)
        raise click.exceptions.Exit(0)
    if not journal.files:
        click.echo(f"no journal in {', '.join(looked)} yet; waiting for one", err=True)
    already = {record.record_id for record in shown}
    for item in follower.follow():
        if isinstance(item, Problem):
            if journal.files or item.line:
                tell([item])
        elif item.record_id in already:
            already.discard(item.record_id)
        elif selection.wants(item):
            emit(line(item), at_once=True)
    raise click.exceptions.Exit(EXIT_UNREADABLE)


def _closed(files: Sequence[str]) -> Iterator[Problem]:
    """Files of which no end can be read, with the reason: permissions, or something that is no file (``tail`` seeks)."""
    for file in files:
        try:
            if not stat.S_ISREG(os.stat(file).st_mode):
                yield Problem(file, 0, 0, "not a regular file; not read")
            else:
                os.close(os.open(file, os.O_RDONLY))
        except FileNotFoundError:
            continue  # pruned since it was listed
        except (OSError, ValueError) as error:
            reason = error.strerror or error if isinstance(error, OSError) else error
            yield Problem(file, 0, 0, f"cannot be read: {reason}")
