# SPDX-License-Identifier: Apache-2.0
"""Where to and how: our variables, then the standard ones; what cannot be used is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from opentelemetry.instrumentation.mcp_audit.delivery.options import Options, OptionsError, options

NO_URLS = [
    "nonsense",
    "ftp://c",
    "http://",
    "http://c:port",
    "http://c:99999",
    "http://a b",
    "localhost:4318",
    "http://[::1",
]


@pytest.mark.parametrize(
    ("endpoint", "protocol", "url"),
    [
        ("http://c:4318", "", "http://c:4318/v1/logs"),
        ("http://c:4318/", "http/protobuf", "http://c:4318/v1/logs"),
        ("https://c/otlp/v1/logs", "", "https://c:443/otlp/v1/logs"),
        ("https://c:99/custom?key=secret", "", "https://c:99/custom"),
        ("http://[::1]:4318", "", "http://[::1]:4318/v1/logs"),
        ("http://c", "grpc", "http://c:4317/v1/logs"),
    ],
)
def test_a_url(endpoint: str, protocol: str, url: str) -> None:
    assert options(endpoint, protocol, {}).url == url


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ("http/json", "http://localhost:4318/v1/logs")),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ("grpc", "http://localhost:4317/v1/logs")),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c:1/base"}, ("http/json", "https://c:1/base/v1/logs")),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://b:2/x"},
            ("http/json", "http://b:2/x"),
        ),
    ],
)
def test_inherit(environ: dict[str, str], expected: tuple[str, str]) -> None:
    found = options("inherit", "", environ)
    assert (found.protocol, found.url) == expected


def test_the_standard_variables_fill_what_ours_do_not_say(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text("x")
    found = options(
        "https://c",
        "",
        {
            "OTEL_EXPORTER_OTLP_HEADERS": "a=1",
            "OTEL_EXPORTER_OTLP_LOGS_HEADERS": "Authorization=Bearer%20t,b=2",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "3",
            "OTEL_MCP_AUDIT_OTLP_TIMEOUT": "4.5",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(tmp_path / "ca"),
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(tmp_path / "cert"),
            "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(tmp_path / "key"),
        },
    )
    assert found.headers == {"authorization": "Bearer t", "b": "2"}
    assert (found.timeout, found.gzip) == (4.5, True)
    assert found.certificate == ("OTEL_EXPORTER_OTLP_CERTIFICATE", str(tmp_path / "ca"))
    assert "Bearer" not in repr(found)


def wrong(endpoint: str, protocol: str, environ: dict[str, str]) -> str:
    with pytest.raises(OptionsError) as error:
        options(endpoint, protocol, environ)
    return str(error.value)


@pytest.mark.parametrize("endpoint", NO_URLS)
def test_what_is_no_url(endpoint: str) -> None:
    assert wrong(endpoint, "", {}).startswith(f"OTEL_MCP_AUDIT_OTLP_ENDPOINT: {endpoint!r} is no URL")
    assert wrong("inherit", "", {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}).startswith("OTEL_EXPORTER_OTLP_ENDPOINT: ")


def test_a_password_is_not_shown() -> None:
    assert "s3cret" not in wrong("http://ada:s3cret@c", "", {})
    assert "s3cret" not in wrong("ftp://ada:s3cret@c", "", {})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_MCP_AUDIT_OTLP_HEADERS", "no-value"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a b=c"),
        ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "a=b%0d%0aEvil:%201"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_MCP_AUDIT_OTLP_TIMEOUT", "nan"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/no/such"),
        ("OTEL_MCP_AUDIT_OTLP_CLIENT_KEY", __file__),
    ],
)
def test_what_cannot_be_used_is_named(variable: str, value: str) -> None:
    assert wrong("http://c", "", {variable: value}).startswith(f"{variable}: ")


def test_an_unknown_protocol() -> None:
    assert wrong("http://c", "smtp", {}) == (
        "OTEL_MCP_AUDIT_OTLP_PROTOCOL: 'smtp' cannot be used; allowed: http/json, http/protobuf, grpc"
    )
    assert isinstance(options("http://c", "HTTP/JSON", {}), Options)
