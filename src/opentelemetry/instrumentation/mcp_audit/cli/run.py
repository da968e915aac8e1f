# SPDX-License-Identifier: Apache-2.0
"""``otel-mcp-audit run -- CMD``: ``opentelemetry-instrument``, fail-closed.

Our hooks are installed before anything of OpenTelemetry's is (a boot directory with a ``sitecustomize`` of ours comes
first on PYTHONPATH), so that no mistake in an unrelated exporter can keep the audit from being loaded.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Final

import click

from opentelemetry.instrumentation.mcp_audit import environment_variables as env
from opentelemetry.instrumentation.mcp_audit.settings import SettingsError, load

from ._supervise import supervise

BOOT: Final = str(Path(__file__).parent / "_boot")
EXIT_CONFIGURATION: Final = 78  # EX_CONFIG of sysexits.h
_EXIT_NOT_FOUND: Final = 127
_EXIT_NOT_EXECUTABLE: Final = 126
_EXPORTERS: Final = ("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER")
# Interpreter options that keep our boot directory from being looked at: isolated mode, no PYTHON* variables, no site.
_BLINDING: Final = frozenset("IES")
_WITH_VALUE: Final = frozenset("XWcm")

EPILOG = """\b
Examples:
  otel-mcp-audit run -- python server.py
  otel-mcp-audit run -- uvx mcp-server-time
  OTEL_MCP_AUDIT_DIR=/var/lib/mcp-audit otel-mcp-audit run -- python -m my_server
  OTEL_TRACES_EXPORTER=otlp otel-mcp-audit run -- python server.py

\b
In the configuration of an MCP client:
  "command": "otel-mcp-audit", "args": ["run", "--", "python", "server.py"]

\b
Exit codes: that of CMD (128+n when signal n ended it); 78 when the journal cannot
be written, the audit is turned off, or an MCP SDK that CMD imports cannot be
hooked; 126 CMD cannot be executed; 127 CMD not found; 2 wrong usage."""


@click.command(epilog=EPILOG, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("cmd", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD [ARG]...")
def command(cmd: tuple[str, ...]) -> None:
    """Start CMD, an MCP server, so that it runs audited or not at all.

    stdin, stdout and stderr are CMD's; signals are passed on. OTEL_{TRACES,METRICS,LOGS}_EXPORTER are `none` unless
    they are set. Python processes that CMD starts are audited too.
    """
    environ = dict(os.environ)
    problem = blinding_option(cmd) or turned_off(environ) or unwritable(environ)
    if problem is not None:
        click.echo(f"otel-mcp-audit run: not started: {problem}", err=True)
        raise click.exceptions.Exit(EXIT_CONFIGURATION)
    if shutil.which(cmd[0]) is None:
        there = os.path.exists(cmd[0])
        click.echo(f"otel-mcp-audit run: {cmd[0]}: {'cannot be executed' if there else 'command not found'}", err=True)
        raise click.exceptions.Exit(_EXIT_NOT_EXECUTABLE if there else _EXIT_NOT_FOUND)
    prepare(environ)
    try:
        code = supervise(cmd, environ)
    except OSError as error:
        click.echo(f"otel-mcp-audit run: {cmd[0]}: {error.strerror or error}", err=True)
        code = _EXIT_NOT_EXECUTABLE
    raise click.exceptions.Exit(code)


def prepare(environ: MutableMapping[str, str]) -> None:
    """Make the environment one in which every Python process loads the audit, and ends if it cannot."""
    environ[env.OTEL_MCP_AUDIT_FAIL_CLOSED] = "1"
    for name in _EXPORTERS:
        environ.setdefault(name, "none")
    rest = [path for path in environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != BOOT]
    environ["PYTHONPATH"] = os.pathsep.join([BOOT, *rest])


def turned_off(environ: Mapping[str, str]) -> str | None:
    """Why the audit would not happen although CMD runs, None when it would."""
    disabled = [name.strip() for name in environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")]
    if "*" in disabled or "mcp_audit" in disabled:
        return "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS turns the audit off"
    try:
        if not load(environ).enabled:
            return f"{env.OTEL_MCP_AUDIT_ENABLED}={environ[env.OTEL_MCP_AUDIT_ENABLED]} turns the audit off"
    except SettingsError as error:
        return str(error)
    return None


def unwritable(environ: Mapping[str, str]) -> str | None:
    """Why the journal cannot be written, None when it can. Makes the directory (0700) where it is missing."""
    directory = Path(load(environ).directory)
    probe = directory / f".probe-{os.getpid()}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, b"\n")
        finally:
            os.close(descriptor)
            os.unlink(probe)
    except OSError as error:
        return f"the journal in {directory} cannot be written: {error.strerror or error}"
    return None


def blinding_option(cmd: Sequence[str]) -> str | None:
    """What is wrong with a Python command line that keeps the audit from being loaded, None when nothing is."""
    if not os.path.basename(cmd[0]).startswith(("python", "pypy")):
        return None
    arguments = iter(cmd[1:])
    for argument in arguments:
        if not argument.startswith("-") or argument in ("-", "--"):
            break
        if argument.startswith("--"):
            continue
        for position, letter in enumerate(argument[1:], start=1):
            if letter in _BLINDING:
                return f"{cmd[0]} {argument}: with -{letter} Python does not load the audit"
            if letter in _WITH_VALUE:
                if letter in "cm":
                    return None  # what follows belongs to the program
                if position == len(argument) - 1:
                    next(arguments, None)
                break
    return None
