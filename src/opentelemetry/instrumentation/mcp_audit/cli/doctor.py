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
from opentelemetry.instrumentation.mcp_audit.integrity.files import journal_directories
from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord
from opentelemetry.instrumentation.mcp_audit.journal.reader import find, last
from opentelemetry.instrumentation.mcp_audit.record.attributes import OUTCOME_EVENTS
from opentelemetry.instrumentation.mcp_audit.render.text import visible
from opentelemetry.instrumentation.mcp_audit.settings import Settings, SettingsError, default_root, load

from . import _checks
from ._checks import Check
from ._collector import collector
from ._directory import journal
from ._headings import answers
from ._keyring import keyring
from ._odd import not_read
from ._probe import probe
from ._processes import EPHEMERAL, processes
from ._status import ProcessStatus, read_statuses

_SAMPLE: Final = 200
_FILES: Final = 500
_LIGHTS: Final = {"green": ("ok", "green"), "yellow": ("!!", "yellow"), "red": ("RED", "red")}

EPILOG = """\b
Examples:
  otel-mcp-audit doctor
  otel-mcp-audit doctor --json | jq '.checks[] | select(.light != "green")'
  OTEL_MCP_AUDIT_DIR=/var/lib/mcp-audit otel-mcp-audit doctor
  otel-mcp-audit doctor --collector http://127.0.0.1:8888
  otel-mcp-audit doctor --probe /var/log/mcp-audit/audit.jsonl

\b
Run it as the user, and with the environment, that the server has.
Exit codes: 0 nothing red; 1 something is red; 2 wrong usage."""


@click.command(epilog=EPILOG)
@click.option("--json", "machine", is_flag=True, help="Everything as one JSON object.")
@click.option("--collector", "metrics", metavar="URL", help="Also ask a Collector, by its metrics, what it dropped.")
@click.option(
    "--probe",
    "place",
    metavar="PLACE",
    help="Also send a record all the way (it writes one: a heartbeat), and wait for it in PLACE: an archive or a database.",
)
@click.argument("paths", metavar="[DIRECTORY]...", nargs=-1, type=click.Path(readable=False))
def command(machine: bool, metrics: str | None, place: str | None, paths: tuple[str, ...]) -> None:
    """Look at the installation, the processes that are audited, and their journals; change nothing
    (but for --probe).

    DIRECTORY is a journal directory or a directory of these.
    """
    content = examine(paths, metrics, place)
    if machine:
        click.echo(json.dumps(content, ensure_ascii=False, indent=2))
    else:
        _print(content)
    raise click.exceptions.Exit(0 if content["healthy"] else 1)


def examine(paths: Sequence[str], metrics: str | None = None, place: str | None = None) -> dict[str, Any]:
    """``{"healthy", "checks": [{topic, light, text}], "packages": {name: version}, "processes": [STATUS], "journals":
    [JOURNAL], "answers": {heading: [sentence]}}``; STATUS has the members of a status file and ``state`` (live, dead),
    JOURNAL those of ``_directory.py``."""
    directories = _directories(paths)
    versions = _checks.packages()
    checks: list[Check] = [*_checks.plugin(os.environ), *_checks.servers(versions)]
    statuses: list[ProcessStatus] = []
    journals: list[dict[str, Any]] = []
    settings = _settings()
    odd = not_read(dict.fromkeys([*_looked(paths), *directories]))
    if odd:
        more = f" ({len(odd)} such)" if len(odd) > 1 else ""
        checks.append(Check("journal", "yellow", f"{odd[0].file}: {odd[0].what}{more}"))
    for directory in directories:
        try:
            checks += _checks.directory(directory)
        except OSError as error:
            checks.append(Check("journal", "red", f"{directory}: {error.strerror or error}"))
        seen, facts = _journal(directory, settings)
        checks += seen
        journals += facts
        found, problems = read_statuses(directory)
        statuses += found
        if problems:
            more = f" ({len(problems)} such files)" if len(problems) > 1 else ""
            checks.append(Check("processes", "yellow", f"status cannot be read: {problems[0]}{more}"))
    checks += processes(statuses)
    checks += _keyring(statuses)
    if metrics is not None:
        checks += collector(metrics)
    if place is not None and directories:
        checks.append(probe(directories[0], settings, place))
    newest = _newest(directories)
    checks += _checks.clock(newest[-1] if newest else None)
    return {
        "healthy": not any(check.light == "red" for check in checks),
        "checks": [asdict(check) for check in dict.fromkeys(checks)],
        "packages": versions,
        "processes": [asdict(status) for status in statuses],
        "journals": journals,
        "answers": answers(checks, statuses, newest),
    }


def _settings() -> Settings:
    """Those that a server started from here would have; where one is wrong its default, as the settings check says."""
    return load(os.environ, on_error=lambda error: None)


def _journal(directory: str, settings: Settings) -> tuple[list[Check], list[dict[str, Any]]]:
    """What is to be said of a journal that is there, and its facts."""
    if not os.path.isdir(directory):
        return [], []
    try:
        said, facts = journal(directory, settings)
    except OSError as error:
        return [Check("journal", "red", f"{directory}: {error.strerror or error}")], []
    return said, [facts]


def _keyring(statuses: Sequence[ProcessStatus]) -> list[Check]:
    try:
        path = load(os.environ).keyring
    except SettingsError:
        return []  # the settings check says what is wrong
    used = {status.kid for status in statuses if status.state == "live"}
    try:
        return list(keyring(path, {kid for kid in used if kid and not kid.startswith(EPHEMERAL)}))
    except OSError as error:
        return [Check("keyring", "red", f"{path}: {error.strerror or error}")]


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


def _looked(paths: Sequence[str]) -> list[str]:
    return list(paths) or ([] if os.environ.get(env.OTEL_MCP_AUDIT_DIR) else [str(default_root(os.environ))])


def _below(path: str) -> list[str]:
    try:
        return journal_directories(path)
    except OSError:
        return []


def _newest(directories: Sequence[str]) -> list[StoredRecord]:
    files = find([directory for directory in directories if os.path.isdir(directory)]).files
    # However many there are: those that were written last.
    files = sorted(files, key=_modified)[-_FILES:]
    return last(files, _SAMPLE, lambda record: record.event_name in OUTCOME_EVENTS)


def _modified(file: str) -> int:
    try:
        return os.lstat(file).st_mtime_ns
    except OSError:
        return 0  # pruned just now


def _shown(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The processes whose hooks are printed: the live ones, else the newest of the dead."""
    live = [process for process in found if process["state"] == "live"]
    return live or sorted(found, key=lambda process: float(process["updated"]))[-1:]


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
    for process in _shown(content["processes"]):
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
