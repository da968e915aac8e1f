# SPDX-License-Identifier: Apache-2.0
"""Wrap, wrap again, take back: what changes, what does not, and that nothing is lost on the way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scanned_values import plain

from opentelemetry.instrumentation.mcp_audit.cli._jsonc import parse
from opentelemetry.instrumentation.mcp_audit.cli._wrapping import (
    DISTRIBUTION,
    ConfigurationError,
    unwrap,
    wrap,
)

TOOL = "/opt/audit/bin/otel-mcp-audit"


def wrapped(text: str, *only: str) -> str:
    return wrap(text, TOOL, DISTRIBUTION, only)[0]


def states(text: str, *only: str) -> dict[str, str]:
    return {server.name: server.state for server in wrap(text, TOOL, DISTRIBUTION, only)[1]}


CLAUDE = """{
  "globalShortcut": "Ctrl+Space",
  "mcpServers": {
    "time": {
      "command": "python",
      "args": [
        "-m",
        "time_server"
      ],
      "env": {"TZ": "UTC"}
    },
    "far": {"url": "https://mcp.example.com"}
  }
}
"""


def test_a_claude_desktop_configuration() -> None:
    assert wrapped(CLAUDE) == CLAUDE.replace(
        '"command": "python",\n      "args": [\n        "-m",',
        f'"command": "{TOOL}",\n      "args": [\n        "run",\n        "--",\n        "python",\n        "-m",',
    )
    assert states(CLAUDE) == {"time": "wrapped", "far": "left alone"}
    assert states(wrapped(CLAUDE)) == {"time": "already", "far": "left alone"}


VSCODE = """{
\t// what the team uses
\t"servers": {
\t\t"data": { "type": "stdio", "command": "uvx", "args": ["mcp-data", "--ro"], }, // read only
\t\t"mine": { "command": "${workspaceFolder}/.venv/bin/python", "args": [] },
\t\t"bare": { "command": "my-server" },
\t\t"files": { "command": "npx", "args": ["-y", "server-filesystem"] }
\t},
}
"""


def test_a_vs_code_configuration_with_comments() -> None:
    text = wrapped(VSCODE)
    assert states(VSCODE) == {"data": "wrapped", "mine": "wrapped", "bare": "wrapped", "files": "left alone"}
    lines, before = text.splitlines(), VSCODE.splitlines()
    assert lines[3] == (
        f'\t\t"data": {{ "type": "stdio", "command": "{TOOL}", "args": ["run", "--", "uvx", '
        f'"--with={DISTRIBUTION}", "mcp-data", "--ro"], }}, // read only'
    )
    assert lines[4] == (
        f'\t\t"mine": {{ "command": "{TOOL}", "args": ["run", "--", "${{workspaceFolder}}/.venv/bin/python"] }},'
    )
    assert lines[5] == f'\t\t"bare": {{ "command": "{TOOL}", "args": ["run", "my-server"] }},'
    assert [line for line in lines if line in before] == [*before[:3], *before[6:]]
    assert unwrap(text)[0] == VSCODE


@pytest.mark.parametrize(
    ("command", "arguments", "expected"),
    [
        ("uv", ["run", "server.py"], ["run", "--with={}", "server.py"]),
        ("uv", ["--directory", "run", "run", "server.py"], ["--directory", "run", "run", "--with={}", "server.py"]),
        ("/usr/bin/uv", ["run"], ["run", "--with={}"]),
        ("uv", ["tool", "run", "mcp-time"], ["tool", "run", "--with={}", "mcp-time"]),
        ("uv", ["sync"], ["sync"]),
        ("C:\\uv\\uvx.exe", ["mcp-time"], ["--with={}", "mcp-time"]),
        ("uvx", [], []),
        ("fastmcp", ["run", "server.py"], ["run", "server.py"]),
        ("uv", ["run", "--with=opentelemetry-instrumentation-mcp-audit", "x"], ["run", "--with={}", "--with={}", "x"]),
    ],
)
def test_environments_that_uv_makes_get_the_package(command: str, arguments: list[str], expected: list[str]) -> None:
    for array in (json.dumps(arguments), json.dumps(arguments, indent=2)):
        text = f'{{"mcpServers": {{"s": {{"command": {json.dumps(command)}, "args": {array}}}}}}}'
        server = json.loads(wrapped(text))["mcpServers"]["s"]
        assert server["args"] == ["run", "--", command, *(each.format(DISTRIBUTION) for each in expected)]
        assert unwrap(wrapped(text))[0] == text


def test_only_the_named_one() -> None:
    assert states(VSCODE, "bare") == {"bare": "wrapped"}
    text = wrapped(VSCODE, "bare")
    assert states(text)["bare"] == "already"
    both = wrapped(text)
    assert {server.name: server.state for server in unwrap(both, ["data"])[1]} == {"data": "unwrapped"}
    assert unwrap(unwrap(both, ["data"])[0])[0] == VSCODE


def test_vs_code_s_settings_hold_servers_deeper() -> None:
    text = '{"editor.fontSize": 12, "mcp": {"servers": {"s": {"command": "python3", "args": ["a.py"]}}}}'
    assert json.loads(wrapped(text))["mcp"]["servers"]["s"]["args"] == ["run", "--", "python3", "a.py"]


@pytest.mark.parametrize(
    ("server", "state", "why"),
    [
        ('{"command": "python", "args": ["-I", "a.py"]}', "unusable", "-I"),
        ('{"command": "python", "args": "a.py"}', "unusable", "args is no list of texts"),
        ('{"command": "python", "args": [1]}', "unusable", "args is no list of texts"),
        ('{"command": ["python"]}', "unusable", "has no command"),
        ('{"command": ""}', "unusable", "has no command"),
        ('{"args": ["x"]}', "unusable", "has no command"),
        ('{"command": "a", "command": "b"}', "unusable", "has command more than once"),
        ('{"type": "http", "url": "http://x"}', "left alone", "it runs elsewhere"),
        ('{"command": "docker", "args": ["run", "x"]}', "left alone", "docker runs no Python"),
        ('{"command": "C:\\\\npx.CMD"}', "left alone", "npx runs no Python"),
        ("null", "unusable", "is no object"),
    ],
)
def test_what_is_not_wrapped_is_said_and_not_touched(server: str, state: str, why: str) -> None:
    text = f'{{"mcpServers": {{"s": {server}}}}}'
    after, (told,) = wrap(text, TOOL, DISTRIBUTION)
    assert (after, told.state) == (text, state)
    assert why in told.why


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no JSON: line 1, column 1: expected a value"),
        ("[]", "has no servers"),
        ("{}", "has no servers"),
        ('{"mcpServers": []}', "has no servers"),
        ('{"mcpServers": {"a": {}, "a": {}}}', "has more than one server a"),
        ('{"mcpServers": {"a": {}}, "servers": {"a": {}}}', "has more than one server a"),
        ('{"mcpServers": {"a": {"command": "x"}}', 'expected "," or "}"'),
    ],
)
def test_garbage_is_an_error(text: str, message: str) -> None:
    for step in (lambda: wrap(text, TOOL, DISTRIBUTION), lambda: unwrap(text)):
        with pytest.raises(ConfigurationError) as told:
            step()
        assert message in str(told.value)


def test_a_name_that_is_not_there_is_an_error_with_those_that_are() -> None:
    with pytest.raises(ConfigurationError, match="has no server nobody; it has: time, far"):
        wrap(CLAUDE, TOOL, DISTRIBUTION, ["nobody"])


def test_empty_is_nothing_to_do() -> None:
    assert wrap('{"mcpServers": {}}', TOOL, DISTRIBUTION) == ('{"mcpServers": {}}', [])


def test_wrapped_by_hand_is_taken_back_too() -> None:
    text = '{"servers": {"s": {"command": "otel-mcp-audit", "args": ["run", "--", "python", "a.py"]}}}'
    assert unwrap(text)[0] == '{"servers": {"s": {"command": "python", "args": ["a.py"]}}}'


# --- any configuration, however it is written --------------------------------------------------------------------------

BLANK = st.sampled_from(["", " ", "\n", "\r\n  ", "\t", " // note, [x]: {y}\n", '/* "command": 1 */', "\n    "])
COMMANDS = st.sampled_from(
    ["python", "uvx", "uv", "npx", "/opt/v/bin/python3", "server", "pyth\\u006fn", "C:\\\\uv.exe"]
)
ARGUMENTS = st.lists(
    st.sampled_from(
        ["run", "server.py", "--with", "--directory", "-I", "--", "--with=x", f"--with={DISTRIBUTION}", "é"]
    )
)


@st.composite
def configurations(draw: Any) -> str:
    def array(items: list[str]) -> str:
        text = "[" + draw(BLANK)
        for index, item in enumerate(items):
            text += json.dumps(item, ensure_ascii=draw(st.booleans())) + draw(BLANK)
            text += "," + draw(BLANK) if index < len(items) - 1 or draw(st.booleans()) else ""
        return text + "]"

    def pairs(members: list[tuple[str, str]]) -> str:
        text = "{" + draw(BLANK)
        for index, (key, value) in enumerate(members):
            text += json.dumps(key) + draw(BLANK) + ":" + draw(BLANK) + value + draw(BLANK)
            text += "," + draw(BLANK) if index < len(members) - 1 or draw(st.booleans()) else ""
        return text + "}"

    servers = []
    for name in draw(st.lists(st.text(max_size=5), unique=True, max_size=4)):
        members = [("env", '{"A": "b"}')] if draw(st.booleans()) else []
        if draw(st.integers(0, 9)):
            members.append(("command", f'"{draw(COMMANDS)}"'))
        else:
            members.append(("url", '"https://x"'))
        if draw(st.booleans()):
            members.append(("args", array(draw(ARGUMENTS))))
        servers.append((name, pairs(draw(st.permutations(members)))))
    outer = [("mcpServers", pairs(servers)), ("other", "[1, {}]")]
    return draw(BLANK) + pairs(draw(st.permutations(outer))) + draw(BLANK)


@settings(max_examples=300, deadline=None)
@given(configurations())
def test_wrap_then_undo_gives_the_same_text(text: str) -> None:
    once = wrapped(text)
    assert unwrap(once)[0] == text
    assert wrapped(once) == once
    before, after = plain(parse(text), text), plain(parse(once), once)
    assert list(after) == list(before) and after["other"] == before["other"]
    for name, state in states(text).items():
        old, new = before["mcpServers"][name], after["mcpServers"][name]
        if state != "wrapped":
            assert new == old
            continue
        assert new["command"] == TOOL
        run = new["args"][2:] if new["args"][1] == "--" else new["args"][1:]
        added = len(run) - 1 - len(old.get("args", []))
        assert added in (0, 1)
        kept = [each for each in run[1:] if not added or each != f"--with={DISTRIBUTION}"]
        given = [each for each in old.get("args", []) if not added or each != f"--with={DISTRIBUTION}"]
        assert [run[0], *kept] == [old["command"], *given]
        assert {key: new[key] for key in old if key not in ("command", "args")} == {
            key: old[key] for key in old if key not in ("command", "args")
        }
