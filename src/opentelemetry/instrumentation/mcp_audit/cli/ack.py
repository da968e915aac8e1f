# SPDX-License-Identifier: Apache-2.0
"""``otel-mcp-audit ack``: say up to when the trail is kept elsewhere, so that a full journal may delete it here."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import click

from opentelemetry.instrumentation.mcp_audit.integrity.files import journal_directories
from opentelemetry.instrumentation.mcp_audit.journal.acknowledged import acknowledge
from opentelemetry.instrumentation.mcp_audit.journal.disk import REAL_DISK
from opentelemetry.instrumentation.mcp_audit.render.text import iso_milliseconds, visible

from ._exits import EXIT_UNREADABLE
from ._output import paths_argument, places
from ._select import parse_time

EPILOG = """\b
Examples:
  otel-mcp-audit ack --until 2026-11-24T05:30:00Z
  otel-mcp-audit ack --until 1d /var/log/mcp-audit

\b
Exit codes: 0; 2 no journal there, or it could not be written in each of them; also wrong usage."""


@click.command(epilog=EPILOG)
@click.option(
    "--until",
    "given",
    metavar="TIME",
    required=True,
    help="ISO 8601 (UTC where it names no offset), or 30m, 1h, 2d ago.",
)
@click.option("--force", is_flag=True, help="Also go back to an earlier time.")
@paths_argument
def command(given: str, force: bool, paths: tuple[str, ...]) -> None:
    """Acknowledge all records up to TIME: they are kept elsewhere, and a full journal may delete its segments of them.

    Nothing is deleted now. A segment goes only when the journal is at OTEL_MCP_AUDIT_MAX_BYTES, or its disk is full, with
    OTEL_MCP_AUDIT_ON_FULL=drop_acknowledged, and when it is older than OTEL_MCP_AUDIT_MIN_AGE. PATH is a journal
    directory or a directory of these.
    """
    until = _time(given)
    looked = places(paths)
    missed = False
    for directory in directories(looked):
        try:
            holds = acknowledge(Path(directory), REAL_DISK, until, force=force)
        except OSError as error:
            click.echo(f"{visible(directory)}: cannot be acknowledged: {visible(str(error))}", err=True)
            missed = True
            continue
        later = "" if holds == until else " (as before, which is later; --force goes back)"
        click.echo(f"{visible(directory)}: acknowledged until {iso_milliseconds(holds)}{later}")
    raise click.exceptions.Exit(EXIT_UNREADABLE if missed else 0)


def directories(looked: Sequence[str]) -> list[str]:
    """The journal directories at these paths, each once. Says what is none, and leaves with 2 if anything is not."""
    found: dict[str, None] = {}
    problems = []
    for path in looked:
        try:
            inside = journal_directories(path)
        except (OSError, ValueError) as error:
            problems.append(f"{visible(path)}: {error.strerror if isinstance(error, OSError) else error}")
            continue
        if not inside:
            problems.append(f"no journal in {visible(path)}")
        found |= dict.fromkeys(map(os.path.normpath, inside))
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        raise click.exceptions.Exit(EXIT_UNREADABLE)
    return list(found)


def _time(given: str) -> int:
    now = time.time()
    try:
        until = parse_time(given, now)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{given!r} is no time: use 2026-11-24, 2026-11-24T05:30:00Z, or an age such as 30m, 1h, 2d",
            param_hint="'--until'",
        ) from None
    if until > now * 1e9:
        # What is not written yet cannot be kept elsewhere, and would be deleted unseen.
        raise click.BadParameter(f"{iso_milliseconds(until)} is in the future", param_hint="'--until'")
    if until < 0:
        raise click.BadParameter(f"{given!r} is before 1970", param_hint="'--until'")
    return until
