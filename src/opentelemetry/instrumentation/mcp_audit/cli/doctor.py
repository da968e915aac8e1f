# SPDX-License-Identifier: Apache-2.0
"""``otel-mcp-audit doctor``: what is hooked, what is written, what is wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import click

from opentelemetry.instrumentation.mcp_audit import environment_variables as env
from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord
from opentelemetry.instrumentation.mcp_audit.integrity.verify import journal_directories
from opentelemetry.instrumentation.mcp_audit.journal.reader import find, last
from opentelemetry.instrumentation.mcp_audit.record.attributes import OUTCOME_EVENTS
from opentelemetry.instrumentation.mcp_audit.render.text import visible
from opentelemetry.instrumentation.mcp_audit.settings import SettingsError, default_root, load

from . import _checks
from ._checks import Check
from ._headings import answers
from ._status import ProcessStatus, read_statuses

_SAMPLE: Final = 200
_LIGHTS: Final = {"green": ("ok", "green"), "yellow": ("!!", "yellow"), "red": ("RED", "red")}

EPILOG = """\b
Examples:
  otel-mcp-audit doctor
  otel-mcp-audit doctor --json | jq '.checks[] | select(.light != "green")'
  OTEL_MCP_AUDIT_DIR=/var/lib/mcp-audit otel-mcp-audit doctor

\b
Run it as the user, and with the environment, that the server has.
Exit codes: 0 nothing red; 1 something is red; 2 wrong usage."""


@click.command(epilog=EPILOG)
@click.option("--json", "machine", is_flag=True, help="Everything as one JSON object.")
@click.argument("paths", metavar="[DIRECTORY]...", nargs=-1, type=click.Path())
def command(machine: bool, paths: tuple[str, ...]) -> None:
    """Look at the installation, the processes that are audited, and their journals; change nothing.

    DIRECTORY is a journal directory or a directory of these.
    """
    content = examine(paths)
    if machine:
        click.echo(json.dumps(content, ensure_ascii=False, indent=2))
    else:
        _print(content)
    raise click.exceptions.Exit(0 if content["healthy"] else 1)


def examine(paths: Sequence[str]) -> dict[str, Any]:
    """``{"healthy", "checks": [{topic, light, text}], "packages": {name: version}, "processes": [STATUS], "answers":
    {heading: [sentence]}}``; STATUS has the members of a status file and ``state`` (live, dead)."""
    directories = _directories(paths)
    versions = _checks.packages()
    checks: list[Check] = [*_checks.plugin(os.environ), *_checks.servers(versions)]
    statuses: list[ProcessStatus] = []
    for directory in directories:
        try:
            checks += _checks.directory(directory)
        except OSError as error:
            checks.append(Check("journal", "red", f"{directory}: {error.strerror or error}"))
        found, problems = read_statuses(directory)
        statuses += found
        checks += [Check("processes", "yellow", f"status cannot be read: {problem}") for problem in problems]
    for status in statuses:
        checks += _checks.process(status)
    newest = _newest(directories)
    checks += _checks.clock(newest[-1] if newest else None)
    return {
        "healthy": not any(check.light == "red" for check in checks),
        "checks": [asdict(check) for check in dict.fromkeys(checks)],
        "packages": versions,
        "processes": [asdict(status) for status in statuses],
        "answers": answers(checks, statuses, newest),
    }


def _directories(paths: Sequence[str]) -> list[str]:
    """The journals to look at; where there is none, the directory that a server started from here would make."""
    if paths:
        return [directory for path in paths for directory in _below(path) or [path]]
    try:
        own = [load(os.environ).directory]
    except SettingsError:
        own = []  # the settings check says what is wrong
    if os.environ.get(env.OTEL_MCP_AUDIT_DIR):
        return own
    return _below(str(default_root(os.environ))) or own


def _below(path: str) -> list[str]:
    try:
        return journal_directories(path)
    except OSError:
        return []


def _newest(directories: Sequence[str]) -> list[StoredRecord]:
    files = find([directory for directory in directories if os.path.isdir(directory)]).files
    return last(files, _SAMPLE, lambda record: record.event_name in OUTCOME_EVENTS)


def _print(content: dict[str, Any]) -> None:
    topic = ""
    for check in sorted(content["checks"], key=lambda check: str(check["topic"])):
        if check["topic"] != topic:
            topic = check["topic"]
            click.secho(f"\n{topic}", bold=True)
        word, colour = _LIGHTS[check["light"]]
        click.echo(f"  {click.style(f'{word:<4}', fg=colour)}{visible(check['text'])}")
    click.secho("\npackages", bold=True)
    for name, version in content["packages"].items():
        click.echo(f"  {name} {version or '-'}")
    for process in content["processes"]:
        click.secho(f"\nhooks of {process['state']} process {process['pid']}", bold=True)
        click.echo(
            f"  level {visible(process['level'])}, mode {visible(process['mode'])}, fsync {visible(process['fsync'])}, "
            f"OTel logs {visible(process['otel_logs'])} to {visible(process['logger_provider'])}"
        )
        for hook in process["hooks"]:
            where = f"{hook.get('module', '?')}.{hook.get('attribute', '?')}"
            click.echo(f"  {visible(hook.get('state', '?')):<8} {visible(where)} ({visible(hook.get('stack', '?'))})")
    for heading, sentences in content["answers"].items():
        click.secho(f"\n{heading}", bold=True)
        for sentence in sentences:
            click.echo(f"  {visible(sentence)}")
    word, colour = ("nothing is red", "green") if content["healthy"] else ("something is red", "red")
    click.secho(f"\n{word}", fg=colour, bold=True)
