# SPDX-License-Identifier: Apache-2.0
"""Through a real Kafka broker that is killed under load, from one Collector's sink to another one's source."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from delivered import archived, arrived, batches, ids, send, whole, written
from journals import until
from kafka_broker import KafkaBroker, kafka, reader

from collector import Collector, post
from opentelemetry.instrumentation.mcp_audit.integrity.verify import verify_paths

# One broker for all of them.
pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("kafka")]

SENDER = ("audit.yaml", "sinks/file.yaml", "sinks/kafka.yaml")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    with kafka(tmp_path_factory.mktemp("kafka")) as running:
        yield running


def sender(home: Path, broker: KafkaBroker, topic: str, **env: str) -> Collector:
    return Collector(home, *SENDER, env={"AUDIT_KAFKA_BROKERS": broker.bootstrap, "AUDIT_KAFKA_TOPIC": topic, **env})


def count(collector: Collector) -> int:
    """How many records the archive holds, repeated ones too: cheap enough to ask all the time."""
    return sum(path.read_bytes().count(b'"audit.record.id"') for path in collector.archive.parent.glob("*.jsonl"))


def all_came(collector: Collector, lines: list[bytes]) -> bool:
    return count(collector) >= len(lines) and set(arrived(collector)) >= set(ids(lines))


def numbers(collector: Collector) -> dict[str, list[int]]:
    """Each stream's sequence numbers in the order in which they came into the archive, repeated ones left out."""
    found: dict[str, dict[int, None]] = {}
    for line in whole(collector):
        for group in json.loads(line)["resourceLogs"]:
            for one in group["scopeLogs"][0]["logRecords"]:
                facts = {item["key"]: item["value"] for item in one["attributes"]}
                stream = facts["audit.sequence.stream_id"]["stringValue"]
                found.setdefault(stream, {})[int(facts["audit.sequence.number"]["intValue"])] = None
    return {stream: list(came) for stream, came in found.items()}


def send_until_taken(collector: Collector, lines: list[bytes], size: int, pause: float) -> None:
    """One server's delivery: its lines in order, one request after the other, each until it is taken."""
    wait = threading.Event()
    for body in batches(lines, size):
        while post(collector.logs_url, body)[0] != 200:
            wait.wait(0.05)
        wait.wait(pause)


def test_a_broker_and_a_receiver_killed_under_load_cost_no_record_and_no_order(
    broker: KafkaBroker, tmp_path: Path
) -> None:
    broker.make_topic("load", 3)
    streams = [written(tmp_path / f"journal{n}", 600, 100) for n in range(4)]
    sent = [line for lines in streams for line in lines]
    receiver = reader(tmp_path / "receiver", broker, "load")
    with sender(tmp_path / "sender", broker, "load") as source, receiver:
        clients = [threading.Thread(target=send_until_taken, args=(source, lines, 10, 0.05)) for lines in streams]
        for one in clients:
            one.start()
        until(lambda: count(receiver) > 200, 30)
        broker.kill()
        seen, taken = count(receiver), count(source)
        # The sender goes on answering 200: what it took waits in its queue.
        until(lambda: count(source) > taken + 200, 30)
        broker.start()
        until(lambda: count(receiver) > seen + 100, 30)
        receiver.kill()
        receiver.start()
        for one in clients:
            one.join(60)
        until(lambda: all_came(receiver, sent), 60)
        assert source.scrape().get("otelcol_exporter_send_failed_log_records", 0) == 0
        source.stop()
        receiver.stop()
    assert set(arrived(receiver)) == set(ids(sent)) and len(sent) > 2400
    came = numbers(receiver)
    assert len(came) == 8, "four segments and their ledgers"
    assert {stream: seen for stream, seen in came.items() if seen != sorted(seen)} == {}
    report = verify_paths([receiver.archive.parent])
    assert (report.exit_code(), report.records) == (0, len(sent)), list(report.all_findings())


def test_a_topic_that_is_missing_is_waited_for_and_a_view_without_content_verifies(
    broker: KafkaBroker, tmp_path: Path
) -> None:
    lines = written(tmp_path / "journal", 50, 100)
    with sender(tmp_path / "sender", broker, "late", AUDIT_KAFKA_VIEW="metadata") as source:
        send(source, lines)
        until(lambda: "UNKNOWN_TOPIC_OR_PARTITION" in source.log_text(), 30)
        broker.make_topic("late", 1)
        with reader(tmp_path / "receiver", broker, "late") as receiver:
            until(lambda: all_came(receiver, lines), 60)
    full, view = b"".join(archived(source)), b"".join(archived(receiver))
    assert b"x" * 100 in full and b"x" * 100 not in view
    report = verify_paths([receiver.archive])
    assert (report.exit_code(), report.records) == (0, len(lines)), list(report.all_findings())


def test_what_no_sink_took_is_not_committed_and_what_is_no_record_stops_nothing(
    broker: KafkaBroker, tmp_path: Path, small_disk: Path
) -> None:
    broker.make_topic("full", 1)
    broker.produce("full", "this is no OTLP")
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 1_000_000)
    receiver = reader(tmp_path / "receiver", broker, "full")
    receiver.archive = small_disk / "archive" / "audit.jsonl"
    receiver.env["AUDIT_JSONL"] = str(receiver.archive)
    lines = written(tmp_path / "journal", 100, 2000)
    with sender(tmp_path / "sender", broker, "full") as source, receiver:
        send(source, lines)
        until(lambda: "failed to unmarshal message" in receiver.log_text(), 60)
        # It is asked again after a second and more: time enough to commit what must not be committed.
        until(lambda: receiver.log_text().count("no space left on device") >= 3, 30)
        receiver.kill()
        filler.unlink()
        receiver.start()
        until(lambda: all_came(receiver, lines), 60)


def test_a_sender_killed_during_an_outage_loses_nothing(broker: KafkaBroker, tmp_path: Path) -> None:
    """Its order may suffer: what was under way goes to the end of its queue."""
    broker.make_topic("outage", 1)
    lines = written(tmp_path / "journal", 300)
    source = sender(tmp_path / "sender", broker, "outage").start()
    broker.kill()
    send(source, lines, 20)
    source.kill()
    broker.start()
    with source, reader(tmp_path / "receiver", broker, "outage") as receiver:
        until(lambda: all_came(receiver, lines), 60)
        assert verify_paths([receiver.archive]).exit_code() == 0


def test_what_kafka_refuses_for_good_is_dropped_counted_and_in_the_archive(broker: KafkaBroker, tmp_path: Path) -> None:
    """The known hole, so that the documentation says what is."""
    broker.make_topic("narrow", 1, max_message_bytes=100)
    lines = written(tmp_path / "journal", 3)
    with sender(tmp_path / "sender", broker, "narrow") as source:
        send(source, lines)
        until(lambda: source.scrape().get("otelcol_exporter_send_failed_log_records", 0) == len(lines), 30)
        assert "MESSAGE_TOO_LARGE" in source.log_text()
        assert arrived(source) == ids(lines)
