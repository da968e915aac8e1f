# SPDX-License-Identifier: Apache-2.0
"""``otel-mcp-audit adopt``: answer for the calls of processes that died, without starting a server for it."""

from __future__ import annotations

import os
import platform as python_platform
import socket
from pathlib import Path
from typing import Final

import click

from opentelemetry.instrumentation.mcp_audit.assembly import SCOPE_NAME, settings_hash
from opentelemetry.instrumentation.mcp_audit.integrity.files import marker_files, segment_files
from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord
from opentelemetry.instrumentation.mcp_audit.journal.journal import Journal, Options
from opentelemetry.instrumentation.mcp_audit.journal.origin import Origin
from opentelemetry.instrumentation.mcp_audit.journal.reader import read_file
from opentelemetry.instrumentation.mcp_audit.policy.model import builtin
from opentelemetry.instrumentation.mcp_audit.record.attributes import STREAM_ID, AttributeValue
from opentelemetry.instrumentation.mcp_audit.render.text import visible
from opentelemetry.instrumentation.mcp_audit.settings import Settings, SettingsError, load
from opentelemetry.instrumentation.mcp_audit.version import __version__

from ._dead import unlocked
from ._exits import EXIT_UNREADABLE
from ._output import paths_argument, places
from .ack import directories

EXIT_LEFT: Final = 1
EPILOG = """\b
Examples:
  otel-mcp-audit adopt
  otel-mcp-audit adopt /var/log/mcp-audit

\b
Exit codes: 0 no dead process is left; 1 one is, see the messages;
2 no journal there, or it could not be written; also wrong usage."""


@click.command(epilog=EPILOG)
@paths_argument
def command(paths: tuple[str, ...]) -> None:
    """Adopt dead processes: each call that was in flight gets its record (unknown, abandoned), and the ledger is told of
    their segments.

    The next server that starts in a directory does this by itself. Living processes are left alone. PATH is a journal
    directory or a directory of these.
    """
    try:
        settings = load(os.environ)
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    code = 0
    for directory in directories(places(paths)):
        try:
            code = max(code, _adopt(directory, settings))
        except OSError as error:
            click.echo(f"{visible(directory)}: cannot be adopted: {visible(str(error))}", err=True)
            code = EXIT_UNREADABLE
    raise click.exceptions.Exit(code)


def _adopt(directory: str, settings: Settings) -> int:
    dead = _dead(directory)
    if not dead:
        click.echo(f"{visible(directory)}: no dead process")
        return 0
    journal = Journal(
        Path(directory),
        origin(directory, settings),
        Options(fsync=settings.fsync, max_bytes=settings.max_bytes, on_full="stop", adopts=False),
        say=_say,
    )
    journal.open()
    if journal.failing:
        return EXIT_UNREADABLE  # said by the journal itself
    try:
        journal.adopt()
    finally:
        journal.close()
    left = _dead(directory)
    click.echo(f"{visible(directory)}: {dead - left} of {dead} dead processes adopted")
    return EXIT_LEFT if left else 0


def _dead(directory: str) -> int:
    """How many start markers have no living process behind them. Raises OSError when the directory cannot be read."""
    return len(unlocked(directory, [os.path.basename(path) for path in marker_files(directory)]))


def origin(directory: str, settings: Settings) -> Origin:
    return Origin(
        resource=_resource(directory),
        scope_name=SCOPE_NAME,
        scope_version=__version__,
        policy_hash=builtin(settings.level).hash,
        settings_hash=settings_hash(settings),
        versions=(f"python={python_platform.python_version()}", f"otel-mcp-audit={__version__}"),
    )


def _resource(directory: str) -> dict[str, AttributeValue]:
    """What the newest readable segment says of its service: the calls that are answered for were that service's."""
    for file in reversed(segment_files(directory)):
        first = next(read_file(file), None)
        if isinstance(first, StoredRecord) and not first.faults:
            given = {key: value for key, value in first.resource.items() if key != STREAM_ID}
            return {**given, "host.name": socket.gethostname()}
    return {"host.name": socket.gethostname()}


def _say(sentence: str) -> None:
    click.echo(visible(sentence), err=True)
