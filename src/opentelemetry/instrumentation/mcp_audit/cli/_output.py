# SPDX-License-Identifier: Apache-2.0
"""How records are printed, where journals are looked for, how problems are told: what the reading commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

import click

from opentelemetry.instrumentation.mcp_audit import environment_variables as env
from opentelemetry.instrumentation.mcp_audit.integrity.files import journal_directories, ledger_file
from opentelemetry.instrumentation.mcp_audit.integrity.parse import Problem, StoredRecord
from opentelemetry.instrumentation.mcp_audit.journal.reader import Item, Journal, find, in_time_order
from opentelemetry.instrumentation.mcp_audit.render.csv import csv_header, csv_row
from opentelemetry.instrumentation.mcp_audit.render.flat import flat_line
from opentelemetry.instrumentation.mcp_audit.render.ocsf import ocsf_line
from opentelemetry.instrumentation.mcp_audit.render.otlp import otlp_for_terminal, otlp_line
from opentelemetry.instrumentation.mcp_audit.render.seed import seed_line
from opentelemetry.instrumentation.mcp_audit.render.table import header, row
from opentelemetry.instrumentation.mcp_audit.render.text import visible
from opentelemetry.instrumentation.mcp_audit.settings import default_root

from ._exits import EXIT_UNREADABLE
from ._odd import not_read
from ._stores import split, stored

Line = Callable[[StoredRecord], str]

_LINES: Final[dict[str, Line]] = {
    "seed": seed_line,
    "ocsf": ocsf_line,
    "otlp": otlp_line,
    "csv": csv_row,
    "json": flat_line,
    "table": row,
}

# What cannot be read is for the command to say, in its own form and with its own exit code: click does not look.
paths_argument = click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(readable=False))


def colours(stream: object = None) -> bool:
    """Colours only on a terminal, and not where NO_COLOR (no-color.org) is set."""
    out = sys.stdout if stream is None else stream
    return bool(getattr(out, "isatty", lambda: False)()) and not os.environ.get("NO_COLOR")


def emit(text: str, at_once: bool = False) -> None:
    """One line on stdout, as it is (``click.echo`` would take escape sequences out of the data)."""
    sys.stdout.write(text + "\n")
    if at_once:
        sys.stdout.flush()


def line_of(form: str, colour: bool = False) -> Line:
    """The function that makes a record's line in the named format."""
    if form == "otlp" and sys.stdout.isatty():
        return otlp_for_terminal
    if form == "table" and colour:
        return lambda record: row(record, colour=True)
    return _LINES[form]


def heading(form: str, colour: bool = False) -> str | None:
    """The line above the records, where the format has one."""
    return {"csv": csv_header(), "table": header(colour)}.get(form)


def places(paths: Sequence[str]) -> list[str]:
    """The paths that were given; without any, ``OTEL_MCP_AUDIT_DIR`` or the directory above all services' journals."""
    if paths:
        return list(paths)
    own = os.environ.get(env.OTEL_MCP_AUDIT_DIR, "").strip()
    return [os.path.abspath(os.path.expanduser(own)) if own else str(default_root(os.environ))]


def found(paths: Sequence[str]) -> Journal:
    """The journal files at ``paths``. Says on stderr what is not there or not read; leaves with 2 when nothing is."""
    looked = places(paths)
    journal, odd = find(looked), not_read(looked)
    tell(journal.problems)
    tell(odd)
    if not journal.files:
        if not journal.problems and not odd:
            click.echo(f"no journal in {', '.join(map(visible, looked))}", err=True)
        raise click.exceptions.Exit(EXIT_UNREADABLE)
    return journal


def with_ledgers(looked: Sequence[str]) -> list[str]:
    """The paths, and the ledgers of the journals among them: each is a stream like any other, and delivered as one."""
    ledgers: list[str] = []
    for path in looked:
        if os.path.isdir(path):
            ledgers += filter(None, map(ledger_file, journal_directories(path)))
    return [*looked, *ledgers]


def sources(paths: Sequence[str], since: int | None, until: int | None) -> tuple[Iterator[Item], bool]:
    """All that is to be read, oldest first, files before databases, and whether something of it could not be found."""
    files, urls = split(places(paths))
    if urls and not files:
        return stored(urls, since, until), False
    journal = found(files)
    return chain(in_time_order(journal.files), stored(urls, since, until)), bool(journal.problems)


def readable(items: Iterable[Item], missed: bool = False) -> Iterator[StoredRecord]:
    """The records among ``items``; problems are told where they come.

    Leaves with 2 when the items end, something was wrong with them (or ``missed`` before them), and no record was
    there: nothing could be read. Files that are empty or just being begun are nothing wrong, as for ``verify``, nor are
    segments that were pruned since they were listed: these are counted and told at the end.
    """
    read, gone = False, 0
    for item in items:
        if isinstance(item, Problem):
            if item.line == 0 and not os.path.lexists(item.file):
                gone += 1
                continue
            tell([item])
            missed = missed or not item.torn
        else:
            read = True
            yield item
    if gone:
        click.echo(f"{gone} files went while they were read (pruned, or removed: verify tells which)", err=True)
    if missed and not read:
        raise click.exceptions.Exit(EXIT_UNREADABLE)


def tell(problems: Iterable[Problem]) -> None:
    """One line a problem on stderr, as compilers write it. What a live writer has not finished yet is no problem."""
    for problem in problems:
        if not problem.torn:
            where = visible(problem.file) + (f":{problem.line}" if problem.line else "")
            click.echo(f"{where}: {visible(problem.what)}", err=True)
