# SPDX-License-Identifier: Apache-2.0
"""A real OpenTelemetry Collector for a test: found or built, started on free ports, stopped or killed.

The binary comes from ``collector-config/distribution/build.sh``, which builds once and keeps what it built (minutes the
first time). Tests build it under ``CI=true`` only, where a Collector that cannot be had fails the run; elsewhere they
skip and say what to run, so that ``pytest`` never compiles for minutes unasked.
"""

from __future__ import annotations

import functools
import os
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

CONFIG = Path(__file__).parents[2] / "collector-config"
_BUILD = CONFIG / "distribution" / "build.sh"
_ADVICE = "no Collector: run `make collector` once, or name a binary in OTELCOL_MCP_AUDIT"


@functools.cache
def binary() -> Path:
    """The Collector's path. Builds it under ``CI=true``; else the test skips when it was never built."""
    in_ci = os.environ.get("CI") == "true"
    command = [str(_BUILD)] if in_ci else [str(_BUILD), "--find"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    if done.returncode == 0:
        return Path(done.stdout.splitlines()[-1])
    if in_ci:
        pytest.fail(f"the Collector could not be built:\n{done.stderr[-4000:]}", pytrace=False)
    pytest.skip(_ADVICE)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody had a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def validate(*configs: Path | str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """What ``otelcol-mcp-audit validate`` says of these files together (paths as they are, or below collector-config)."""
    command = [str(binary()), "validate", *_flags(configs)]
    return subprocess.run(
        command, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=60, check=False
    )


class Collector:
    """One Collector with the files of ``collector-config`` that a test names; everything it writes is below ``home``.

    ``with Collector(tmp_path, "audit.yaml", "sinks/file.yaml") as collector:`` starts it, waits until it is healthy and
    stops it in the end with SIGTERM. ``kill()`` is SIGKILL, ``start()`` starts it again on the same ports and files.
    ``env`` overrides the settings (``AUDIT_JSONL`` and the others of the configurations).
    """

    def __init__(self, home: Path, *configs: Path | str, env: Mapping[str, str] | None = None) -> None:
        self.home, self.configs = home, configs
        self.archive = home / "archive" / "audit.jsonl"
        self.log = home / "collector.log"
        self.env = {"AUDIT_QUEUE_DIR": str(home / "queue"), "AUDIT_JSONL": str(self.archive), **(env or {})}
        self.process: subprocess.Popen[bytes] | None = None
        self._ran = False
        self._choose_ports()

    def _choose_ports(self) -> None:
        self.http, self.grpc, self.health, self.metrics = free_port(), free_port(), free_port(), free_port()
        self.env |= {
            "AUDIT_HTTP_ENDPOINT": f"127.0.0.1:{self.http}",
            "AUDIT_GRPC_ENDPOINT": f"127.0.0.1:{self.grpc}",
            "AUDIT_HEALTH_ENDPOINT": f"127.0.0.1:{self.health}",
            "AUDIT_METRICS_PORT": str(self.metrics),
        }

    @property
    def url(self) -> str:
        """The OTLP/HTTP base URL, as ``OTEL_EXPORTER_OTLP_ENDPOINT`` wants it."""
        return f"http://127.0.0.1:{self.http}"

    @property
    def logs_url(self) -> str:
        """Where log records are posted."""
        return f"{self.url}/v1/logs"

    def __enter__(self) -> Collector:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self, seconds: float = 30.0) -> Collector:
        """Start it and return when it answers that it is healthy. An AssertionError with its log when it does not."""
        for _ in range(3):
            if self._started(seconds):
                self._ran = True
                return self
            if self._ran or "address already in use" not in self.log_text():
                break
            self._choose_ports()  # somebody took one of them since; nobody was told of these yet
        raise AssertionError(f"the Collector is not healthy:\n{self.log_text()[-4000:]}")

    def _started(self, seconds: float) -> bool:
        self.home.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(binary()), *_flags(self.configs)],
                env={**os.environ, **self.env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + seconds
        while not self.healthy():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                return False
            time.sleep(0.02)
        return True

    def healthy(self) -> bool:
        """Whether its health endpoint answers 200."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health}/", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.HTTPError):
            return False

    def stop(self, seconds: float = 30.0) -> int:
        """SIGTERM; its exit code. A Collector that does not end in time is killed and fails the test."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the Collector did not stop in {seconds} s:\n{self.log_text()[-4000:]}") from None
        finally:
            self.process = None

    def kill(self) -> None:
        """SIGKILL, and gone when this returns."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.process = None

    def log_text(self) -> str:
        """What it wrote on stderr so far, all its lives."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def scrape(self) -> dict[str, float]:
        """Its own metrics now: each name (without labels) with the sum over all labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        found: dict[str, float] = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                name = name.partition("{")[0]
                found[name] = found.get(name, 0.0) + float(value)
        return found


def post(
    url: str,
    body: bytes,
    *,
    headers: Mapping[str, str] | None = None,
    context: ssl.SSLContext | None = None,
    seconds: float = 30.0,
) -> tuple[int, bytes]:
    """POST OTLP/JSON; status and body of the answer, whatever the status. Raises OSError when there is no answer."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=seconds, context=context) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read()


def join_lines(lines: Sequence[bytes]) -> bytes:
    """One OTLP/JSON request of journal lines: each is a whole request with one element, so their elements are joined."""
    start, end = b'{"resourceLogs":[', b"]}"
    for line in lines:
        assert line.startswith(start) and line.endswith(end), line[:60]
    return start + b",".join(line[len(start) : -len(end)] for line in lines) + end


def _flags(configs: Sequence[Path | str]) -> list[str]:
    return [part for config in configs for part in ("--config", str(CONFIG / config))]
