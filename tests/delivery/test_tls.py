# SPDX-License-Identifier: Apache-2.0
"""TLS and mutual TLS against a real TLS endpoint: who is trusted, who is let in; a wrong certificate is retried."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from delivering import Told, ship, write
from endpoint import endpoint

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``server.pem`` for localhost and ``client.pem``, each its own authority, with their keys."""
    directory = tmp_path_factory.mktemp("certificates")
    for name in ("server", "client"):
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
        )
        subprocess.run(
            [
                *command.split(),
                "-addext",
                "subjectAltName=DNS:localhost",
                "-keyout",
                f"{name}.key",
                "-out",
                f"{name}.pem",
            ],
            cwd=directory,
            check=True,
            capture_output=True,
        )
    return directory


def tls(certificates: Path, mutual: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    if mutual:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificates / "client.pem")
    return context


@pytest.mark.parametrize("mutual", [False, True])
def test_delivered_over_tls(tmp_path: Path, certificates: Path, mutual: bool) -> None:
    expected = write(tmp_path, 10)
    environ = {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(certificates / "server.pem")}
    if mutual:
        environ |= {
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(certificates / "client.pem"),
            "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(certificates / "client.key"),
        }
    with endpoint(tls=tls(certificates, mutual)) as other:
        assert ship(tmp_path, other.url, environ=environ) == []
        assert sorted(other.kept) == sorted(expected)


def test_an_endpoint_that_is_not_trusted_gets_nothing(tmp_path: Path, certificates: Path) -> None:
    expected = write(tmp_path, 10)
    told = Told()
    with endpoint(tls=tls(certificates)) as other:
        assert len(ship(tmp_path, other.url, told, steps=2)) == 2
        assert other.requests == []
        assert "SSLCertVerificationError" in told.said[0]
        environ = {"OTEL_MCP_AUDIT_OTLP_CERTIFICATE": str(certificates / "server.pem")}
        ship(tmp_path, other.url, environ=environ)
        assert sorted(other.kept) == sorted(expected)


def test_without_the_client_s_certificate_nothing_is_taken(tmp_path: Path, certificates: Path) -> None:
    write(tmp_path, 3)
    environ = {"OTEL_MCP_AUDIT_OTLP_CERTIFICATE": str(certificates / "server.pem")}
    with endpoint(tls=tls(certificates, mutual=True)) as other:
        assert len(ship(tmp_path, other.url, environ=environ, steps=2)) == 2
        assert other.requests == []
