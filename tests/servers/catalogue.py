# SPDX-License-Identifier: Apache-2.0
"""MCP servers from PyPI that this project did not write, what to call on each, and how each call must be recorded.

Each is run as its users run it. At least one stands for every way in which an SDK dispatches a request: `Server` and
`FastMCP` of mcp 1.x, `MCPServer` of mcp 2.x, fastmcp 2, 3 and 4. A server whose own range admits several majors of the
SDK is given the one it was written for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Answer = Literal["result", "is_error"] | int  # an int is the code of a JSON-RPC error


@dataclass(frozen=True, slots=True)
class Call:
    """One request, what the server answers, and the detail that its one outcome record must have."""

    method: str
    params: dict[str, Any]
    answer: Answer
    detail: str

    @property
    def target(self) -> str | None:
        """The tool, resource or prompt that the request names."""
        name = self.params.get("name", self.params.get("uri"))
        return None if name is None else str(name)


@dataclass(frozen=True, slots=True)
class Published:
    """A published server. In `argv`, `env` and the calls' params `{workspace}` is a directory made for the run."""

    name: str
    stack: str
    requirements: tuple[str, ...]
    argv: tuple[str, ...]
    calls: tuple[Call, ...]
    env: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)  # what the workspace holds at the start
    python: tuple[int, int] = (3, 10)


def tool(name: str, arguments: dict[str, Any], answer: Answer, detail: str) -> Call:
    """A `tools/call`."""
    return Call("tools/call", {"name": name, "arguments": arguments}, answer, detail)


