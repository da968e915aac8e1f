# SPDX-License-Identifier: Apache-2.0
"""How each side is started: its emitter, its environment, and for ours what happens after: ``otel-mcp-audit ship --once``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rows import Row, Side

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
SHIP = [sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli", "ship"]
SECONDS = 300.0
SHIP_SECONDS = 120.0
# Not what went wrong: which file is written, and that it runs.
_BANNER = re.compile(
    r"auditing MCP calls to|^Traceback|^ *(File|\^|~)|^ {4}|^INFO|^\s*$|audit records are delivered again"
    r"|turned off by OTEL_MCP_AUDIT_ENABLED=false"
)
_STAMP = re.compile(r"^\d{4}-\d\d-\d\d[ T][\d:,.]+ ?")
_SHOWN = 150


@dataclass
class Outcome:
    """What came of one side of a row."""

    emitted: int = 0
    at_once: int = 0
    arrived: int = 0
    duplicated: int = 0
    # How many record ids more than records: a record that arrives twice has one id.
    ids: int = 0
    gap: int = 0
    quarantined: int = 0
    seconds: float = 0.0
    exit: str = ""
    saw: str = ""
    # Said beside what arrived.
    beside: str = ""
    not_run: str = ""
    missing: list[str] = field(default_factory=list)


def environment(side: Side, row: Row, home: Path, url: str) -> dict[str, str]:
    """The emitter's. The timeout bounds all retries of the stock exporter together: it is the default, 10 s, except where
    nothing ever answers."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    # Emitters run in a directory of their own, and find `served` here.
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    made = {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(HERE), *paths]),
        "OTEL_SERVICE_NAME": "faults",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
        "FAULTS_SIDE": side,
    }
    if side == "stock":
        made |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_MCP_AUDIT_ENABLED": "false",
        }
    else:
        made |= {
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_MCP_AUDIT_DIR": str(home / "journal"),
            "OTEL_MCP_AUDIT_KEYRING": str(home / "keyring.json"),
            "OTEL_MCP_AUDIT_LEVEL": "request",
            "OTEL_MCP_AUDIT_OTLP_ENDPOINT": url,
        }
    if row.mode.kind == "half_open":
        made["OTEL_EXPORTER_OTLP_TIMEOUT"] = "5"
    return made | dict(row.environment)


def launched(row: Row, command: list[str], side: Side) -> list[str]:
    """The command behind the row's launcher; the stock side of `run` is opentelemetry-instrument, which it stands for."""
    if not row.launcher:
        return command
    if row.launcher == "otel-mcp-audit run" and side == "ours":
        return [str(BIN / "otel-mcp-audit"), "run", "--", *command]
    return [str(BIN / "opentelemetry-instrument"), *command]


def emitter(side: Side, row: Row, home: Path, name: str = "a") -> list[str]:
    """The command of the row's emitter."""
    command = [
        sys.executable,
        *row.interpreter,
        str(HERE / f"emit_{side}.py"),
        "--tally",
        str(home / "tally"),
        "--name",
        name,
    ]
    command += ["--count", str(row.count), "--rate", str(row.rate), "--script", row.script]
    command += ["--ending", row.ending, "--size", str(row.size)]
    return launched(row, command + (["--auto"] if row.launcher else []), side)


def tallied(home: Path) -> set[str]:
    """The marks that were emitted so far."""
    path = home / "tally"
    return set(path.read_text().split()) if path.exists() else set()


def ship(environ: Mapping[str, str], directory: Path, *more: str) -> tuple[int | None, str]:
    """``otel-mcp-audit ship --once``: exit code, None when it did not end in time; what it said."""
    command = [*SHIP, "--once", *more, str(directory)]
    process = subprocess.Popen(
        command,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said = process.communicate(timeout=SHIP_SECONDS)[0]
        return process.returncode, said
    except subprocess.TimeoutExpired:
        process.kill()
        return None, process.communicate()[0]


def verify(archive: Path) -> int:
    """The exit code of ``otel-mcp-audit verify``: 0 when the trail in this archive is whole."""
    command = [*SHIP[:-1], "verify", str(archive)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=120).returncode


def shortened(said: str, home: Path) -> str:
    """The first line that says something went wrong, and how many more there are."""
    lines = [_plain(line, home) for line in said.splitlines() if not _BANNER.search(line)]
    if not lines:
        return ""
    first = lines[0] if len(lines[0]) <= _SHOWN else lines[0][: _SHOWN - 1] + "…"
    return first + (f" (+{len(lines) - 1} lines)" if len(lines) > 1 else "")


def _plain(line: str, home: Path) -> str:
    """Without time, and without what is this machine's only."""
    line = _STAMP.sub("", line).strip().replace("|", "/")
    for path, name in ((str(home), ""), (str(BIN) + "/", ""), (sys.prefix, "")):
        line = line.replace(path, name)
    return re.sub(r"127\.0\.0\.1:\d+", "HOST:PORT", re.sub(r"port=\d+", "port=PORT", line))


def exit_text(code: int | None) -> str:
    """An exit code as an operator knows it."""
    if code is None:
        return "did not end"
    return str(code) if code >= 0 else f"signal {-code}"
