# SPDX-License-Identifier: Apache-2.0
"""How a client's configuration is rewritten so that its servers run under ``otel-mcp-audit run``, and back again.

Plain functions of the text. Only the tokens that change are touched, so that taking it back gives the same bytes:
``"command": X, "args": [A, …]`` becomes ``"command": TOOL, "args": ["run", "--", X, A, …]`` with X's token as it stood.
Without ``args`` there is no ``--``, which tells the two apart. ``uvx`` and ``uv run`` make environments of their own,
which need this package: they get ``--with=…`` as their first option.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ._jsonc import JsoncError, Value, parse, replace
from .run import blinding_option

State = Literal["wrapped", "unwrapped", "already", "not wrapped", "left alone", "unusable"]
Edit = tuple[int, int, str]

DISTRIBUTION: Final = "opentelemetry-instrumentation-mcp-audit"
_OURS: Final = re.compile(r"--with=.*opentelemetry[-_.]instrumentation[-_.]mcp[-_.]audit")
_TOOL: Final = "otel-mcp-audit"
_REMOTE: Final = ("url", "serverUrl", "httpUrl")
_NO_PYTHON: Final = frozenset("node npx npm pnpm yarn bun bunx deno docker podman java dotnet go cargo".split())
# Options of uv that take a value, which may read `run` too.
_UV_VALUES: Final = frozenset("--directory --project --config-file --cache-dir --color --allow-insecure-host".split())


class ConfigurationError(ValueError):
    """The text is no client's configuration; the message says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """One server of a configuration, and what became of it or why nothing did."""

    name: str
    state: State
    why: str = ""


def wrap(text: str, tool: str, requirement: str, only: Sequence[str] = ()) -> tuple[str, list[Server]]:
    """The text with every server (or those named in ``only``) started through ``tool``, and what became of each.

    Raises :class:`ConfigurationError` for what is no configuration, and for a name that is not in it.
    """
    edits: list[Edit] = []
    told = [_wrap(name, value, text, tool, requirement, edits) for name, value in _chosen(text, only)]
    return replace(text, edits), told


def unwrap(text: str, only: Sequence[str] = ()) -> tuple[str, list[Server]]:
    """The text with every server (or those named in ``only``) as it was before :func:`wrap`."""
    edits: list[Edit] = []
    told = [_unwrap(name, value, text, edits) for name, value in _chosen(text, only)]
    return replace(text, edits), told


def _chosen(text: str, only: Sequence[str]) -> list[tuple[str, Value]]:
    try:
        whole = parse(text)
    except JsoncError as error:
        raise ConfigurationError(f"is no JSON: {error}") from None
    found = [server for place in _places(whole) for server in place.members]
    names = [name for name, _ in found]
    if not found and not list(_places(whole)):
        raise ConfigurationError("has no servers: there is no object mcpServers or servers in it")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigurationError(f"has more than one server {', '.join(twice)}")
    unknown = [name for name in only if name not in names]
    if unknown:
        raise ConfigurationError(f"has no server {', '.join(unknown)}; it has: {', '.join(names) or 'none'}")
    return [(name, value) for name, value in found if not only or name in only]


def _places(whole: Value) -> Iterator[Value]:
    """Where servers stand: Claude Desktop and Cursor say ``mcpServers``, VS Code ``servers`` or ``mcp.servers``."""
    places = [*whole.all("mcpServers"), *whole.all("servers")]
    places += [inner for outer in whole.all("mcp") for inner in outer.all("servers")]
    yield from (place for place in places if place.kind == "object")


@dataclass(frozen=True, slots=True)
class _Start:
    """The command of a server and its arguments; ``array`` is None where there are none."""

    command: Value
    array: Value | None

    @property
    def arguments(self) -> list[str]:
        return [] if self.array is None else [item.string for item in self.array.items]


def _start(name: str, value: Value) -> _Start | Server:
    """How a server is started, or why that cannot be said."""
    if value.kind != "object":
        return Server(name, "unusable", "is no object")
    if any(value.all(key) for key in _REMOTE):
        return Server(name, "left alone", "it runs elsewhere: audit it there")
    for key in ("command", "args"):
        if len(value.all(key)) > 1:
            return Server(name, "unusable", f"has {key} more than once")
    command, array = next(iter(value.all("command")), None), next(iter(value.all("args")), None)
    if command is None or command.kind != "string" or not command.string:
        return Server(name, "unusable", "has no command")
    if array is not None and (array.kind != "array" or any(item.kind != "string" for item in array.items)):
        return Server(name, "unusable", "args is no list of texts")
    return _Start(command, array)


