# SPDX-License-Identifier: Apache-2.0
"""Commands that listen: where, with which certificate, and that nobody else can reach what asks for no proof."""

from __future__ import annotations

import importlib.util
import ipaddress
import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True, slots=True)
class Listening:
    """Where to listen, and the paths of PEM files: certificate, its key, the authority of clients."""

    host: str
    port: int
    certificate: str | None = None
    key: str | None = None
    client_authority: str | None = None

    @property
    def proves_clients(self) -> bool:
        """Whether only clients with a certificate get in."""
        return self.client_authority is not None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def listen_options(port: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options of a command that listens; it gets them as ``listen`` and three paths, for :func:`listening`."""
    options = (
        click.option(
            "--listen", default=f"127.0.0.1:{port}", show_default=True, metavar="HOST:PORT", help="Where to listen."
        ),
        click.option(
            "--tls-certificate", type=click.Path(dir_okay=False), help="Certificate chain (PEM): serve HTTPS."
        ),
        click.option("--tls-key", type=click.Path(dir_okay=False), help="Its private key (PEM)."),
        click.option(
            "--tls-client-ca", type=click.Path(dir_okay=False), help="Take only senders with a certificate of this CA."
        ),
    )

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def listening(listen: str, certificate: str | None, key: str | None, authority: str | None) -> Listening:
    """Raises click's usage errors."""
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise click.BadParameter(f"{listen!r} is not HOST:PORT", param_hint="'--listen'")
    if (certificate is None) != (key is None) or (authority is not None and certificate is None):
        raise click.UsageError("--tls-certificate and --tls-key go together, and --tls-client-ca needs both")
    return Listening(host.strip("[]"), int(port), certificate, key, authority)


def needed(packages: Sequence[str], extra: str) -> None:
    """Leaves with a sentence when a package is not installed."""
    lacking = [name for name in packages if importlib.util.find_spec(name) is None]
    if lacking:
        raise click.ClickException(
            f"{', '.join(lacking)} not installed: pip install 'opentelemetry-instrumentation-mcp-audit[cli,{extra}]'"
        )


def serve(application: Any, where: Listening) -> None:
    """Serve an ASGI application until SIGTERM or SIGINT; requests that are under way are answered first."""
    import uvicorn

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    # Each has a line at INFO for what is not worth one.
    for name in ("alembic", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)
    more: dict[str, Any] = {}
    if where.certificate is not None:
        more = {"ssl_certfile": where.certificate, "ssl_keyfile": where.key}
        if where.client_authority is not None:
            more |= {"ssl_ca_certs": where.client_authority, "ssl_cert_reqs": ssl.CERT_REQUIRED}
    try:
        config = uvicorn.Config(
            application,
            host=where.host,
            port=where.port,
            log_level="warning",
            access_log=False,
            server_header=False,
            **more,
        )
        uvicorn.Server(config).run()
    except (OSError, ssl.SSLError) as error:
        raise click.ClickException(f"cannot listen on {where.host}:{where.port}: {error}") from None
