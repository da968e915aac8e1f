# SPDX-License-Identifier: Apache-2.0
"""``otel-mcp-audit ship``: deliver a journal to an OTLP endpoint, as a process of its own."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

import click

from opentelemetry.instrumentation.mcp_audit.delivery.connect import connect
from opentelemetry.instrumentation.mcp_audit.delivery.loop import Loop
from opentelemetry.instrumentation.mcp_audit.delivery.options import PROTOCOLS, Options, OptionsError, options
from opentelemetry.instrumentation.mcp_audit.delivery.shipper import Observer
from opentelemetry.instrumentation.mcp_audit.environment_variables import OTEL_MCP_AUDIT_OTLP_ENDPOINT
from opentelemetry.instrumentation.mcp_audit.journal import events
from opentelemetry.instrumentation.mcp_audit.journal.journal import Journal
from opentelemetry.instrumentation.mcp_audit.journal.journal import Options as JournalOptions
from opentelemetry.instrumentation.mcp_audit.journal.ticket import JournalError
from opentelemetry.instrumentation.mcp_audit.render.text import visible
from opentelemetry.instrumentation.mcp_audit.settings import Settings, SettingsError, load

from ._exits import EXIT_UNREADABLE
from ._output import paths_argument, places
from .ack import directories
from .adopt import origin

EXIT_LEFT: Final = 1
EPILOG = """\b
Examples:
  otel-mcp-audit ship --endpoint http://collector:4318
  otel-mcp-audit ship --once /var/log/mcp-audit
  OTEL_MCP_AUDIT_OTLP_HEADERS='authorization=Bearer%20…' otel-mcp-audit ship

\b
Exit codes: 0 everything is delivered; 1 ended (a signal) before it was;
2 no journal there, or settings that cannot be used; also wrong usage."""


@click.command(epilog=EPILOG)
@click.option("--endpoint", metavar="URL", help="OTEL_MCP_AUDIT_OTLP_ENDPOINT, if not given here.")
@click.option("--protocol", type=click.Choice(PROTOCOLS), help="OTEL_MCP_AUDIT_OTLP_PROTOCOL; http/json by default.")
@click.option("--once", is_flag=True, help="End when everything that is there has been acknowledged.")
@paths_argument
def command(endpoint: str | None, protocol: str | None, once: bool, paths: tuple[str, ...]) -> None:
    """Deliver every record to an OTLP endpoint and remember what it acknowledged.

    Goes on until it is ended (SIGTERM, Ctrl-C). One shipper delivers a directory at a time: where a server does it, this
    one waits and takes over when that dies. PATH is a journal directory or a directory of these.
    """
    try:
        settings = load(os.environ)
        chosen = endpoint or settings.otlp_endpoint
        if not chosen:
            raise OptionsError(f"{OTEL_MCP_AUDIT_OTLP_ENDPOINT}: not set; give it, or --endpoint URL")
        where = options(chosen, protocol or settings.otlp_protocol, os.environ)
        connect(where).close()
    except (SettingsError, OptionsError) as error:
        click.echo(f"otel-mcp-audit: {error}", err=True)
        raise click.exceptions.Exit(EXIT_UNREADABLE) from None
    loops = [_loop(directory, where, settings) for directory in directories(places(paths))]
    _stop_on_signals(loops, settings.shutdown_ms / 1000)
    raise click.exceptions.Exit(0 if _run(loops, once) else EXIT_LEFT)


def _loop(directory: str, where: Options, settings: Settings) -> Loop:
    def say(sentence: str) -> None:
        click.echo(f"{visible(directory)}: {visible(sentence)}", err=True)

    def refused(count: int, why: str) -> None:
        _record(directory, settings, count, why, say)

    return Loop(Path(directory), lambda: connect(where), Observer(say, refused))


def _run(loops: list[Loop], once: bool) -> bool:
    """Each directory on a thread of its own: one whose lock is held elsewhere must not stop the others."""
    done: list[bool] = []
    threads = [threading.Thread(target=lambda loop=loop: done.append(loop.run(once)), daemon=True) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(1.0)
    return len(done) == len(loops) and all(done)


def _stop_on_signals(loops: list[Loop], seconds: float) -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        for loop in loops:
            loop.stop(seconds)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _record(directory: str, settings: Settings, count: int, why: str, say: Callable[[str], None]) -> None:
    """A gap record in a stream of our own: the trail itself says what was not delivered."""
    now = time.time_ns()
    journal = Journal(
        Path(directory),
        origin(directory, settings),
        JournalOptions(fsync=settings.fsync, max_bytes=settings.max_bytes, on_full="stop", adopts=False),
        say=say,
    )
    try:
        journal.append(events.gap(count, why, now, now))
    except JournalError as error:
        say(f"the record of it could not be written: {error}")
    finally:
        journal.close()