TIME = Published(
    name="time",
    stack="mcp 2.x MCPServer",
    requirements=("mcp-server-time==2026.10.19", "mcp==2.3.0"),
    argv=("mcp-server-time", "--local-timezone", "UTC"),
    calls=(
        tool(
            "convert_time",
            {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"},
            "result",
            "ok",
        ),
        tool(
            "convert_time",
            {"source_timezone": "UTC", "time": "25:99", "target_timezone": "Asia/Tokyo"},
            "is_error",
            "tool_error",
        ),
        tool("convert_time", {"source_timezone": "UTC"}, "is_error", "invalid_arguments"),
        tool("no_such_tool", {}, -32602, "unknown_tool"),
        # The code says "no such resource" here: the params are fine, so the detail is the general one.
        Call("resources/read", {"uri": "nothing://here"}, -32602, "protocol_error"),
        Call("no/such/method", {}, -32601, "unknown_method"),
    ),
)

GIT = Published(
    name="git",
    stack="mcp 2.x MCPServer",
    requirements=("mcp-server-git==2026.10.19", "mcp==2.3.0"),
    argv=("mcp-server-git",),
    # A repository without a commit, laid out by hand: no `git init`, no identity, no clock in the answers.
    files={
        "repo/.git/HEAD": "ref: refs/heads/main\n",
        "repo/.git/config": "[core]\n\trepositoryformatversion = 0\n\tbare = false\n",
        "repo/.git/objects/info/.keep": "",
        "repo/.git/refs/heads/.keep": "",
        "repo/new.txt": "hello\n",
    },
    calls=(
        tool("git_status", {"repo_path": "{workspace}/repo"}, "result", "ok"),
        tool("git_add", {"repo_path": "{workspace}/repo", "files": ["new.txt"]}, "result", "ok"),
        tool("git_status", {"repo_path": "{workspace}/nowhere"}, "is_error", "tool_error"),
        tool("git_status", {}, "is_error", "invalid_arguments"),
        tool("no_such_tool", {}, -32602, "unknown_tool"),
    ),
)

EXCEL = Published(
    name="excel",
    stack="mcp 2.x MCPServer",
    requirements=("excel-mcp-server==2.2.2", "mcp==2.3.0"),
    argv=("excel-mcp-server", "stdio"),
    python=(3, 11),
    calls=(
        tool("create_workbook", {"path": "{workspace}/book.xlsx"}, "result", "ok"),
        tool(
            "write_range",
            {"path": "{workspace}/book.xlsx", "sheet": "Sheet1", "at": "A1", "rows": [[1, 2], [3, 4]]},
            "result",
            "ok",
        ),
        tool("read_range", {"path": "{workspace}/book.xlsx", "sheet": "Sheet1"}, "result", "ok"),
        tool("describe_workbook", {"path": "{workspace}/none.xlsx"}, "is_error", "tool_error"),
    ),
)

SQLITE = Published(
    name="sqlite",
    stack="mcp 1.x lowlevel Server",
    requirements=("mcp-server-sqlite==2025.4.25", "mcp==1.30.0"),
    argv=("mcp-server-sqlite", "--db-path", "{workspace}/data.db"),
    calls=(
        tool("create_table", {"query": "CREATE TABLE patients (name TEXT)"}, "result", "ok"),
        tool("list_tables", {}, "result", "ok"),
        # This server answers a failed query with a text and no `isError`: on the wire that is a success.
        tool("read_query", {"query": "SELECT * FROM missing"}, "result", "ok"),
        tool("read_query", {}, "is_error", "invalid_arguments"),
        Call("resources/read", {"uri": "memo://insights"}, "result", "ok"),
        Call("prompts/get", {"name": "mcp-demo", "arguments": {"topic": "cats"}}, "result", "ok"),
    ),
)

SHELL = Published(
    name="shell",
    stack="mcp 1.x lowlevel Server",
    requirements=("mcp-shell-server==1.1.14", "mcp==1.30.0"),
    argv=("mcp-shell-server",),
    env={"ALLOW_COMMANDS": "echo,cat"},
    python=(3, 11),
    calls=(
        tool("shell_execute", {"command": ["echo", "hi"], "directory": "{workspace}"}, "result", "ok"),
        tool("shell_execute", {"command": ["rm", "x"], "directory": "{workspace}"}, "is_error", "tool_error"),
        tool("shell_execute", {"command": 1}, "is_error", "invalid_arguments"),
    ),
)

CALCULATOR = Published(
    name="calculator",
    stack="mcp 1.x FastMCP",
    requirements=("mcp-server-calculator==0.2.1", "mcp==1.30.0"),
    argv=("mcp-server-calculator",),
    calls=(
        tool("calculate", {"expression": "6*7"}, "result", "ok"),
        tool("calculate", {"expression": "1/0"}, "is_error", "tool_error"),
        tool("calculate", {}, "is_error", "invalid_arguments"),
        tool("no_such_tool", {}, "is_error", "unknown_tool"),
    ),
)

CHAR_INDEX = Published(
    name="char-index",
    stack="mcp 1.x FastMCP",
    requirements=("char-index-mcp==0.3.0", "mcp==1.30.0"),
    argv=("char-index-mcp",),
    calls=(
        tool("find_nth_char", {"text": "banana", "char": "a", "n": 2}, "result", "ok"),
        tool("count_chars", {"text": "banana"}, "result", "ok"),
        tool("find_nth_char", {"text": "banana", "char": "ab"}, "is_error", "tool_error"),
        tool("find_nth_char", {"text": "banana"}, "is_error", "invalid_arguments"),
    ),
)

BUSINESS_DAY = Published(
    name="business-day",
    stack="fastmcp 2",
    requirements=("business-day-mcp==0.1.0", "fastmcp==2.14.7", "mcp==1.30.0"),
    argv=("business-day-mcp",),
    calls=(
        tool(
            "business_days_between",
            {"start_date": "2026-01-01", "end_date": "2026-01-31", "country": "DE"},
            "result",
            "ok",
        ),
        tool("next_business_day", {"date": "2026-01-01", "country": "ZZ"}, "is_error", "tool_error"),
        tool("next_business_day", {"date": "2026-01-01"}, "is_error", "invalid_arguments"),
        tool("no_such_tool", {}, "is_error", "unknown_tool"),
    ),
)

SIMPLE_TIMESERVER = Published(
    name="simple-timeserver",
    stack="fastmcp 3",
    requirements=("mcp-simple-timeserver==3.3.2", "fastmcp==3.4.10", "mcp==1.30.0"),
    argv=("mcp-simple-timeserver",),
    python=(3, 11),
    calls=(
        tool(
            "calculate_time_distance",
            {"from_date": "2026-01-01", "to_date": "2026-01-31", "unit": "days"},
            "result",
            "ok",
        ),
        tool("calculate_time_distance", {"from_date": "never", "to_date": "2026-01-31"}, "result", "ok"),
        tool("get_holidays", {}, "is_error", "invalid_arguments"),
        tool("no_such_tool", {}, "is_error", "unknown_tool"),
    ),
)

FILESYSTEM = Published(
    name="filesystem",
    stack="fastmcp 4",
    requirements=("better-mcps-filesystem==0.3.0", "fastmcp==4.1.2", "mcp==2.3.0"),
    argv=("better-mcps-filesystem", "{workspace}/files"),
    files={"files/a.txt": "alpha\nbeta\n"},
    calls=(
        tool("list_dir", {"params": {"path": "{workspace}/files"}}, "result", "ok"),
        tool("read_text_file", {"params": {"path": "{workspace}/files/a.txt"}}, "result", "ok"),
        tool("read_text_file", {"params": {"path": "{workspace}/other"}}, "is_error", "tool_error"),
        tool("read_text_file", {}, "is_error", "invalid_arguments"),
        tool("no_such_tool", {}, "is_error", "unknown_tool"),
        Call("resources/read", {"uri": "resource://roots"}, "result", "ok"),
        Call("no/such/method", {}, -32601, "unknown_method"),
    ),
)

MOTHERDUCK = Published(
    name="motherduck",
    stack="fastmcp 4",
    requirements=("mcp-server-motherduck==1.1.0", "fastmcp==4.1.2", "mcp==2.3.0"),
    argv=("mcp-server-motherduck", "--db-path", ":memory:", "--read-write"),
    calls=(
        tool("execute_query", {"sql": "SELECT 6 * 7 AS answer"}, "result", "ok"),
        tool("list_tables", {}, "result", "ok"),
        tool("execute_query", {"sql": "SELECT nope"}, "is_error", "tool_error"),
        tool("execute_query", {}, "is_error", "invalid_arguments"),
    ),
)

CATALOGUE: tuple[Published, ...] = (
    TIME,
    GIT,
    EXCEL,
    SQLITE,
    SHELL,
    CALCULATOR,
    CHAR_INDEX,
    BUSINESS_DAY,
    SIMPLE_TIMESERVER,
    FILESYSTEM,
    MOTHERDUCK,
)
