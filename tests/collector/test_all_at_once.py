# SPDX-License-Identifier: Apache-2.0
"""All sinks at once, as composed by repeated ``--config``: two audited servers under load, one Collector, six stores, and
each end that can fail killed in turn. Whatever was killed, every record is in every store."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import databases
import pytest
from datadog_intake import KEY, DatadogIntake, datadog_intake
from delivered import arrived, ids, lines_of
from hec import Act, Hec
from kafka_broker import KafkaBroker, kafka, reader
from loaded_server import LoadedServer
from served_command import serving
from sqlalchemy import text

from clickhouse import ClickHouse, clickhouse
from collector import Collector
from opentelemetry.instrumentation.mcp_audit.sink.engine import engine_of
from opentelemetry.instrumentation.mcp_audit.sink.migrate import migrate

# One broker at a time: those of test_kafka.py.
pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("kafka")]

SINKS = ("file", "splunk", "datadog", "clickhouse", "kafka", "sql")
TOKEN = "a-token-of-sixteen-bytes"
# The waits of a test; what is tried again, for how long and what is kept meanwhile is the configurations' own.
QUICK = "\n".join(
    ["exporters:"]
    + [
        f"  {exporter}: {{retry_on_failure: {{initial_interval: 200ms, max_interval: 1s}}}}"
        for exporter in ("splunk_hec", "otlp_http/datadog", "clickhouse/audit", "kafka/audit", "otlp_http/sql")
    ]
)
# So many bytes in a sink's queue are records that its store cannot have: the outage has begun.
WAITING = 100_000


@dataclass(frozen=True)
class Stores:
    """The ends of the six sinks, the archive aside."""

    database: databases.Server
    engine: ClickHouse
    broker: KafkaBroker
    hec: Hec
    datadog: DatadogIntake
    kept: Sequence[Path]
    """Where the relays put what they will never get rid of."""
    env: Mapping[str, str]
    """The settings of the sinks."""


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    """All of them running, the sink and the relays before them too."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    kept = [tmp_path / "splunk-kept.jsonl", tmp_path / "datadog-kept.jsonl"]
    with ExitStack() as stack, ThreadPoolExecutor(1) as beside:
        # A JVM three times over, and it waits for nobody.
        topic = beside.submit(_broker, stack, tmp_path / "kafka")
        database = stack.enter_context(databases.postgresql())
        engine = engine_of(database.url)
        migrate(engine)
        engine.dispose()
        clicks = stack.enter_context(clickhouse(tmp_path / "clickhouse"))
        hec, datadog = stack.enter_context(Hec()), stack.enter_context(datadog_intake())
        to = {"AUDIT_SINK_TO": database.url}
        sql = stack.enter_context(serving("sink", "--token-file", str(token), ready="/healthz", env=to))
        splunk, dog = (
            stack.enter_context(serving("relay", "--to", target, "--kept", str(file), ready="/-/metrics"))
            for target, file in zip((hec.url, datadog.url.removesuffix("/v1/logs")), kept, strict=True)
        )
        broker = topic.result()
        env = {
            **clicks.env,
            "AUDIT_KAFKA_BROKERS": broker.bootstrap,
            "AUDIT_SPLUNK_URL": f"{splunk}/services/collector",
            "AUDIT_SPLUNK_TOKEN": hec.token,
            "AUDIT_DATADOG_URL": f"{dog}/v1/logs",
            "DD_API_KEY": KEY,
            "AUDIT_SQL_SINK_URL": f"{sql}/v1/logs",
            "AUDIT_SQL_SINK_TOKEN": TOKEN,
        }
        yield Stores(database, clicks, broker, hec, datadog, kept, env)


def _broker(stack: ExitStack, home: Path) -> KafkaBroker:
    broker = stack.enter_context(kafka(home))
    broker.make_topic("mcp_audit", 3)
    return broker


def composed(home: Path, env: Mapping[str, str]) -> Collector:
    home.mkdir()
    quick = home / "quick.yaml"
    quick.write_text(QUICK)
    return Collector(home, "audit.yaml", *(f"sinks/{name}.yaml" for name in SINKS), quick, env=env)


def wait(condition: Callable[[], bool], what: str, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.1)


def more_calls(servers: Iterable[LoadedServer], count: int = 50) -> None:
    """Return when each server has answered so many more: nothing that is away holds up a call."""
    wanted = [(server, server.answered + count) for server in servers]
    wait(lambda: all(server.answered >= number for server, number in wanted), "answers to calls")


