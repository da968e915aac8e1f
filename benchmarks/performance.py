# SPDX-License-Identifier: Apache-2.0
"""How fast each sink takes records from the Collector, in one table; with ``--write`` it becomes ``docs/performance.md``.

    make performance                                        # all, about five minutes; writes the page
    python benchmarks/performance.py --records 5000 --only "file archive"

Each row is one real Collector with ``audit.yaml`` and one file of ``collector-config/sinks/``, and the other end that the
tests use, on this machine. Records are posted in batches of 500 over four connections; the clock stops when the Collector
says that the sink has taken the last one. Then the other end is asked how many it has. A further sink is one line in
:data:`SINKS` and one function that starts its other end.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "helpers"), str(Path(__file__).parent)]

import databases  # noqa: E402
import pytest  # noqa: E402
import sink_postgresql  # noqa: E402
from delivered import arrived, batches  # noqa: E402
from otlp_requests import lines  # noqa: E402

from collector import Collector, free_port, post  # noqa: E402

CONNECTIONS = 4
BATCH = 500
BODY = 300
# A sink that has not taken all by then is not measured.
GIVEN_UP_SECONDS = 300
# How the tests' helpers say that something is not installed here.
_ABSENT = (pytest.skip.Exception, pytest.fail.Exception, ModuleNotFoundError)


@dataclass
class End:
    """The other end of a sink: settings for the Collector, and how many records are there now."""

    env: dict[str, str] = field(default_factory=dict)
    count: Callable[[Collector], int] = lambda collector: sum(arrived(collector).values())


class Sink(NamedTuple):
    """One row: the sink, its file, what is at the other end, and what starts that."""

    name: str
    config: str
    other_end: str
    start: Callable[[Path], AbstractContextManager[End]]


class Row(NamedTuple):
    sink: Sink
    seconds: float
    collector_cpu: float
    records: int
    arrived: int
    why_not: str = ""


@contextmanager
def archive(home: Path) -> Iterator[End]:
    yield End()


def sql(server: Callable[[Path], AbstractContextManager[str]]) -> Callable[[Path], AbstractContextManager[End]]:
    """``otel-mcp-audit sink`` into a database."""

    @contextmanager
    def start(home: Path) -> Iterator[End]:
        from sqlalchemy import text

        from opentelemetry.instrumentation.mcp_audit.sink.engine import engine_of
        from opentelemetry.instrumentation.mcp_audit.sink.migrate import migrate

        with server(home) as url:
            engine = engine_of(url)
            migrate(engine)

            def count(_: Collector) -> int:
                with engine.connect() as connection:
                    return int(connection.execute(text("SELECT count(*) FROM audit_log")).scalar_one())

            with sink_postgresql.sink(url) as (_, port):
                yield End({"AUDIT_SQL_SINK_URL": f"http://127.0.0.1:{port}/v1/logs"}, count)
            engine.dispose()

    return start


@contextmanager
def postgresql(home: Path) -> Iterator[str]:
    with databases.postgresql() as server:
        yield server.url


@contextmanager
def mariadb(home: Path) -> Iterator[str]:
    with databases.mariadb() as server:
        yield server.url


@contextmanager
def sqlite(home: Path) -> Iterator[str]:
    yield f"sqlite:///{home}/audit.db"


@contextmanager
def json_lines(home: Path) -> Iterator[End]:
    """``otel-mcp-audit sink`` into a file in the seed's shape."""
    path = home / "audit.jsonl"
    with sink_postgresql.sink(f"file:{path}?format=seed&max_megabytes=10000") as (_, port):
        url = f"http://127.0.0.1:{port}/v1/logs"
        yield End({"AUDIT_SQL_SINK_URL": url}, lambda _: path.read_bytes().count(b"\n"))


