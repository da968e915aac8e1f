# SPDX-License-Identifier: Apache-2.0
"""The list of commands, and what holds for all of them: interrupts, closed pipes, exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from opentelemetry.instrumentation.mcp_audit.version import __version__

# Name -> where the command is (module:name, imported when it is asked for), and what ``--help`` says.
_COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "run": ("run:command", "Start an MCP server with its audit trail, fail-closed."),
    "tail": ("tail:command", "Show the newest records, one line each; -f goes on."),
    "query": ("query:command", "Find records by tool, user, outcome, time, …"),
    "verify": ("verify:command", "Check chain, content and sequence of the trail."),
    "doctor": ("doctor:command", "Say what is hooked, what is written, what is wrong."),
    "export": ("export:command", "Write records to a file."),
    "ack": ("ack:command", "Say up to when records are kept elsewhere."),
    "ship": ("ship:command", "Deliver the trail to an OTLP endpoint."),
    "adopt": ("adopt:command", "Answer for the calls of processes that died."),
    "replay": ("replay:command", "Send records again, out of a journal, an archive or a database."),
    "reconcile": ("reconcile:command", "Say which records one place has and another has not."),
    "sink": ("sink:command", "Keep what a Collector sends in SQL databases and files."),
    "relay": ("relay:command", "Stand between a Collector and a sink that refuses for a moment."),
    "wrap": ("wrap:command", "Rewrite a client's configuration to start its servers audited."),
    "demo": ("demo:demo", "Show the whole thing with a real server and client."),
}
_EXIT_UNUSABLE: Final = 2
_EXIT_INTERRUPTED: Final = 130
_EXIT_BROKEN_PIPE: Final = 141


class _PipeClosed(Exception):
    """The reader of our output went away (``| head``). click would make exit code 1 of it, which means something here."""


class _Interrupted(Exception):
    """Ctrl-C. click would print an empty line for it; it is how `tail -f` ends."""


class _LazyGroup(click.Group):
    """A group that imports a command's module only when that command is called."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _PipeClosed from None
        except KeyboardInterrupt:
            raise _Interrupted from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f".{module}", __package__), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="""\b
Examples:
  otel-mcp-audit run -- python server.py
  otel-mcp-audit tail -f
  otel-mcp-audit query --tool 'patient_*' --outcome failure --since 1h
  otel-mcp-audit verify

\b
Without PATH a command reads OTEL_MCP_AUDIT_DIR if that is set, else all services
under $XDG_STATE_HOME/otel-mcp-audit (~/.local/state/otel-mcp-audit).

\b
Exit codes: 0 good; 1 what the command looked for is wrong (verify: violated,
doctor: red); 2 nothing could be read, or wrong usage; 130 interrupted;
141 the reader of the output went away. `run` has its own: see there.""",
)
@click.version_option(__version__, prog_name="otel-mcp-audit")
def app() -> None:
    """The audit trail of MCP servers: start, follow, search, verify."""


def run(arguments: Sequence[str]) -> int:
    """Run the command line ``arguments`` and return its exit code. Prints errors, never a traceback for what users do."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app.main(args=list(arguments), prog_name="otel-mcp-audit", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt, _Interrupted):
        return _EXIT_INTERRUPTED
    except (BrokenPipeError, _PipeClosed):
        _discard_stdout()
        return _EXIT_BROKEN_PIPE
    except OSError as error:
        _discard_stdout()
        print(f"otel-mcp-audit: {error}", file=sys.stderr)
        return _EXIT_UNUSABLE


def _discard_stdout() -> None:
    """The interpreter flushes stdout once more at exit; give it something that takes the bytes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