def _wrap(name: str, value: Value, text: str, tool: str, requirement: str, edits: list[Edit]) -> Server:
    start = _start(name, value)
    if isinstance(start, Server):
        return start
    command, array, arguments = start.command, start.array, start.arguments
    if _is_wrapped(start):
        return Server(name, "already")
    program = _program(command.string)
    if program in _NO_PYTHON:
        return Server(name, "left alone", f"{program} runs no Python that could be audited")
    blind = blinding_option([command.string, *arguments])
    if blind is not None:
        return Server(name, "unusable", blind)
    edits.append((command.start, command.end, json.dumps(tool)))
    token = text[command.start : command.end]
    if array is None:
        edits.append((command.end, command.end, f', "args": ["run", {token}]'))
        return Server(name, "wrapped")
    if not array.items:
        edits.append((array.start + 1, array.start + 1, f'"run", "--", {token}'))
        return Server(name, "wrapped")
    # In the way the list is written: one a line where it has its first item on a line of its own.
    first = array.items[0]
    before = text[array.start + 1 : first.start]
    comma = f",{before}" if "\n" in before and not before.strip() else ", "
    put_first = ['"run"', '"--"', token]
    at = _options_at(program, arguments)
    extra = json.dumps(f"--with={requirement}")
    if at == 0:
        put_first.append(extra)
    elif at is not None and at < len(arguments):
        edits.append((array.items[at].start, array.items[at].start, extra + comma))
    elif at is not None:
        edits.append((array.items[-1].end, array.items[-1].end, comma + extra))
    edits.append((first.start, first.start, "".join(part + comma for part in put_first)))
    return Server(name, "wrapped")


def _unwrap(name: str, value: Value, text: str, edits: list[Edit]) -> Server:
    start = _start(name, value)
    if isinstance(start, Server):
        return start
    array = start.array
    if array is None or not _is_wrapped(start):
        return Server(name, "not wrapped")
    command, items = start.command, array.items
    count = 3 if items[1].string == "--" else 2
    if len(items) < count:
        return Server(name, "unusable", "runs nothing under otel-mcp-audit run")
    original = items[count - 1]
    edits.append((command.start, command.end, text[original.start : original.end]))
    if count == 2 and len(items) == 2 and text[command.end : items[0].start] == ', "args": [':
        edits.append((command.end, array.end, ""))
        return Server(name, "unwrapped")
    rest = [item.string for item in items[count:]]
    at = _options_at(_program(original.string), rest)
    ours = at is not None and at < len(rest) and _OURS.match(rest[at]) is not None
    if ours and at == 0:
        count += 1
    elif ours and at is not None:
        with_ = items[count + at]
        last = count + at + 1 == len(items)
        begin, end = (items[count + at - 1].end, with_.end) if last else (with_.start, items[count + at + 1].start)
        edits.append((begin, end, ""))
    end = items[count].start if len(items) > count else items[count - 1].end
    edits.append((items[0].start, end, ""))
    return Server(name, "unwrapped")


def _is_wrapped(start: _Start) -> bool:
    return _program(start.command.string) == _TOOL and len(start.arguments) > 1 and start.arguments[0] == "run"


def _program(command: str) -> str:
    """The command's name without its folder, of Unix or Windows, and without ``.exe`` or ``.cmd``."""
    name = os.path.basename(command.replace("\\", "/"))
    return re.sub(r"\.(exe|cmd|bat)$", "", name, flags=re.IGNORECASE)


def _options_at(program: str, arguments: Sequence[str]) -> int | None:
    """Where ``--with`` goes among the arguments of uv's programs; None for any other and for what runs nothing."""
    if program == "uvx":
        return 0 if arguments else None
    if program != "uv":
        return None
    for position, argument in enumerate(arguments):
        if argument == "run" and (position == 0 or arguments[position - 1] not in _UV_VALUES):
            return position + 1
    return None