def of_exporter(collector: Collector, metric: str, exporter: str = "") -> float:
    """A metric of an exporter, or of all of them together."""
    with urllib.request.urlopen(f"http://127.0.0.1:{collector.metrics}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    found = [line for line in lines if line.startswith(metric) and f'exporter="{exporter}' in line]
    return sum(float(line.rpartition(" ")[2]) for line in found)


def wait_until_it_piles_up(collector: Collector, exporter: str) -> None:
    wait(lambda: of_exporter(collector, "otelcol_exporter_queue_size", exporter) > WAITING, f"a queue of {exporter}")


def rows(database: databases.Server, statement: str) -> list[str]:
    engine = engine_of(database.url)
    with engine.connect() as connection:
        found = [str(row[0]) for row in connection.execute(text(statement))]
    engine.dispose()
    return found


def lacking(expected: Counter[str], read: Mapping[str, Callable[[], Iterable[str]]], seconds: float) -> dict[str, int]:
    """How many records each store lacks when all are there, or when the time is over; stores that lack none are not named."""
    deadline, left = time.monotonic() + seconds, dict.fromkeys(read, len(expected))
    while left and time.monotonic() < deadline:
        counts = {name: len(set(expected) - set(read[name]())) for name in left}
        left = {name: count for name, count in counts.items() if count}
        time.sleep(0.3 if left else 0)
    return left


def verify(trail: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli", "verify", trail]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_every_record_is_in_every_store_whatever_was_killed_under_load(stores: Stores, tmp_path: Path) -> None:
    with ExitStack() as stack:
        collector = stack.enter_context(composed(tmp_path / "collector", stores.env))
        servers = [
            stack.enter_context(LoadedServer(tmp_path / name, name, collector.url)) for name in ("clinic", "bank")
        ]
        more_calls(servers)

        stores.database.kill()
        wait_until_it_piles_up(collector, "otlp_http/sql")
        more_calls(servers)
        stores.database.start()

        stores.broker.kill()
        wait_until_it_piles_up(collector, "kafka/audit")
        more_calls(servers)
        stores.broker.start()

        stores.hec.script = lambda events: Act(403, stored=False)
        wait(lambda: 403 in stores.hec.answered, "a refusal of HEC")
        wait_until_it_piles_up(collector, "splunk_hec")
        assert of_exporter(collector, "otelcol_exporter_send_failed_log_records") == 0

        # With all that Splunk has not got in a queue, and what it had in flight to all the others.
        collector.kill()
        more_calls(servers)
        collector.start()
        more_calls(servers)
        stores.hec.script = lambda events: Act()
        more_calls(servers)

        assert [server.end() for server in servers] == [0, 0], [server.stderr() for server in servers]
        journals = [lines_of(server.journal) for server in servers]
        expected = ids(line for lines in journals for line in lines)
        assert set(expected.values()) == {1}
        calls = [sum(b'"mcp_audit.tool_call"' in line for line in lines) for lines in journals]
        assert calls == [server.answered for server in servers], "a record for each answered call"

        receiver = stack.enter_context(reader(tmp_path / "receiver", stores.broker))
        read: dict[str, Callable[[], Iterable[str]]] = {
            "archive": lambda: arrived(collector),
            "splunk": lambda: stores.hec.ids,
            "datadog": lambda: stores.datadog.ids,
            "clickhouse": lambda: stores.engine.query("SELECT record_id FROM mcp_audit_records").split(),
            "kafka": lambda: arrived(receiver),
            "sql": lambda: rows(stores.database, "SELECT record_id FROM audit_log"),
        }
        assert lacking(expected, read, 60) == {}
        assert of_exporter(collector, "otelcol_exporter_send_failed_log_records") == 0
        collector.stop()
        receiver.stop()

    assert {name: set(ask()) - set(expected) for name, ask in read.items()} == dict.fromkeys(read, set())
    # These two deduplicate by themselves, in the others the reader does it by the record's id.
    assert {name: Counter(read[name]()) == expected for name in ("clickhouse", "sql")} == {
        "clickhouse": True,
        "sql": True,
    }
    assert rows(stores.database, "SELECT record_id FROM audit_conflict") == []
    assert rows(stores.database, "SELECT reason FROM audit_rejected") == []
    assert [file for file in stores.kept if file.exists()] == []
    trails = [str(collector.archive.parent), stores.database.url, stores.engine.url, str(receiver.archive.parent)]
    for trail in trails:
        code, said = verify(trail)
        assert code == 0, said
        assert f"VALID: {len(expected)} records" in said, said
