# SPDX-License-Identifier: Apache-2.0
"""Many calls at once: arguments, identity and outcome of each record belong to one call, and it is the right one.

The stress test compares every record with what the client sent and got, and with how the tool ended. Its size is
``MCP_AUDIT_STRESS`` calls (default 900 on mcp 2.x, 600 on the slower 1.x), its order comes from ``MCP_AUDIT_SEED``.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import stack
from busy import KINDS, MEETING, Busy
from serving import serving

from opentelemetry.instrumentation.mcp_audit.testing import AuditCapture, capture_audit

HERE = Path(__file__).parent
SIZE = int(os.environ.get("MCP_AUDIT_STRESS") or (900 if stack.V2 else 600))
SEED = int(os.environ.get("MCP_AUDIT_SEED", "20261124"))
HTTP = ["http-stateful", "http-stateless", "http-modern"]
pytestmark = pytest.mark.timeout(max(110, SIZE // 20))
Record = dict[str, Any]


def of_line(line: str) -> Record:
    """The attributes of a journal line with its arguments."""
    record = json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
    found = {item["key"]: plain(item["value"]) for item in record["attributes"]}
    body = record.get("body", {}).get("stringValue")
    return {**found, "arguments": None if body is None else json.loads(body).get("arguments")}


def plain(value: dict[str, Any]) -> Any:
    ((kind, found),) = value.items()
    return [plain(item) for item in found["values"]] if kind == "arrayValue" else found


def calls(lines: list[str]) -> list[Record]:
    return [record for record in map(of_line, lines) if record.get("mcp.method.name") == "tools/call"]


def captured(audit: AuditCapture) -> list[Record]:
    return calls([record.line for record in audit.outcomes()])


def stored(directory: Path) -> list[Record]:
    lines = [line for path in sorted(directory.rglob("*.jsonl")) for line in path.read_text().splitlines()]
    return [record for record in calls(lines) if "mcp_audit.outcome.detail" in record]


@asynccontextmanager
async def meeting(transport: str, tmp_path: Path) -> AsyncIterator[tuple[stack.Caller, Any]]:
    """A client of a server whose tools wait for each other, and what gives its records so far."""
    modern = transport.endswith("modern")
    if modern and not stack.V2:
        pytest.skip(f"{stack.NAME} does not speak {stack.MODERN}")
    if transport.startswith("stdio"):
        env = {**os.environ, "OTEL_MCP_AUDIT_DIR": str(tmp_path)}
        command = [sys.executable, str(HERE / "launcher.py"), str(HERE / "busy.py")]
        async with stack.over_stdio(command, env, modern=modern) as caller:
            yield caller, lambda: stored(tmp_path)
        return
    busy = Busy(meeting=MEETING)
    with capture_audit() as audit:
        if transport.startswith("memory"):
            async with stack.in_memory(busy.server(), modern=modern) as caller:
                yield caller, lambda: captured(audit)
            return
        headers = {"authorization": "Bearer alice-token"}
        app = stack.asgi_app(busy.server(auth=True), stateless=transport == "http-stateless")
        with serving(app) as url:
            async with stack.over_http(url, headers, modern=modern) as caller:
                yield caller, lambda: captured(audit)


@pytest.mark.parametrize("transport", ["memory", "memory-modern", "stdio", "stdio-modern", *HTTP])
@pytest.mark.cell("32 calls in flight over one session")
async def test_calls_in_flight_together_are_not_mixed(transport: str, tmp_path: Path) -> None:
    asked = {n: KINDS[n % len(KINDS)] for n in range(1, MEETING + 1)}
    async with meeting(transport, tmp_path) as (caller, records):
        answers = await asyncio.gather(*(caller.tool(kind, _arguments(n)) for n, kind in asked.items()))
        found = records()
    for (n, kind), answer in zip(asked.items(), answers, strict=True):
        assert (answer.content[0].text == f"{n} text-{n}") == (kind != "crashing")
    assert sorted(record["arguments"]["n"] for record in found) == sorted(asked)
    for record in found:
        n = record["arguments"]["n"]
        check_one(record, asked[n], n)
        if transport.startswith("http"):
            assert record["audit.actor.id"] == "alice"
    assert len({record["mcp_audit.call.id"] for record in found}) == MEETING


def check_one(record: Record, tool: str, n: int) -> None:
    """Everything in the record of a call that began its tool speaks of this call."""
    assert record["gen_ai.tool.name"] == tool
    assert record["arguments"] == _arguments(n)
    assert record["mcp_audit.purpose"] == f"purpose/{n}"
    # What the leaking tool left behind may come before the end of its own call, and never into another one.
    assert set(record["mcp_audit.resources"]) - {f"late/{n}" if tool == "leaking" else ""} == {f"call/{n}"}
    assert record.get("mcp_audit.data.classes") == ([f"inner/{n}"] if tool == "nested" else None)
    if tool == "crashing":
        assert (record["mcp_audit.outcome.detail"], record["error.type"]) == ("tool_error", "KeyError")
    elif tool != "lasting":
        assert (record["mcp_audit.outcome.detail"], record.get("error.type")) == ("ok", None)


def _arguments(n: int) -> dict[str, Any]:
    return {"n": n, "text": f"text-{n}"}


class Sent:
    """One call of the stress: who asked what, and what came back. ``answer`` None: the client gave it up."""

    def __init__(self, n: int, user: str, tool: str) -> None:
        self.n = n
        self.user = user
        self.tool = tool
        self.answer: Any = None

    @property
    def arguments(self) -> dict[str, Any]:
        return {"n": self.n, "text": {"no": "text"}} if self.tool == "invalid" else _arguments(self.n)

    @property
    def name(self) -> str:
        return {"invalid": "plain", "absent": f"absent_{self.n}"}.get(self.tool, self.tool)


async def worker(caller: stack.Caller, todo: list[Sent], rng: random.Random, busy: Busy) -> None:
    """Do one call after the other, giving up those to ``lasting`` at any time."""
    while todo:
        sent = todo.pop()
        if sent.tool == "lasting":
            moment = rng.choice([0.0, 0.001, 0.01, 0.1])
            # mcp 1.x drops a cancel that comes before the tool has its turn.
            begun = None if stack.V2 and rng.random() < 0.5 else (lambda n=sent.n: n in busy.started)
            sent.answer = await caller.given_up("lasting", sent.arguments, moment, begun)
        else:
            sent.answer = await caller.tool(sent.name, sent.arguments)


@pytest.mark.parametrize("transport", HTTP)
@pytest.mark.cell("interleaved calls of several users")
async def test_every_record_is_of_the_call_that_the_client_made(transport: str) -> None:
    modern = transport == "http-modern"
    if modern and not stack.V2:
        pytest.skip(f"{stack.NAME} does not speak {stack.MODERN}")
    rng = random.Random(f"{SEED} {transport}")
    tools = [*KINDS, "plain", "lasting", "absent", "invalid"]
    # Only those who are let in.
    users = [token for token, claims in stack.TOKENS.items() if "read" in claims["scopes"]]
    everything = [Sent(n, rng.choice(users), rng.choice(tools)) for n in range(1, SIZE // (3 if stack.V2 else 2) + 1)]
    # A session of mcp 1.x breaks, with us and without, when a cancel and an answer cross: there the cancel comes first.
    busy = Busy(lasting=0.2 if stack.V2 or transport == "http-stateless" else 60.0)
    app = stack.asgi_app(busy.server(auth=True), stateless=transport == "http-stateless")
    with capture_audit() as audit, serving(app) as url:
        async with AsyncExitStack() as exits:
            workers = []
            for token in users:
                mine = [sent for sent in everything if sent.user == token]
                for session in range(2):
                    headers = {"authorization": f"Bearer {token}"}
                    caller = await exits.enter_async_context(stack.over_http(url, headers, modern=modern))
                    part = mine[session::2]
                    workers += [worker(caller, part, random.Random(rng.random()), busy) for _ in range(8)]
            await asyncio.gather(*workers)
            await _settled(audit, busy)
        records = captured(audit)
    by_number: dict[int, list[Record]] = {}
    for record in records:
        by_number.setdefault(record["arguments"]["n"], []).append(record)
    for sent in everything:
        of_it = by_number.pop(sent.n, [])
        if sent.n in busy.started or sent.answer is not None:
            assert len(of_it) == 1, f"{sent.n} {sent.tool}: {len(of_it)} records, answer {sent.answer!r:.200}"
        if of_it:
            check_against_client(of_it[0], sent, busy)
    assert by_number == {}, "records of calls that nobody made"
    assert len({record["mcp_audit.call.id"] for record in records}) == len(records)
    print(transport, Counter((sent.tool, "given up" if sent.answer is None else "answered") for sent in everything))


async def _settled(audit: AuditCapture, busy: Busy) -> None:
    """Wait until every tool that began has ended and has its record: a client that gave up does not wait for it."""
    for _ in range(400):
        recorded = {record["arguments"]["n"] for record in captured(audit)}
        if busy.started <= recorded and busy.started == set(busy.ended):
            return
        await asyncio.sleep(0.025)
    pytest.fail(f"no record of {sorted(busy.started - recorded)[:5]}, no end of {busy.started - set(busy.ended)}")


def check_against_client(record: Record, sent: Sent, busy: Busy) -> None:
    """The record says what this client sent, who it was, and how it ended for it."""
    detail = record["mcp_audit.outcome.detail"]
    assert record["audit.actor.id"] == stack.TOKENS[sent.user]["sub"]
    assert record["gen_ai.tool.name"] == sent.name
    assert record["arguments"] == sent.arguments
    if sent.tool in ("absent", "invalid"):
        assert detail == {"absent": "unknown_tool", "invalid": "invalid_arguments"}[sent.tool]
        assert _is_error(sent.answer)
        return
    if sent.n not in busy.started:
        # Given up before the tool had its turn.
        assert sent.answer is None and detail in ("cancelled", "client_gone")
        return
    check_one(record, sent.tool, sent.n)
    if sent.tool == "crashing":
        assert _is_error(sent.answer)
    elif sent.answer is not None and not isinstance(sent.answer, Exception):
        assert sent.answer.content[0].text == f"{sent.n} text-{sent.n}"
        assert detail == "ok"
    elif busy.ended[sent.n] == "returned":
        # The answer and the client's farewell crossed.
        assert detail in ("ok", "cancelled")
    else:
        assert detail in ("cancelled", "client_gone")


def _is_error(answer: Any) -> bool:
    return bool(getattr(answer, "is_error" if stack.V2 else "isError"))