@contextmanager
def hec(home: Path) -> Iterator[End]:
    port = free_port()
    receiver = Collector(home / "hec", ROOT / "examples" / "splunk" / "stand-in.yaml")
    receiver.env |= {
        "HEC_ENDPOINT": f"127.0.0.1:{port}",
        "HEC_HEALTH_ENDPOINT": f"127.0.0.1:{receiver.health}",
        "HEC_JSONL": str(receiver.archive),
    }

    def count(_: Collector) -> int:
        files = receiver.archive.parent.glob("*.jsonl")
        return sum(path.read_bytes().count(b'"key":"audit_record_id"') for path in files)

    with receiver:
        url = f"http://127.0.0.1:{port}/services/collector"
        yield End({"AUDIT_SPLUNK_URL": url, "AUDIT_SPLUNK_TOKEN": "any"}, count)


@contextmanager
def datadog(home: Path) -> Iterator[End]:
    from datadog_intake import KEY, datadog_intake

    with datadog_intake() as intake:
        yield End({"AUDIT_DATADOG_URL": intake.url, "DD_API_KEY": KEY}, lambda _: len(intake.ids))


@contextmanager
def clickhouse(home: Path) -> Iterator[End]:
    import clickhouse as engines

    with engines.clickhouse(home / "clickhouse") as engine:
        yield End(engine.env, lambda _: engine.count())


@contextmanager
def kafka(home: Path) -> Iterator[End]:
    import kafka_broker

    topic = "performance"
    with kafka_broker.kafka(home / "kafka") as broker:
        broker.make_topic(topic, 3)
        receiver = kafka_broker.reader(home / "receiver", broker, topic)

        def count(_: Collector) -> int:
            return sum(arrived(receiver).values())

        with receiver:
            yield End({"AUDIT_KAFKA_BROKERS": broker.bootstrap, "AUDIT_KAFKA_TOPIC": topic}, count)


SINKS = [
    Sink("file archive", "file.yaml", "a file", archive),
    Sink("SQL: PostgreSQL", "sql.yaml", "`otel-mcp-audit sink`, PostgreSQL", sql(postgresql)),
    Sink("SQL: MariaDB", "sql.yaml", "`otel-mcp-audit sink`, MariaDB", sql(mariadb)),
    Sink("SQL: SQLite", "sql.yaml", "`otel-mcp-audit sink`, SQLite", sql(sqlite)),
    Sink("JSON lines, the seed's shape", "sql.yaml", "`otel-mcp-audit sink --to file:`", json_lines),
    Sink("Splunk", "splunk.yaml", "the HEC receiver of a second Collector", hec),
    Sink("Datadog", "datadog.yaml", "the tests' endpoint, in Python", datadog),
    Sink("ClickHouse", "clickhouse.yaml", "the engine (chdb) behind the tests' HTTP shim", clickhouse),
    Sink("Kafka", "kafka.yaml", "one broker, and a Collector that reads the topic meanwhile", kafka),
]


def measured(one: Sink, requests: list[bytes], records: int) -> Row:
    """One sink, in a Collector of its own."""
    with tempfile.TemporaryDirectory(prefix="performance-") as scratch:
        home = Path(scratch)
        try:
            with one.start(home) as end:
                collector = Collector(home / "collector", "audit.yaml", f"sinks/{one.config}", env=end.env)
                with collector:
                    return _timed(one, collector, end, requests, records)
        except _ABSENT as absent:
            return Row(one, 0, 0, records, 0, f"not measured: {str(absent).splitlines()[0]}")


def _timed(one: Sink, collector: Collector, end: End, requests: list[bytes], records: int) -> Row:
    assert collector.process is not None
    before, began = sink_postgresql.cpu_of(collector.process.pid), time.monotonic()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for status, said in pool.map(lambda body: post(collector.logs_url, body, seconds=120), requests):
            assert status == 200, (status, said)
    _until(lambda: collector.scrape().get("otelcol_exporter_sent_log_records", 0) >= records)
    seconds = time.monotonic() - began
    cpu = sink_postgresql.cpu_of(collector.process.pid) - before
    # Taken is not always there already: who reads a topic comes after.
    _until(lambda: end.count(collector) >= records, 60)
    return Row(one, seconds, cpu, records, end.count(collector))


