# SPDX-License-Identifier: Apache-2.0
"""From options to a transport: which module does it, which certificates it trusts."""

from __future__ import annotations

import ssl

from .http import HttpTransport
from .options import Options, OptionsError
from .otlp import body
from .transport import Transport


def connect(options: Options) -> Transport:
    """The transport for these options; opens no connection. Raises :class:`OptionsError`."""
    if options.protocol == "grpc":
        from .grpc import grpc_transport

        return grpc_transport(options)
    if options.protocol == "http/protobuf":
        from .protobuf import NOT_OTLP, encode

        return HttpTransport(options, _tls(options), "application/x-protobuf", encode, NOT_OTLP)
    return HttpTransport(options, _tls(options), "application/json", body)


def _tls(options: Options) -> ssl.SSLContext | None:
    if not options.secure:
        return None
    ca, client, key = options.certificate, options.client_certificate, options.client_key
    try:
        context = ssl.create_default_context(cafile=ca.value or None)
    except (OSError, ValueError) as error:
        raise OptionsError(f"{ca.variable}: {ca.value[:200]} is no certificate: {error}") from None
    if client.value:
        try:
            context.load_cert_chain(client.value, key.value or None)
        except (OSError, ValueError) as error:
            raise OptionsError(f"{client.variable}: {client.value[:200]} cannot be used: {error}") from None
    return context
