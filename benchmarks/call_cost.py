# SPDX-License-Identifier: Apache-2.0
"""What an audited call costs, beside the MCP SDK's own tracing span, in one run; and what a record costs beside its floor.

    python benchmarks/call_cost.py [--rounds 5] [--calls 2000]

Every mode runs in fresh processes, in turns, so that drift of the machine hits all alike; figures are medians over the
calls of a process, then over the processes. MCPServer of mcp 2.x, direct in-process client, journaled, level request,
redaction and chain on, OTel logs off. "Floor in situ" is the same server where the call is followed, at the place of our
hook, by json.dumps + SHA-256 + write of the journal's record of it, ready made, and by nothing else: no audit in Python
that writes such a record before the answer can cost less. (In a loop of its own the same takes half as long: there
processor caches hold nothing else.)
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from typing import Any

SMALL: dict[str, Any] = {"a": 1, "b": 2}
LARGE: dict[str, Any] = {
    "query": "select name, email from customers where region = 'emea' order by created_at desc limit 50",
    "filters": [{"field": "region", "op": "eq", "value": "emea"}, {"field": "age", "op": "gt", "value": 30}],
    "options": {"limit": 50, "offset": 0, "explain": False, "timeout": 2.5, "tags": ["crm", "report", "weekly"]},
    "note": "x" * 200,
}
MODES = ("bare", "span", "floor", "audit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--worker", choices=(*MODES, "record", "memory", "start"))
    options = parser.parse_args()
    if options.worker in MODES:
        print(json.dumps(asyncio.run(_calls(options.worker, options.calls))))
    elif options.worker == "record":
        print(json.dumps(_record(options.calls)))
    elif options.worker == "memory":
        print(json.dumps(asyncio.run(_memory())))
    elif options.worker == "start":
        print(json.dumps(_start()))
    else:
        _report(options.rounds, options.calls)


def _report(rounds: int, calls: int) -> None:
    found: dict[str, list[dict[str, float]]] = {mode: [] for mode in (*MODES, "record", "start")}
    for _ in range(rounds):
        for mode, figures in found.items():
            figures.append(_worker(mode, calls))
    print(f"{rounds} rounds of {calls} calls; Python {sys.version.split()[0]}; medians, microseconds\n")
    print(f"{'payload':<10}{'no SDK':>10}{'span on':>10}{'in situ floor':>15}{'audited':>10}")
    medians = {payload: [_median(found[mode], payload) for mode in MODES] for payload in ("small", "large")}
    for payload, (bare, span, floor, audit) in medians.items():
        print(f"{payload:<10}{bare:>10.1f}{span:>10.1f}{floor:>15.1f}{audit:>10.1f}")
    print(
        f"\n{'added':<10}{'span':>10}{'floor':>10}{'audit':>10}{'audit/span':>12}{'audit/floor':>13}{'floor/span':>12}"
    )
    for payload, (bare, span, floor, audit) in medians.items():
        span, floor, audit = span - bare, floor - bare, audit - bare
        print(
            f"{payload:<10}{span:>10.1f}{floor:>10.1f}{audit:>10.1f}"
            f"{audit / span:>12.2f}{audit / floor:>13.2f}{floor / span:>12.2f}"
        )
    print(
        f"\n{'record':<10}{'floor':>10}{'journal':>10}{'ratio':>8}   (floor: json.dumps + SHA-256 + write of the same record)"
    )
    for payload in ("small", "large"):
        floor, ours = _median(found["record"], f"{payload}_floor"), _median(found["record"], f"{payload}_journal")
        print(f"{payload:<10}{floor:>10.1f}{ours:>10.1f}{ours / floor:>8.2f}")
    print(f"\ninstrument() in a process that has loaded the base instrumentor: {_median(found['start'], 'ms'):.1f} ms")
    print(
        f"100,000 audited calls: resident memory grew by {_worker('memory', calls)['grown_kb']:.0f} kB after the first 10,000"
    )


def _worker(mode: str, calls: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [sys.executable, __file__, "--worker", mode, "--calls", str(calls)],
            env={**os.environ, "OTEL_MCP_AUDIT_DIR": directory, "OTEL_MCP_AUDIT_OTEL_LOGS": "off"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _median(figures: list[dict[str, float]], name: str) -> float:
    return statistics.median(figure[name] for figure in figures)


def _server() -> Any:
    from mcp.server.mcpserver import MCPServer

    server = MCPServer("benchmark", log_level="ERROR")

    @server.tool()
    def add(a: int, b: int) -> int:
        return a + b

    @server.tool()
    def report(query: str, filters: list[Any], options: dict[str, Any], note: str) -> int:
        return len(query)

    return server


async def _calls(mode: str, calls: int) -> dict[str, float]:
    if mode == "span":
        _spans_on()
    if mode == "audit":
        _instrument()
    from mcp import Client

    server = _server()
    if mode == "floor":
        await _floor_in_situ(server)
    async with Client(server) as client:
        return {
            "small": await _timed(client, "add", SMALL, calls),
            "large": await _timed(client, "report", LARGE, calls),
        }


async def _floor_in_situ(server: Any) -> None:
    """Have every tool call followed by json.dumps + SHA-256 + write of the record that the journal has of such a call."""
    import wrapt
    from mcp import Client
    from mcp.server.runner import ServerRunner

    directory = os.environ["OTEL_MCP_AUDIT_DIR"]
    _instrument()
    async with Client(server) as client:
        await client.call_tool("add", SMALL)
        await client.call_tool("report", LARGE)
    _uninstrument()
    records: dict[str, Any] = {}
    for name in os.listdir(directory):
        # Beside the segment that has the calls there may be the next one, prepared, and the ledger.
        if name.endswith(".jsonl"):
            with open(os.path.join(directory, name), encoding="utf-8") as file:
                records.update(
                    (tool, json.loads(line)) for line in file for tool in ("add", "report") if f'"{tool}"' in line
                )
    descriptor = os.open(os.path.join(directory, "floor"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def followed(wrapped: Any, runner: Any, args: Any, kwargs: Any) -> Any:
        result = await wrapped(*args, **kwargs)
        if args[1] == "tools/call":
            _floor(records[args[2]["name"]], descriptor)
        return result

    wrapt.wrap_function_wrapper(ServerRunner, "_on_request", followed)


async def _timed(client: Any, tool: str, arguments: dict[str, Any], calls: int) -> float:
    times = []
    for number in range(calls + 200):
        started = time.perf_counter_ns()
        await client.call_tool(tool, arguments)
        if number >= 200:
            times.append(time.perf_counter_ns() - started)
    return statistics.median(times) / 1000


async def _memory() -> dict[str, float]:
    _instrument()
    from mcp import Client

    async with Client(_server()) as client:
        for number in range(100_000):
            await client.call_tool("add", SMALL)
            if number == 10_000:
                before = _resident_kb()
    return {"grown_kb": _resident_kb() - before}


def _resident_kb() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024


def _record(calls: int) -> dict[str, float]:
    """From facts to journal, without an SDK, beside the cheapest way to write the same record with a hash."""
    from opentelemetry.instrumentation.mcp_audit.assembly import Extras, assemble
    from opentelemetry.instrumentation.mcp_audit.notices import Notices
    from opentelemetry.instrumentation.mcp_audit.record.record import Invocation, Outcome
    from opentelemetry.instrumentation.mcp_audit.settings import load

    auditor = assemble(load(os.environ), Extras(), Notices(), os.environ).auditor
    figures: dict[str, float] = {}
    descriptor = os.open(
        os.path.join(os.environ["OTEL_MCP_AUDIT_DIR"], "floor"), os.O_WRONLY | os.O_CREAT | os.O_APPEND
    )
    for payload, tool, arguments in (("small", "add", SMALL), ("large", "report", LARGE)):
        lines: list[bytes] = []
        auditor.parts.journal.append, append = (
            _keeping(auditor.parts.journal.append, lines),
            auditor.parts.journal.append,
        )
        _one(auditor, Invocation, Outcome, tool, arguments)
        auditor.parts.journal.append = append
        content = json.loads(lines[0])
        audited = partial(_one, auditor, Invocation, Outcome, tool, arguments)
        figures[f"{payload}_journal"] = _timed_plain(audited, calls)
        figures[f"{payload}_floor"] = _timed_plain(partial(_floor, content, descriptor), calls)
    return figures


def _keeping(append: Any, lines: list[bytes]) -> Any:
    def keep(record: Any, mark: int | None = None) -> Any:
        receipt = append(record, mark)
        lines.append(receipt.line)
        return receipt

    return keep


def _one(auditor: Any, invocation: Any, outcome: Any, tool: str, arguments: dict[str, Any]) -> None:
    call = auditor.begin(
        invocation(
            method="tools/call",
            params={"name": tool, "arguments": arguments},
            request_id=7,
            received=time.time_ns(),
            started=time.monotonic_ns(),
            protocol_version="2026-07-28",
            client_name="benchmark",
            client_version="1",
        )
    )
    call.finish(outcome("ok", result_count=1))


def _floor(content: Any, descriptor: int) -> None:
    text = json.dumps(content).encode()
    hashlib.sha256(text).hexdigest()
    os.write(descriptor, text)


def _timed_plain(function: Any, calls: int) -> float:
    times = []
    for number in range(calls + 200):
        started = time.perf_counter_ns()
        function()
        if number >= 200:
            times.append(time.perf_counter_ns() - started)
    return statistics.median(times) / 1000


def _start() -> dict[str, float]:
    import opentelemetry.instrumentation.instrumentor  # noqa: F401

    started = time.perf_counter_ns()
    _instrument()
    return {"ms": (time.perf_counter_ns() - started) / 1e6}


def _instrument() -> None:
    from opentelemetry.instrumentation.mcp_audit.instrumentor import McpAuditInstrumentor

    McpAuditInstrumentor().instrument()


def _uninstrument() -> None:
    from opentelemetry.instrumentation.mcp_audit.instrumentor import McpAuditInstrumentor

    McpAuditInstrumentor().uninstrument()


def _spans_on() -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    from opentelemetry import trace

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    trace.set_tracer_provider(provider)


if __name__ == "__main__":
    main()
