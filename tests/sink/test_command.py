# SPDX-License-Identifier: Apache-2.0
"""``sink``: a process that listens where it is told, to whom it is told, and says what it lacks."""

from __future__ import annotations

import os
import signal
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result
from databases import free_port
from otlp_requests import joined, lines

from opentelemetry.instrumentation.mcp_audit.cli.app import app

JSON = {"content-type": "application/json"}


def run(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(app, ["sink", *arguments], env=env)


@contextmanager
def serving(*arguments: str, verify: ssl.SSLContext | bool = True, scheme: str = "http") -> Iterator[httpx.Client]:
    """The command as a process, and a client that speaks to it."""
    port = free_port()
    command = [sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli", "sink"]
    process = subprocess.Popen([*command, "--listen", f"127.0.0.1:{port}", *arguments], stderr=subprocess.PIPE)
    try:
        with httpx.Client(base_url=f"{scheme}://127.0.0.1:{port}", verify=verify, timeout=10) as client:
            until = time.monotonic() + 30
            while True:
                try:
                    client.get("/healthz")
                    break
                except httpx.TransportError:
                    assert process.poll() is None and time.monotonic() < until, "it does not listen"
                    time.sleep(0.05)
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def migrated(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/audit.db"
    result = run("--to", url, "--migrate")
    assert (result.exit_code, result.stdout) == (0, f"{url}: schema 0001 (was empty)\n")
    return url


def stored(tmp_path: Path) -> list[str]:
    with sqlite3.connect(tmp_path / "audit.db") as database:
        return [line for (line,) in database.execute("SELECT line FROM audit_log ORDER BY sequence_number")]


def test_from_an_empty_database_to_rows(tmp_path: Path) -> None:
    made = lines(tmp_path / "journal", 3)
    url = migrated(tmp_path)
    with serving("--to", url, "--to", f"file:{tmp_path}/out.jsonl?format=seed") as client:
        response = client.post("/v1/logs", content=joined(made), headers=JSON)
        assert (response.status_code, response.json()) == (200, {"partialSuccess": {}})
        assert stored(tmp_path) == made
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 3


def test_a_token_from_a_file(tmp_path: Path) -> None:
    url, file = migrated(tmp_path), tmp_path / "token"
    file.write_text("0123456789abcdef\n")
    file.chmod(0o600)
    made = lines(tmp_path / "journal", 1)
    with serving("--to", url, "--token-file", str(file)) as client:
        assert client.post("/v1/logs", content=joined(made), headers=JSON).status_code == 401
        right = JSON | {"authorization": "Bearer 0123456789abcdef"}
        assert client.post("/v1/logs", content=joined(made), headers=right).status_code == 200


def test_a_client_certificate(tmp_path: Path) -> None:
    url = migrated(tmp_path)
    authority, key = _certificate(tmp_path, "authority")
    certificate, private = _certificate(tmp_path, "127.0.0.1")
    client_certificate, client_key = _certificate(tmp_path, "sender")
    trusting = ssl.create_default_context(cafile=certificate)
    shown = ssl.create_default_context(cafile=certificate)
    shown.load_cert_chain(client_certificate, client_key)
    arguments = ["--to", url, "--tls-certificate", certificate, "--tls-key", private]
    made = lines(tmp_path / "journal", 1)
    with serving(*arguments, "--tls-client-ca", client_certificate, verify=shown, scheme="https") as client:
        assert client.post("/v1/logs", content=joined(made), headers=JSON).status_code == 200
        with (
            pytest.raises(httpx.TransportError),
            httpx.Client(base_url=client.base_url, verify=trusting, timeout=10) as stranger,
        ):
            stranger.post("/v1/logs", content=joined(made), headers=JSON)
    assert os.path.exists(authority) and os.path.exists(key)


def _certificate(directory: Path, name: str) -> tuple[str, str]:
    """A certificate that signs itself, and its key."""
    certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-keyout", str(key), "-out", str(certificate), "-subj", f"/CN={name}"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    return str(certificate), str(key)


def test_check_says_what_is_lacking(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/audit.db"
    said = "the schema is at version none, this release writes 0001: run sink --migrate"
    result = run("--to", url, "--check")
    assert (result.exit_code, result.stdout) == (1, f"{url}: {said}\n")
    result = run("--to", url)
    assert (result.exit_code, result.stderr) == (2, f"{url}: {said}\n")
    migrated(tmp_path)
    result = run("--to", url, "--check")
    assert (result.exit_code, result.stdout) == (0, f"{url}: all there\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give at least one --to URL"),
        (["--to", "oracle://x"], "oracle: no database of this kind"),
        (["--to", "file:/nowhere/x"], "there is no directory /nowhere"),
        (["--to", "file:/tmp/x", "--listen", "4319"], "'4319' is not HOST:PORT"),
        (["--to", "file:/tmp/x", "--listen", "0.0.0.0:4319"], "0.0.0.0 can be reached from elsewhere"),
        (["--to", "file:/tmp/x", "--listen", "example.com:4319"], "example.com can be reached from elsewhere"),
        (["--to", "file:/tmp/x", "--token-file", "/nowhere"], "--token-file: /nowhere: No such file"),
        (["--to", "file:/tmp/x", "--tls-key", "/nowhere"], "--tls-certificate and --tls-key go together"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2 and said in result.stderr


def test_a_database_that_is_not_there_and_no_password_in_the_words() -> None:
    url = f"postgresql://audit:hunter2@127.0.0.1:{free_port()}/audit"
    for more in ([], ["--check"], ["--migrate"]):
        result = run("--to", url, *more)
        assert result.exit_code == 2
        assert "hunter2" not in result.output and "audit:***@127.0.0.1" in result.stderr


@pytest.mark.parametrize(("content", "mode"), [("short", 0o600), ("0123456789abcdef", 0o644)])
def test_tokens_that_are_none(tmp_path: Path, content: str, mode: int) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    file.chmod(mode)
    assert run("--to", f"file:{tmp_path}/x", "--token-file", str(file)).exit_code == 2


def test_urls_by_the_environment(tmp_path: Path) -> None:
    result = run("--check", AUDIT_SINK_TO=f"sqlite:///{tmp_path}/a.db sqlite:///{tmp_path}/b.db")
    assert result.exit_code == 1 and len(result.stdout.splitlines()) == 2
