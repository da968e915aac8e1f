# SPDX-License-Identifier: Apache-2.0
"""``otel-mcp-audit relay``: stand between a Collector and a sink, so that a wrong token costs no record."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import click

from ._listen import listen_options, listening, needed, serve


@click.command(
    epilog="""\b
Examples:
  otel-mcp-audit relay --to https://splunk.example:8088 --kept /var/lib/mcp-audit/splunk-refused.jsonl
  AUDIT_SPLUNK_URL=http://127.0.0.1:4320/services/collector otelcol-mcp-audit --config …

\b
401, 403, 404, redirects and other refusals become 503 with Retry-After, so that the
Collector keeps what it has and comes again; what the sink refuses with 400, 413 or
422 is kept in a file, with the reason, and answered 200.
GET /-/metrics counts both. Exit codes: 0 stopped; 1 cannot listen; 2 wrong usage."""
)
@listen_options(4320)
@click.option("--to", "target", required=True, metavar="URL", help="The sink: paths and queries come behind it.")
@click.option(
    "--kept",
    type=click.Path(dir_okay=False),
    default="relay-kept.jsonl",
    show_default=True,
    metavar="FILE",
    help="Where to keep what the sink will never take (0600).",
)
@click.option(
    "--timeout", type=click.FloatRange(1, 600), default=60, show_default=True, help="Seconds the sink may take."
)
def command(
    target: str,
    kept: str,
    timeout: float,
    listen: str,
    tls_certificate: str | None,
    tls_key: str | None,
    tls_client_ca: str | None,
) -> None:
    """Pass requests on to an HTTP sink, bodies and headers as they are, and never let it make a Collector drop records."""
    needed(("httpx", "starlette", "uvicorn"), "relay")
    where = listening(listen, tls_certificate, tls_key, tls_client_ca)
    if not where.is_loopback and not where.proves_clients:
        raise click.UsageError(
            f"{where.host} can be reached from elsewhere: give --tls-client-ca, or listen on 127.0.0.1"
        )
    url = urlsplit(target)
    if url.scheme not in ("http", "https") or not url.hostname or url.username or url.query:
        raise click.BadParameter("not a URL of the form https://host[:port][/path]", param_hint="'--to'")
    if not Path(kept).absolute().parent.is_dir():
        raise click.BadParameter(f"there is no directory {Path(kept).absolute().parent}", param_hint="'--kept'")

    from opentelemetry.instrumentation.mcp_audit.relay.app import Limits, Relay
    from opentelemetry.instrumentation.mcp_audit.relay.kept import Kept

    click.echo(
        f"from {where.host}:{where.port} to {target}; what it will never take: {Path(kept).absolute()}", err=True
    )
    serve(Relay(target, Kept(Path(kept).absolute()), Limits(timeout=timeout)).asgi(), where)
