# SPDX-License-Identifier: Apache-2.0
"""How fast ``verify`` reads, and in how much memory.

    python benchmarks/verify_speed.py [--megabytes 100] [--small] [--json]

Writes a journal with the package's own journal (records as a tool call over HTTP at level ``request`` makes them, with a
body, 4.4 kB a line; ``--small``: as one over stdio makes them, 2.7 kB a line), then verifies it in a process of its own:
MB/s of one core, and the process's peak memory. ``bare``, for comparison: reading the lines, parsing each as JSON with
the C parser of the standard library, SHA-256 over it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from opentelemetry.instrumentation.mcp_audit.integrity.canonical import sha256_hex
from opentelemetry.instrumentation.mcp_audit.integrity.verify import verify_paths
from opentelemetry.instrumentation.mcp_audit.journal.journal import Journal, Options
from opentelemetry.instrumentation.mcp_audit.journal.origin import Origin
from opentelemetry.instrumentation.mcp_audit.record.attributes import AttributeValue
from opentelemetry.instrumentation.mcp_audit.record.ids import uuid7
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord

RESOURCE: dict[str, AttributeValue] = {
    "service.name": "billing-tools",
    "service.version": "4.2.0",
    "host.name": "worker-17.example",
    "telemetry.sdk.language": "python",
    "telemetry.sdk.name": "opentelemetry",
    "telemetry.sdk.version": "1.45.2",
    "deployment.environment.name": "production",
}


def call(number: int) -> AuditRecord:
    """The record of one tool call over HTTP, with a body of about 560 bytes."""
    now, call_id = time.time_ns(), uuid7()
    arguments = {"query": f"customer {number}", "limit": 20, "fields": ["id", "name", "since"], "note": "x" * 420}
    body = json.dumps({"arguments": arguments, "salt": f"{number:032x}"}, separators=(",", ":"), sort_keys=True)
    attributes: dict[str, AttributeValue] = {
        "audit.record.id": call_id,
        "audit.action": "EXECUTE",
        "audit.outcome": "success",
        "audit.actor.id": f"user-{number % 50}",
        "audit.actor.type": "user",
        "audit.target.id": f"tool_{number % 9}",
        "audit.target.type": "tool",
        "audit.source.id": "mcp-client",
        "audit.schema.version": "1.0",
        "mcp.method.name": "tools/call",
        "mcp.protocol.version": "2026-07-28",
        "mcp.session.id": "hmac-sha256:0a1b2c3d:" + "5e" * 32,
        "gen_ai.tool.name": f"tool_{number % 9}",
        "gen_ai.operation.name": "execute_tool",
        "jsonrpc.request.id": str(number),
        "user.id": f"user-{number % 50}",
        "user.roles": ["reader", "billing"],
        "client.address": f"10.0.{number % 7}.{number % 200}",
        "network.transport": "tcp",
        "user_agent.original": "python-httpx/0.28.1",
        "mcp_audit.outcome.detail": "ok",
        "mcp_audit.decision": "allowed",
        "mcp_audit.duration_us": 1000 + number % 5000,
        "mcp_audit.request.bytes": len(body),
        "mcp_audit.actor.provenance": "verified",
        "mcp_audit.actor.issuer": "https://login.example",
        "mcp_audit.actor.client_id": "desk",
        "mcp_audit.tenant.id": f"tenant-{number % 5}",
        "mcp_audit.client.name": "desk",
        "mcp_audit.client.version": "2.1.0",
        "mcp_audit.call.id": call_id,
        "mcp_audit.request.id": f"req-{number}",
        "mcp_audit.level": "request",
        "mcp_audit.content.digest": sha256_hex(body.encode()),
    }
    observed = now + (1000 + number % 5000) * 1000
    return AuditRecord(
        "mcp_audit.tool_call", now, observed, attributes, body, f"{number + 1:032x}", f"{number + 1:016x}"
    )


_OVER_HTTP = (
    "mcp.session.id client.address user_agent.original mcp_audit.actor.issuer mcp_audit.actor.client_id "
    "mcp_audit.tenant.id user.roles audit.source.id mcp.protocol.version gen_ai.operation.name"
).split()


def small_call(number: int) -> AuditRecord:
    """The record of one tool call over stdio, with a body of about 100 bytes."""
    made = call(number)
    body = f'{{"arguments":{{"a":{number},"b":2}},"salt":"{number:032x}"}}'
    attributes = {name: value for name, value in made.attributes.items() if name not in _OVER_HTTP}
    attributes["mcp_audit.content.digest"] = sha256_hex(body.encode())
    return AuditRecord(made.event_name, made.time, made.observed, attributes, body, made.trace_id, made.span_id)


def write(directory: Path, megabytes: float, small: bool = False) -> tuple[int, int]:
    """A closed journal of that size; how many bytes and records it has."""
    resource = {"service.name": "calc"} if small else RESOURCE
    make = small_call if small else call
    origin = Origin(resource, "opentelemetry.instrumentation.mcp_audit", "0.1.0", "0" * 64, "1" * 64, ("mcp=2.3.0",))
    journal = Journal(directory, origin, Options(fsync="never"), say=lambda sentence: None)
    number = written = 0
    while written < megabytes * 1e6:
        journal.append(make(number))
        number += 1
        if number % 200 == 0:
            written = _bytes(directory)
    journal.close()
    return _bytes(directory), number


def bare(directory: Path) -> float:
    """Seconds for what no verification can do without."""
    began = time.process_time()
    for path in sorted(directory.glob("*.jsonl")):
        with open(path, "rb") as file:
            for line in file:
                json.loads(line)
                hashlib.sha256(line).hexdigest()
    return time.process_time() - began


def verified(directory: Path) -> dict[str, float]:
    """Verify in a new process: seconds of its processor, and its peak memory in MB before and after."""
    done = subprocess.run([sys.executable, __file__, "--verify", str(directory)], capture_output=True, check=True)
    made: dict[str, float] = json.loads(done.stdout)
    return made


def _verify_here(directory: str) -> dict[str, float]:
    before, began = _peak(), time.process_time()
    report = verify_paths([directory])
    seconds = time.process_time() - began
    return {"seconds": seconds, "exit_code": report.exit_code(strict=True), "before_mb": before, "peak_mb": _peak()}


def _peak() -> float:
    import resource  # where there is none (Windows) only this number is missing

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("*.jsonl"))


def measure(megabytes: float, small: bool = False) -> dict[str, float]:
    """All numbers of one run."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place) / "journal"
        size, records = write(directory, megabytes, small)
        run = min((verified(directory) for _ in range(3)), key=lambda one: one["seconds"])
        least = min(bare(directory) for _ in range(3))
    return {
        "megabytes": round(size / 1e6, 1),
        "bytes_a_record": round(size / records),
        "exit_code": run["exit_code"],
        "verify_mb_s": round(size / 1e6 / run["seconds"], 1),
        "verify_us_a_record": round(run["seconds"] / records * 1e6, 1),
        "bare_mb_s": round(size / 1e6 / least, 1),
        "peak_mb": round(run["peak_mb"], 1),
        "peak_mb_before": round(run["before_mb"], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--verify", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.verify:
        print(json.dumps(_verify_here(given.verify)))
        return
    found = measure(given.megabytes, given.small)
    if given.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:20} {value:g}")


if __name__ == "__main__":
    main()
