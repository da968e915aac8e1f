# SPDX-License-Identifier: Apache-2.0
"""One request, one outcome record, with its exact detail: every kind of call over every transport of this stack."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import pytest_asyncio
import stack
import wire
from kept import Kept
from outcomes import TRANSPORTS
from serving import serving

from opentelemetry.instrumentation.mcp_audit.testing import capture_audit

# One event loop for all of them: that of the servers that they share.
pytestmark = [pytest.mark.timeout(60), pytest.mark.asyncio(loop_scope="module")]

Attributes = dict[str, Any]
HERE = Path(__file__).parent


def over(*transports: str) -> list[Any]:
    """Parameters: what goes over stdio runs in one process of the tests, which starts each server once."""
    stdio = pytest.mark.xdist_group("stdio")
    return [pytest.param(each, marks=[stdio] if each.startswith("stdio") else []) for each in transports]


# For what the way of a request makes no difference to beyond its kind.
SOME = over("memory", "stdio", "http-stateful", "http-modern")


class Trail:
    """The outcome records so far: captured in this process, or read from the journal of another one.

    ``lost``: the answers that were not delivered, where they are captured in this process.
    """

    def __init__(self, read: Callable[[], list[Attributes]], lost: Trail | None = None) -> None:
        self.read = read
        self.lost = lost

    async def wait_for(self, count: int) -> list[Attributes]:
        """The records once there are ``count`` of them; fails after 10 s with what there is."""
        for _ in range(200):
            found = self.read()
            if len(found) >= count:
                return found
            await asyncio.sleep(0.05)
        pytest.fail(f"expected {count} records, found {[record['mcp_audit.outcome.detail'] for record in self.read()]}")


def journal_records(directory: Path) -> list[Attributes]:
    """The outcome records in the segments below ``directory``, as attributes by name."""
    found = []
    for path in sorted(directory.rglob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            record = json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
            attributes = {item["key"]: _plain(item["value"]) for item in record["attributes"]}
            if "mcp_audit.outcome.detail" in attributes:
                found.append(attributes)
    return found


def _plain(value: dict[str, Any]) -> Any:
    ((kind, plain),) = value.items()
    if kind == "arrayValue":
        return [_plain(item) for item in plain["values"]]
    return int(plain) if kind == "intValue" else plain


def skip_unspoken(transport: str) -> None:
    """Skip where the stack has no such transport."""
    if transport.endswith("modern") and not stack.V2:
        pytest.skip(f"{stack.NAME} does not speak {stack.MODERN}")


@dataclass(frozen=True)
class Place:
    """Where an audited server is: itself, in this process; its URL, which wants a bearer token; or its command."""

    made: Any = None
    url: str = ""
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def audited(transport: str, tmp_path: Path, served: ModuleType = stack) -> Iterator[tuple[Place, Trail]]:
    """The server that ``served.server()`` makes, and the trail that it leaves. Over stdio the module is its script."""
    skip_unspoken(transport)
    if transport.startswith("stdio"):
        directory = tmp_path / "audit"
        path = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, "OTEL_MCP_AUDIT_DIR": str(directory), "PYTHONPATH": os.pathsep.join(path)}
        command = (sys.executable, str(HERE / "launcher.py"), str(served.__file__))
        yield Place(command=command, env=env), Trail(lambda: journal_records(directory))
        return
    with capture_audit() as audit:
        lost = Trail(lambda: [dict(one.attributes) for one in audit.records if one.event == "mcp_audit.undelivered"])
        trail = Trail(lambda: [dict(record.attributes) for record in audit.outcomes()], lost)
        if transport.startswith("memory"):
            yield Place(made=served.server()), trail
            return
        made = served.server(auth=True)
        if transport == "http-sse":
            with serving(stack.sse_app(made)) as url:
                yield Place(url=url.replace("/mcp", "/sse")), trail
            return
        with serving(stack.asgi_app(made, stateless=transport == "http-stateless")) as url:
            yield Place(url=url), trail


@asynccontextmanager
async def connected(
    transport: str, tmp_path: Path, served: ModuleType = stack, **client: Any
) -> AsyncIterator[tuple[stack.Caller, Trail]]:
    """A client of an :func:`audited` server over ``transport``, and the trail. ``client``: what it answers when asked."""
    modern = {"modern": True} if transport.endswith("modern") else {}
    headers = {"authorization": "Bearer alice-token", "x-request-id": "req-1", "user-agent": "test/1"}
    with audited(transport, tmp_path, served) as (place, trail):
        if place.command:
            way = stack.over_stdio(list(place.command), dict(place.env), **modern, **client)
        elif place.made is not None:
            way = stack.in_memory(place.made, **modern, **client)
        elif transport == "http-sse":
            way = stack.over_sse(place.url, headers, **client)
        else:
            way = stack.over_http(place.url, headers, **modern, **client)
        async with way as caller:
            yield caller, trail


class Servers:
    """Clients of audited servers. Those on stdio serve all tests of this file: starting one costs as much as twenty tests."""

    def __init__(self, directory: Path, kept: Kept) -> None:
        self._directory = directory
        self._kept = kept

    @asynccontextmanager
    async def connected(self, transport: str) -> AsyncIterator[tuple[stack.Caller, Trail]]:
        """As :func:`connected`; the trail begins here."""
        skip_unspoken(transport)
        if not transport.startswith("stdio"):
            async with connected(transport, self._directory) as found:
                yield found
            return
        caller, trail = await self._kept.get(transport, lambda: connected(transport, self._directory / transport))
        before = len(trail.read())
        yield caller, Trail(lambda: trail.read()[before:])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    kept = Kept()
    yield Servers(tmp_path_factory.mktemp("servers"), kept)
    await kept.leave()


@pytest.fixture(params=over(*TRANSPORTS))
def transport(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


def the_actor(transport: str) -> Attributes:
    """What the record must say of the caller over ``transport``."""
    if transport.startswith("http"):
        return {
            "audit.actor.id": "alice",
            "audit.actor.type": "user",
            "mcp_audit.actor.provenance": "verified",
            "user.id": "alice",
            "user.email": "alice@example.com",
            "user.roles": ["nurse"],
            "mcp_audit.actor.issuer": "https://issuer.example",
            "mcp_audit.actor.client_id": "app",
            "mcp_audit.actor.scopes": ["read"],
            "mcp_audit.actor.token.id": "token-1",
            "mcp_audit.actor.chain": ["https://issuer.example|agent-7"],
            "mcp_audit.tenant.id": "acme",
            "mcp_audit.request.id": "req-1",
            "user_agent.original": "test/1",
            "client.address": "127.0.0.1",
            "audit.source.id": "127.0.0.1",
            "audit.source.type": "ipv4",
            "network.transport": "tcp",
        }
    if transport.startswith("stdio"):
        return {
            "audit.actor.id": getpass.getuser(),
            "audit.actor.type": "user",
            "mcp_audit.actor.provenance": "os",
            "network.transport": "pipe",
        }
    return {"audit.actor.id": "anonymous", "mcp_audit.actor.provenance": "none", "network.transport": None}


def check(record: Attributes, expected: Attributes) -> None:
    """Every expected attribute is there with its value and type; None means that it must be absent."""
    assert {name: record.get(name) for name in expected} == expected


TOOL = {"mcp.method.name": "tools/call", "audit.action": "EXECUTE", "audit.target.type": "tool"}


@pytest.mark.cell("success")
async def test_ok(transport: str, servers: Servers) -> None:
    async with servers.connected(transport) as (caller, trail):
        answer = await caller.tool("add", {"a": 1, "b": 2})
        (record,) = await trail.wait_for(1)
    assert trail.lost is None or trail.lost.read() == []
    assert answer.content[0].text == "3"
    check(record, TOOL)
    check(record, the_actor(transport))
    check(
        record,
        {
            "gen_ai.tool.name": "add",
            "audit.target.id": "add",
            "audit.outcome": "success",
            "mcp_audit.outcome.detail": "ok",
            "mcp_audit.decision": "allowed",
            "mcp_audit.result.count": 1,
            "error.type": None,
        },
    )
    assert isinstance(record["jsonrpc.request.id"], str)
    assert record["mcp_audit.duration_us"] >= 0
    if transport != "http-stateless":
        assert record["mcp_audit.client.name"]
    assert record["mcp.protocol.version"] == (stack.MODERN if "modern" in transport else "2025-11-25")
    assert ("mcp.session.id" in record) == (transport == "http-stateful")


@pytest.mark.parametrize("transport", SOME)
async def test_rows_are_counted(transport: str, servers: Servers) -> None:
    async with servers.connected(transport) as (caller, trail):
        await caller.tool("rows")
        (record,) = await trail.wait_for(1)
    check(record, {"mcp_audit.outcome.detail": "ok", "mcp_audit.result.count": 3})


@pytest.mark.cell("isError result")
async def test_is_error(transport: str, servers: Servers) -> None:
    async with servers.connected(transport) as (caller, trail):
        await caller.tool("refuse")
        (record,) = await trail.wait_for(1)
    # fastmcp has no other way to answer `isError` than to raise; what was raised is then the better reason.
    check(
        record,
        {
            **TOOL,
            **the_actor(transport),
            "mcp_audit.outcome.detail": "tool_error",
            "audit.outcome": "failure",
            "error.type": "ToolError" if stack.FASTMCP else "tool_error",
        },
    )


@pytest.mark.cell("tool raised")
async def test_tool_raised(transport: str, servers: Servers) -> None:
    async with servers.connected(transport) as (caller, trail):
        await caller.tool("crash")
        (record,) = await trail.wait_for(1)
    check(
        record,
        {
            **TOOL,
            **the_actor(transport),
            "mcp_audit.outcome.detail": "tool_error",
            "audit.outcome": "failure",
            "error.type": "KeyError",
        },
    )


@pytest.mark.cell("unknown tool")
async def test_unknown_tool(transport: str, servers: Servers) -> None:
    async with servers.connected(transport) as (caller, trail):
        await caller.tool("no_such_tool")
        (record,) = await trail.wait_for(1)
    check(
        record,
        {
            **TOOL,
            **the_actor(transport),
            "gen_ai.tool.name": "no_such_tool",
            "mcp_audit.outcome.detail": "unknown_tool",
            "audit.outcome": "failure",
            "error.type": "unknown_tool",
        },
    )


@pytest.mark.cell("invalid arguments")
async def test_invalid_arguments(transport: str, servers: Servers) -> None:
    async with servers.connected(transport) as (caller, trail):
        await caller.tool("add", {"a": "many", "b": 2})
        (record,) = await trail.wait_for(1)
    check(
        record,
        {
            **TOOL,
            **the_actor(transport),
            "mcp_audit.outcome.detail": "invalid_arguments",
            "audit.outcome": "failure",
            "error.type": "invalid_arguments",
        },
    )


@pytest.mark.cell("invalid output")
async def test_a_tool_that_returns_something_else_than_it_promised(transport: str, servers: Servers) -> None:
    async with servers.connected(transport) as (caller, trail):
        await caller.tool("untrue")
        record = (await trail.wait_for(1))[0]
    # fastmcp 4 validates no output on the server: what it lets through is a success there and in the record.
    unchecked = stack.FASTMCP and stack.V2
    check(
        record,
        {
            **TOOL,
            **the_actor(transport),
            "gen_ai.tool.name": "untrue",
            "mcp_audit.outcome.detail": "ok" if unchecked else "invalid_output",
            "audit.outcome": "success" if unchecked else "failure",
            "error.type": None if unchecked else "invalid_output",
        },
    )


@pytest.mark.skipif(not stack.TOOL_TIMEOUTS, reason=f"tools have no time limit in {stack.NAME}")
@pytest.mark.cell("tool timeout")
async def test_a_tool_that_takes_too_long(transport: str, servers: Servers) -> None:
    async with servers.connected(transport) as (caller, trail):
        await caller.tool("late")
        (record,) = await trail.wait_for(1)
    check(
        record,
        {
            **TOOL,
            **the_actor(transport),
            "gen_ai.tool.name": "late",
            "mcp_audit.outcome.detail": "timeout",
            "audit.outcome": "failure",
            "error.type": "timeout",
        },
    )


@pytest.mark.cell("malformed params")
@pytest.mark.cell("unknown method")
async def test_malformed_params_and_an_unknown_method(transport: str, servers: Servers) -> None:
    async with servers.connected(transport) as (caller, trail):
        await wire.send_raw(caller, "tools/call", {"arguments": {}})
        (malformed,) = await trail.wait_for(1)
        await wire.send_raw(caller, "no/such", {"x": 1})
        records = await trail.wait_for(2)
        # The session goes on, and what it serves is audited as ever.
        await caller.tool("add", {"a": 1, "b": 2})
        *_, served = await trail.wait_for(3)
    check(
        malformed,
        {
            "mcp.method.name": "tools/call",
            "gen_ai.tool.name": None,
            "audit.outcome": "failure",
            "mcp_audit.outcome.detail": "invalid_params",
            "error.type": "-32602",
            "rpc.response.status_code": "-32602",
            "mcp_audit.level": "request",
            "mcp_audit.policy.rule": "calls",
            "network.transport": {"memory": None, "stdio": "pipe"}.get(transport.removesuffix("-modern"), "tcp"),
        },
    )
    if transport.startswith("http"):
        check(malformed, {"audit.actor.id": "alice", "mcp_audit.actor.provenance": "verified"})
    check(
        records[1],
        {
            "mcp.method.name": "no/such",
            "audit.target.id": "no/such",
            "mcp_audit.outcome.detail": "unknown_method",
            "error.type": "-32601",
            # What 1.x puts on the wire for it.
            "rpc.response.status_code": "-32601" if stack.V2 else "-32602",
            "mcp_audit.level": "metadata",
            "mcp_audit.policy.rule": "other",
        },
    )
    check(served, {"gen_ai.tool.name": "add", "mcp_audit.outcome.detail": "ok"})
    assert len({record["audit.record.id"] for record in (*records, served)}) == 3


@pytest.mark.cell("cancelled by client")
async def test_cancelled(transport: str, servers: Servers) -> None:
    if transport == "http-stateless":
        pytest.skip("a cancel over stateless HTTP reaches another session and has no effect on the call")

    async def in_flight() -> None:
        # The tool has started when its server has answered a later request on the same connection.
        await caller.tool("add", {"a": 1, "b": 1})

    async with servers.connected(transport) as (caller, trail):
        await caller.cancelled_tool(in_flight)
        records = await trail.wait_for(2)
    (record,) = [record for record in records if record["gen_ai.tool.name"] == "wait"]
    # 2026-07-28 HTTP has no notification for it: the client hangs up.
    check(
        record,
        {
            **TOOL,
            **the_actor(transport),
            "mcp_audit.outcome.detail": "client_gone" if transport == "http-modern" else "cancelled",
            "audit.outcome": "unknown",
            "error.type": None,
        },
    )


@pytest.mark.cell("resource read")
async def test_resource_read(transport: str, servers: Servers) -> None:
    async with servers.connected(transport) as (caller, trail):
        await caller.resource("data://text")
        await caller.resource("data://absent")
        read, absent = await trail.wait_for(2)
    common = {
        **the_actor(transport),
        "mcp.method.name": "resources/read",
        "audit.action": "READ",
        "audit.target.type": "resource",
    }
    check(read, {**common, "mcp.resource.uri": "data://text", "mcp_audit.outcome.detail": "ok"})
    check(read, {"audit.outcome": "success", "mcp_audit.result.count": 1})
    check(absent, {**common, "mcp.resource.uri": "data://absent", "mcp_audit.outcome.detail": "protocol_error"})
    assert absent["audit.outcome"] == "failure"
    assert absent["rpc.response.status_code"] in ("0", "-32002", "-32602")


@pytest.mark.cell("prompt get")
async def test_prompt_get(transport: str, servers: Servers) -> None:
    async with servers.connected(transport) as (caller, trail):
        await caller.prompt("greet", {"name": "Ann"})
        (record,) = await trail.wait_for(1)
    check(
        record,
        {
            **the_actor(transport),
            "mcp.method.name": "prompts/get",
            "audit.action": "READ",
            "gen_ai.prompt.name": "greet",
            "mcp_audit.outcome.detail": "ok",
            "mcp_audit.result.count": 1,
        },
    )


@pytest.mark.cell("unknown method")
async def test_unknown_method(transport: str, servers: Servers) -> None:
    if not stack.V2 and not transport.endswith("modern"):
        pytest.skip("1.x clients send no such method; test_wire_outcomes.py sends it as it is")
    async with servers.connected(transport) as (caller, trail):
        await caller.unknown_method()
        (record,) = await trail.wait_for(1)
    check(
        record,
        {
            **the_actor(transport),
            "mcp.method.name": "no/such",
            "audit.target.type": "method",
            "mcp_audit.outcome.detail": "unknown_method",
            "error.type": "-32601",
            "rpc.response.status_code": "-32601",
        },
    )


@pytest.mark.cell("no phantom and no duplicate")
async def test_no_phantom_and_no_duplicate(transport: str, servers: Servers) -> None:
    # Calls with arguments are what makes 2026-07-28 HTTP list the tools on the way.
    async with servers.connected(transport) as (caller, trail):
        for number in range(5):
            await caller.tool("add", {"a": number, "b": number})
        records = await trail.wait_for(5)
    assert [record["mcp.method.name"] for record in records] == ["tools/call"] * 5
    assert len({record["audit.record.id"] for record in records}) == 5


@pytest.mark.parametrize("transport", SOME)
async def test_calls_at_the_same_time_keep_their_own_reasons(transport: str, servers: Servers) -> None:
    async with servers.connected(transport) as (caller, trail):
        await asyncio.gather(
            *(caller.tool("crash") for _ in range(10)),
            *(caller.tool("add", {"a": number, "b": 1}) for number in range(10)),
        )
        records = await trail.wait_for(20)
    told = [(record["gen_ai.tool.name"], record.get("error.type")) for record in records]
    assert sorted(told, key=str) == [("add", None)] * 10 + [("crash", "KeyError")] * 10
    assert len({record["mcp_audit.call.id"] for record in records}) == 20


@pytest.mark.parametrize("transport", SOME)
async def test_bind_and_annotate_inside_a_tool(transport: str, servers: Servers) -> None:
    async with servers.connected(transport) as (caller, trail):
        await caller.tool("bind_inside")
        await caller.tool("add", {"a": 1, "b": 1})
        bound, after = await trail.wait_for(2)
    check(
        bound,
        {
            "mcp_audit.purpose": "treatment",
            "mcp_audit.resources": ["patient/1"],
            "mcp_audit.data.classes": ["phi"],
        },
    )
    check(after, {"mcp_audit.purpose": None, "mcp_audit.resources": None})