def _until(condition: Callable[[], bool], seconds: float = GIVEN_UP_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return
        time.sleep(0.05)


# --- the page ----------------------------------------------------------------------------------------------------------


def table(rows: list[Row]) -> str:
    said = [
        "| sink | records/s | Collector's CPU, µs a record | arrived | file in `sinks/` | other end |",
        "|---|---:|---:|---:|---|---|",
    ]
    for row in rows:
        speed, cpu, there = (
            (row.why_not, "", "")
            if row.why_not
            else (
                f"{row.records / row.seconds:,.0f}",
                f"{row.collector_cpu / row.records * 1e6:.0f}",
                f"{row.arrived:,} of {row.records:,}",
            )
        )
        said.append(f"| {row.sink.name} | {speed} | {cpu} | {there} | `{row.sink.config}` | {row.sink.other_end} |")
    return "\n".join(said)


def page(rows: list[Row], sinks: list[dict[str, object]], load: float, line_bytes: int) -> str:
    described = "\n".join(f"```\n{sink_postgresql.sentences(found)}\n```" for found in sinks)
    return f"""# How fast the sinks are

Written by `make performance`, not by hand. Replay it with the same command; it needs what `make test` needs.

This run: {time.strftime("%Y-%m-%d", time.gmtime())}, {os.cpu_count()} cores shared by everything in a row, load
{load:.1f} before and {os.getloadavg()[0]:.1f} after (what else ran on the machine is in the numbers), Linux on
{platform.machine()}, Python {platform.python_version()}, {", ".join(versions())}.

## Through the Collector

One real Collector with `audit.yaml` and one sink, on this machine with its other end and with the sender. Records of a tool
call with a body of {BODY} bytes ({line_bytes} bytes a line of OTLP/JSON), in requests of {BATCH} over {CONNECTIONS} connections. Measured
from the first request to the last record that the sink's other end has acknowledged, queue on the disk (with fsync) included where
the sink has one. Where the other end is the tests', it may be what limits.

{table(rows)}

## `otel-mcp-audit sink` into PostgreSQL, beside a plain COPY

The same rows, as text already, by COPY straight into the same table with its indexes; both in batches of {BATCH}, each committed,
`synchronous_commit` and fsync on. `python benchmarks/sink_postgresql.py` is this part alone.

{described}
"""


def versions() -> Iterator[str]:
    for program in ("postgres", "mariadbd"):
        try:
            found = databases.program(program, program)
        except _ABSENT:
            continue
        said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
        yield f"{program} {said.split('Ver ')[-1].removeprefix('postgres (PostgreSQL) ').split()[0]}"
    for package in ("psycopg", "pymysql", "sqlalchemy", "protobuf", "orjson", "chdb"):
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            continue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--only", action="append", help="the name of a row; repeat")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page, with PostgreSQL beside COPY")
    given = parser.parse_args()
    if given.records < BATCH or given.records % BATCH:
        parser.error(f"--records: a multiple of {BATCH}")
    if given.write:
        # Without PostgreSQL the page's second half cannot be: said before the minutes that the first one takes.
        databases.program("postgres", "postgresql")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="performance-") as scratch:
        made = [line.encode() for line in lines(Path(scratch), given.records, BODY)]
    requests = batches(made, BATCH)
    rows = []
    for one in SINKS:
        if not given.only or one.name in given.only:
            rows.append(measured(one, requests, len(made)))
            print(table(rows[-1:]).splitlines()[-1], flush=True)
    if given.write:
        sinks = [sink_postgresql.measured(given.records, encoding) for encoding in ("protobuf", "json")]
        given.write.write_text(page(rows, sinks, load, len(made[1])))
    short = [row.sink.name for row in rows if not row.why_not and row.arrived < row.records]
    if short:
        sys.exit(f"not all records arrived: {', '.join(short)}")


if __name__ == "__main__":
    main()
