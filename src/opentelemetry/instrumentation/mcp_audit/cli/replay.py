# SPDX-License-Identifier: Apache-2.0
"""``otel-mcp-audit replay``: send records again, out of a journal, a Collector's archive or a database."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from typing import TextIO

import click

from opentelemetry.instrumentation.mcp_audit.delivery.again import batches
from opentelemetry.instrumentation.mcp_audit.delivery.backoff import pause
from opentelemetry.instrumentation.mcp_audit.delivery.connect import connect
from opentelemetry.instrumentation.mcp_audit.delivery.options import PROTOCOLS, Options, OptionsError, options
from opentelemetry.instrumentation.mcp_audit.delivery.otlp import Batch
from opentelemetry.instrumentation.mcp_audit.delivery.sending import Sender
from opentelemetry.instrumentation.mcp_audit.environment_variables import OTEL_MCP_AUDIT_OTLP_ENDPOINT
from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord
from opentelemetry.instrumentation.mcp_audit.render.text import visible
from opentelemetry.instrumentation.mcp_audit.settings import SettingsError, load

from ._exits import EXIT_UNREADABLE
from ._output import paths_argument, places, readable, sources, with_ledgers
from ._select import time_option

EXIT_LEFT = 1
EPILOG = """\b
Examples:
  otel-mcp-audit replay --endpoint http://collector:4318 --since 2h
  otel-mcp-audit reconcile /var/lib/otelcol/audit postgresql://audit@db/audit --ids missing.txt
  otel-mcp-audit replay --endpoint http://127.0.0.1:4319 --ids missing.txt /var/lib/otelcol/audit
  otel-mcp-audit replay --endpoint http://collector:4318 ~/.local/state/otel-mcp-audit/srv/quarantine/*.refused

\b
Exit codes: 0 everything was acknowledged; 1 the endpoint refused records, or it was
ended before; 2 nothing could be read, or settings that cannot be used; also wrong usage."""


@click.command(epilog=EPILOG)
@click.option("--endpoint", metavar="URL", help="OTEL_MCP_AUDIT_OTLP_ENDPOINT, if not given here.")
@click.option("--protocol", type=click.Choice(PROTOCOLS), help="OTEL_MCP_AUDIT_OTLP_PROTOCOL; http/json by default.")
@click.option(
    "--ids", type=click.File(encoding="utf-8"), help="Only the records whose ids stand in this file, one a line."
)
@time_option("--since", "Received at or after: ISO 8601, or 30m, 1h, 2d.")
@time_option("--until", "Received before: ISO 8601, or 30m, 1h, 2d.")
@paths_argument
def command(
    endpoint: str | None,
    protocol: str | None,
    ids: TextIO | None,
    since: int | None,
    until: int | None,
    paths: tuple[str, ...],
) -> None:
    """Send records again, as they are: whoever keeps them by their id keeps each once.

    What an endpoint acknowledged before is not asked, and nothing is remembered. It waits for an endpoint that is away.
    PATH is what `query` takes: files, directories, a Collector's archive, a database.
    """
    where = _options(endpoint, protocol)
    wanted = None if ids is None else {line.strip().lower() for line in ids if line.strip()}
    items, missed = sources(with_ledgers(places(paths)), since, until)
    lines = _lines(readable(items, missed), wanted, since, until)
    sender = Sender(connect(where))
    sent = refused = 0
    try:
        for batch in batches(lines):
            taken, reasons = _send(sender, batch, where)
            sent += taken
            refused += len(reasons)
            for why in reasons:
                click.echo(f"refused: {visible(why)}", err=True)
    except KeyboardInterrupt:
        click.echo(f"{sent} records acknowledged by {where.url} before it was ended", err=True)
        raise click.exceptions.Exit(EXIT_LEFT) from None
    click.echo(f"{sent} records acknowledged by {where.url}" + (f", {refused} refused" if refused else ""))
    if wanted:
        click.echo(f"{len(wanted)} ids were not found", err=True)
    raise click.exceptions.Exit(EXIT_LEFT if refused or wanted else 0)


def _options(endpoint: str | None, protocol: str | None) -> Options:
    try:
        settings = load(os.environ)
        chosen = endpoint or settings.otlp_endpoint
        if not chosen:
            raise OptionsError(f"{OTEL_MCP_AUDIT_OTLP_ENDPOINT}: not set; give it, or --endpoint URL")
        return options(chosen, protocol or settings.otlp_protocol, os.environ)
    except (SettingsError, OptionsError) as error:
        click.echo(f"otel-mcp-audit: {error}", err=True)
        raise click.exceptions.Exit(EXIT_UNREADABLE) from None


def _lines(
    records: Iterator[StoredRecord], wanted: set[str] | None, since: int | None, until: int | None
) -> Iterator[tuple[str, bytes]]:
    for record in records:
        if (since is not None and record.time < since) or (until is not None and record.time >= until):
            continue
        if wanted is not None:
            record_id = (record.record_id or "").lower()
            if record_id not in wanted:
                continue
            wanted.discard(record_id)
        yield record.file, record.raw.rstrip(b"\r")


def _send(sender: Sender, batch: Batch, where: Options) -> tuple[int, list[str]]:
    """How many of the batch were acknowledged, and why the others were refused. Waits for an endpoint that is away."""
    taken, reasons, failures = 0, list[str](), 0
    while batch:
        sent = sender.send(batch)
        taken += sent.acknowledged
        reasons += [why for _, why in sent.refused]
        batch = sent.left
        if sent.stopped is None:
            break
        failures = 1 if sent.acknowledged else failures + 1
        if failures == 1:
            click.echo(f"{where.url} does not take them now ({visible(sent.stopped.why)}); waiting", err=True)
        time.sleep(pause(failures, sent.stopped.after, random.random()))
    return taken, reasons
