# SPDX-License-Identifier: Apache-2.0
"""The SQL sink into a real PostgreSQL, beside a plain COPY of the same rows into the same indexed table.

    python benchmarks/sink_postgresql.py [--records 50000] [--encoding protobuf|json] [--json]

Side by side in one run, in batches of 500, each committed: the command ``otel-mcp-audit sink`` as a process, over HTTP
from as many connections as it has workers; and COPY of rows that are text already, from as many connections. The CPU of
the sink and of the database is counted a record, for machines that others work on too. Then the memory of the sink: the
highest resident size while it works on a body of 16 MiB, over what it was when idle after its first request.

The server is Debian's package ``postgresql``, in a temporary directory; ``synchronous_commit`` and fsync stay on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timezone
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

import databases
from otlp_requests import joined, lines, protobuf

BATCH = 500
WORKERS = 4
BODY_BYTES = 16 * 1024 * 1024
MEDIA = {"json": "application/json", "protobuf": "application/x-protobuf"}
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--encoding", choices=sorted(MEDIA), default="protobuf", help="what a Collector sends")
    parser.add_argument("--json", action="store_true", help="the numbers as one JSON object")
    given = parser.parse_args()
    found = measured(given.records, given.encoding)
    print(json.dumps(found) if given.json else sentences(found))


def sentences(found: dict[str, Any]) -> str:
    return "\n".join(
        [
            f"{found['records']} records of {found['line_bytes']} B a line, {found['encoding']}, batches of {BATCH}; "
            f"{found['cores']} cores, load before {found['load_before']:.1f}, after {found['load_after']:.1f}",
            f"sink        {found['sink_rate']:8.0f} records/s  {found['sink_cpu_us']:5.0f} us CPU a record in the sink, "
            f"{found['sink_database_cpu_us']:.0f} in the database",
            f"plain COPY  {found['copy_rate']:8.0f} records/s  {found['copy_database_cpu_us']:5.0f} us CPU a record in the database",
            f"sink : plain COPY = {found['ratio']:.2f} times the time (both {WORKERS} connections)",
            *(
                f"a body of 16 MiB, {encoding}: {found['memory_mib'][encoding]:.0f} MiB over the idle process"
                for encoding in found["memory_mib"]
            ),
        ]
    )


def measured(records: int, encoding: str) -> dict[str, Any]:
    """All numbers of one run. ``ratio``: time of the sink over time of COPY."""
    from opentelemetry.instrumentation.mcp_audit.sink.engine import engine_of
    from opentelemetry.instrumentation.mcp_audit.sink.migrate import migrate

    with tempfile.TemporaryDirectory(prefix="sink-benchmark-") as scratch, databases.postgresql() as server:
        made = lines(Path(scratch) / "journal", records, 300)
        bodies = [joined(made[at : at + BATCH]) for at in range(0, len(made), BATCH)]
        if encoding == "protobuf":
            bodies = [protobuf(body) for body in bodies]
        engine = engine_of(server.url, connections=WORKERS)
        load = os.getloadavg()[0]
        # In turn, twice, the better of each: who comes first has the emptier disk.
        sinks, copies = [], []
        for _ in range(2):
            for measure, results in ((_copied, copies), (_sent, sinks)):
                databases.empty(engine)
                migrate(engine)
                results.append(measure(server, engine, bodies, encoding))
        sink, copy = min(sinks, key=_seconds), min(copies, key=_seconds)
        databases.empty(engine)
        migrate(engine)
        memory = {kind: _grown(server.url, kind, made[0]) for kind in ("protobuf", "json")}
        engine.dispose()
    return {
        "records": records,
        "encoding": encoding,
        "line_bytes": len(made[1]),
        "cores": os.cpu_count(),
        "load_before": load,
        "load_after": os.getloadavg()[0],
        "sink_rate": records / sink["seconds"],
        "sink_cpu_us": sink["cpu"] / records * 1e6,
        "sink_database_cpu_us": sink["database"] / records * 1e6,
        "copy_rate": records / copy["seconds"],
        "copy_database_cpu_us": copy["database"] / records * 1e6,
        "ratio": sink["seconds"] / copy["seconds"],
        "memory_mib": memory,
    }


def _seconds(result: dict[str, float]) -> float:
    return result["seconds"]


def _sent(server: databases.Server, engine: Any, bodies: Sequence[bytes], encoding: str) -> dict[str, float]:
    """The bodies through the command, over HTTP."""
    from sqlalchemy import text

    with sink(server.url) as (pid, port):
        post(port, encoding, [b"" if encoding == "protobuf" else b"{}"] * WORKERS)
        before, database, began = cpu_of(pid), cpu_of_database(server), time.monotonic()
        _in_parallel(lambda share: post(port, encoding, share), bodies)
        seconds = time.monotonic() - began
        found = {"seconds": seconds, "cpu": cpu_of(pid) - before, "database": cpu_of_database(server) - database}
    with engine.connect() as connection:
        there = connection.execute(text("SELECT count(*) FROM audit_log")).scalar_one()
        assert there == len(bodies) * BATCH, f"{there} rows"
    return found


def _copied(server: databases.Server, engine: Any, bodies: Sequence[bytes], encoding: Any) -> dict[str, float]:
    """The rows that the sink makes of the bodies, as text already, by COPY straight into the table."""
    from opentelemetry.instrumentation.mcp_audit.sink.copy_text import NAMES, copy_text
    from opentelemetry.instrumentation.mcp_audit.sink.received import Received, decode
    from opentelemetry.instrumentation.mcp_audit.sink.rows import row_of

    now = datetime.now(timezone.utc)
    texts = []
    for body in bodies:
        items = [item for item in decode(body, encoding) if isinstance(item, Received)]
        texts.append(copy_text([{**row_of(item), "received_at": now} for item in items]))

    def put(share: Sequence[bytes]) -> None:
        with engine.connect() as connection:
            driver = connection.connection.driver_connection
            for part in share:
                with driver.cursor() as cursor, cursor.copy(f"COPY audit_log ({', '.join(NAMES)}) FROM STDIN") as copy:
                    copy.write(part)
                driver.commit()

    before, began = cpu_of_database(server), time.monotonic()
    _in_parallel(put, texts)
    return {"seconds": time.monotonic() - began, "database": cpu_of_database(server) - before}


def _in_parallel(work: Callable[[Sequence[bytes]], None], parts: Sequence[bytes]) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(work, [parts[start::WORKERS] for start in range(WORKERS)]))


def _grown(url: str, encoding: str, line: str) -> float:
    """MiB over the idle process while it takes a body as large as may be."""
    with tempfile.TemporaryDirectory(prefix="sink-benchmark-") as scratch:
        count = BODY_BYTES // 1500
        made = lines(Path(scratch), count, 300)
    pack: Callable[[bytes], bytes] = protobuf if encoding == "protobuf" else bytes
    size = len(pack(joined(made[:1000]))) / 1000
    body = pack(joined(made[: int(BODY_BYTES * 0.98 / size)]))
    assert BODY_BYTES * 0.9 < len(body) <= BODY_BYTES, len(body)
    with sink(url) as (pid, port):
        post(port, encoding, [pack(joined(made[:1]))])
        # Writing 5 sets the highest resident size back to the present one (proc(5)).
        for each in _family(pid):
            Path(f"/proc/{each}/clear_refs").write_text("5")
        idle = _peak_kib(pid)
        post(port, encoding, [body])
        return (_peak_kib(pid) - idle) / 1024


def _peak_kib(pid: int) -> int:
    statuses = [Path(f"/proc/{each}/status").read_text() for each in _family(pid)]
    return sum(int(status.split("VmHWM:")[1].split()[0]) for status in statuses)


# --- the command -------------------------------------------------------------------------------------------------------


@contextmanager
def sink(url: str) -> Iterator[tuple[int, int]]:
    """``otel-mcp-audit sink`` into this database: process id and port."""
    port = databases.free_port()
    command = [sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli", "sink"]
    command += ["--listen", f"127.0.0.1:{port}", "--workers", str(WORKERS)]
    process = subprocess.Popen(command, env={**os.environ, "AUDIT_SINK_TO": url}, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit("the sink did not start")
            time.sleep(0.1)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(30)


def _answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def post(port: int, encoding: str, bodies: Sequence[bytes]) -> None:
    """Send, over one connection; each must be answered with 200."""
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    for body in bodies:
        connection.request("POST", "/v1/logs", body, {"content-type": MEDIA[encoding]})
        answer = connection.getresponse()
        said = answer.read()
        assert answer.status == 200, (answer.status, said[:200])
    connection.close()


def cpu_of(pid: int) -> float:
    """User and system seconds of a process and of all that it started and that still run."""
    total = 0
    for each in _family(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def _family(pid: int) -> list[int]:
    """The process and all under it."""
    children = [
        int(child) for each in Path(f"/proc/{pid}/task").iterdir() for child in (each / "children").read_text().split()
    ]
    return [pid, *(one for child in children for one in _family(child))]


def cpu_of_database(server: databases.Server) -> float:
    """The same of a server and all its processes, also those that have ended."""
    parent = server.pid
    total = 0.0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it has just ended, and is then among its parent's children
        if int(fields[1]) == parent:
            total += int(fields[11]) + int(fields[12])
        elif int(entry.name) == parent:
            total += sum(map(int, fields[11:15]))
    return total / TICKS


if __name__ == "__main__":
    main()
