# SPDX-License-Identifier: Apache-2.0
"""Our commands that listen (``relay``, ``sink``) as processes of their own for a test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from journals import until

from collector import free_port


@contextmanager
def serving(command: str, *arguments: str, ready: str, env: Mapping[str, str] | None = None) -> Iterator[str]:
    """`otel-mcp-audit COMMAND ARGUMENTS`; its URL, when it answers 200 at the path ``ready``. SIGTERM in the end."""
    url = f"http://127.0.0.1:{free_port()}"
    program = [sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli", command]
    process = subprocess.Popen(
        [*program, "--listen", url.removeprefix("http://"), *arguments],
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: _answers(f"{url}{ready}"), 30)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
