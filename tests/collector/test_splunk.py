# SPDX-License-Identifier: Apache-2.0
"""`sinks/splunk.yaml` with the real Collector: what reaches HEC, and what each refusal of HEC costs, without and with the relay.

Splunk itself cannot run here. The other end is the Collector's own HEC receiver once, and else a small server that stands
for Splunk (`helpers/hec.py`), because the receiver refuses nothing.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import threading
from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from delivered import arrived, ids, send, written
from hec import Act, Event, Hec, parsed
from journals import until
from served_command import serving

from collector import Collector, free_port, join_lines, post

pytestmark = pytest.mark.timeout(120)

HERE = Path(__file__).parent / "splunk"
# A segment and a ledger as a journal wrote them, and what the real exporter made of them: `test_splunk_addon.py` reads it too.
JOURNAL = (HERE / "journal.jsonl").read_bytes().splitlines()
EVENTS = HERE / "events.jsonl"
CONFIGS = ("audit.yaml", "sinks/file.yaml", "sinks/sql.yaml", "sinks/splunk.yaml")
# Each request that comes in becomes one request to HEC, and no wait is longer than a test should be.
IMPATIENT = """
exporters:
  splunk_hec:
    timeout: {timeout}
    retry_on_failure: {{initial_interval: 100ms, max_interval: 300ms}}
    sending_queue: {{num_consumers: 16, batch: {{min_size: 1, flush_timeout: 10ms}}}}
"""
STAND_IN = Path(__file__).parents[2] / "examples" / "splunk" / "stand-in.yaml"


def sending(home: Path, url: str, timeout: str = "1s", **env: str) -> Collector:
    """A Collector with archive, SQL and Splunk composed, which sends to the HEC at ``url``."""
    home.mkdir(parents=True)
    overlay = home / "impatient.yaml"
    overlay.write_text(IMPATIENT.format(timeout=timeout))
    env = {"AUDIT_SPLUNK_URL": f"{url}/services/collector", "AUDIT_SPLUNK_TOKEN": "secret-token", **env}
    # Nobody listens for SQL: a sink that is away takes nothing from its neighbours.
    env["AUDIT_SQL_SINK_URL"] = f"http://127.0.0.1:{free_port()}/v1/logs"
    return Collector(home, *CONFIGS, overlay, env=env)


def relay(target: str, kept: Path) -> AbstractContextManager[str]:
    """`otel-mcp-audit relay`; it gives the sink two seconds for an answer."""
    return serving("relay", "--timeout", "2", "--to", target, "--kept", str(kept), ready="/-/metrics")


def test_what_reaches_hec_is_what_the_add_on_was_written_for(tmp_path: Path) -> None:
    """Exactly, event by event; `MCP_AUDIT_WRITE_GOLDEN=1` writes the file anew, to be read before it is committed."""
    with Hec() as hec, sending(tmp_path / "c", hec.url) as collector:
        send(collector, JOURNAL)
        until(lambda: len(hec.events) == len(JOURNAL))
        assert hec.paths == {"/services/collector"}
        assert "secret-token" not in collector.log_text()
    got = sorted(hec.events, key=lambda event: str(event["event"]["audit_record_id"]))
    if os.environ.get("MCP_AUDIT_WRITE_GOLDEN"):
        EVENTS.write_text("".join(f"{json.dumps(event)}\n" for event in got))
    assert got == [json.loads(line) for line in EVENTS.read_text().splitlines()]
    for event in got:
        # Splunk extracts fields from an event's first characters: the content, which may be long, must be behind them all.
        assert list(event["event"])[-1] == "x_content" or "x_content" not in event["event"]


def test_every_value_of_a_record_is_in_its_event() -> None:
    """Held against the journal's lines: a value that the transform lost or changed would be a fact that Splunk has not."""
    events = {event["event"]["audit_record_id"]: event for event in map(json.loads, EVENTS.read_text().splitlines())}
    for line in JOURNAL:
        (group,) = json.loads(line)["resourceLogs"]
        ((record,),) = [scope["logRecords"] for scope in group["scopeLogs"]]
        facts = {item["key"].replace(".", "_"): _value(item["value"]) for item in record["attributes"]}
        event = events[facts["audit_record_id"]]
        facts["event_name"], facts["time_unix_nano"] = record["eventName"], record["timeUnixNano"]
        for key, name in (("traceId", "trace_id"), ("spanId", "span_id")):
            if key in record:
                facts[name] = record[key]
        if "body" in record:
            facts["x_content"] = record["body"]["stringValue"]
        resource = {item["key"]: item["value"]["stringValue"] for item in group["resource"]["attributes"]}
        for key in ("service.name", "host.name"):
            if key in resource:
                facts[key.replace(".", "_")] = resource[key]
        added = {key: value for key, value in event["event"].items() if key not in facts}
        assert {key: event["event"][key] for key in facts} == facts
        assert added == {"mcp_audit_collector_peer": "127.0.0.1"}
        assert event["fields"] == {
            "ix_event": record["eventName"],
            "ix_record_id": facts["audit_record_id"],
            "ix_stream": facts["audit_sequence_stream_id"],
            "ix_number": str(facts["audit_sequence_number"]),
            "ix_hash": facts["mcp_audit_record_hash"],
            "ix_previous": facts.get("audit_sequence_previous_hash", "none"),
            "ix_service": resource.get("service.name", "none"),
        }
        assert event["host"] == resource.get("host.name", "unknown")
        assert (event["index"], event["source"], event["sourcetype"]) == ("mcp_audit", "otel-mcp-audit", "mcp:audit")
        assert event["time"] == pytest.approx(int(record["timeUnixNano"]) / 1e9, abs=0.001)


def _value(value: dict[str, Any]) -> Any:
    ((kind, inner),) = value.items()
    if kind == "intValue":
        return int(inner)
    return [item["stringValue"] for item in inner["values"]] if kind == "arrayValue" else inner


def test_into_the_collectors_own_receiver_in_the_metadata_view(tmp_path: Path) -> None:
    """Every record, once, with its fields; no content; and a sender does not choose index, source or token."""
    port = free_port()
    lines = written(tmp_path / "journal", 300, size=60)
    steering = {f"com.splunk.{name}": "elsewhere" for name in ("index", "source", "sourcetype", "hec.access_token")}
    steering["x.content"] = "smuggled into a view without content"
    steered = [_with_resource(line, steering) for line in lines]
    receiver = Collector(tmp_path / "receiver", STAND_IN, env={"HEC_ENDPOINT": f"127.0.0.1:{port}"})
    receiver.env |= {"HEC_HEALTH_ENDPOINT": f"127.0.0.1:{receiver.health}", "HEC_JSONL": str(receiver.archive)}
    with receiver, sending(tmp_path / "c", f"http://127.0.0.1:{port}", AUDIT_SPLUNK_VIEW="metadata") as collector:
        for at in range(0, len(steered), 100):
            assert post(collector.logs_url, join_lines(steered[at : at + 100]))[0] == 200
        until(lambda: len(_received(receiver)) == len(lines), 30)
        # The same records, whole, in the archive beside it: each sink has its own view.
        assert arrived(collector) == ids(lines)
    got = _received(receiver)
    assert Counter(record["body"]["audit_record_id"] for record in got) == ids(lines)
    assert all("x_content" not in record["body"] for record in got)
    assert sum("mcp_audit_content_digest" in record["body"] for record in got) == 300
    for record in got:
        assert record["resource"]["com.splunk.index"] == "mcp_audit"
        assert record["resource"]["com.splunk.source"] == "otel-mcp-audit"
        assert record["resource"]["com.splunk.sourcetype"] == "mcp:audit"
        assert set(record["fields"]) == {
            "ix_event",
            "ix_record_id",
            "ix_stream",
            "ix_number",
            "ix_hash",
            "ix_previous",
            "ix_service",
        }


def _with_resource(line: bytes, attributes: dict[str, str]) -> bytes:
    tree = json.loads(line)
    more = [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()]
    tree["resourceLogs"][0]["resource"]["attributes"] += more
    for record in tree["resourceLogs"][0]["scopeLogs"][0]["logRecords"]:
        record["attributes"] += [one for one in more if one["key"] != "com.splunk.hec.access_token"]
    return json.dumps(tree, separators=(",", ":")).encode()


def _received(receiver: Collector) -> list[dict[str, Any]]:
    found = []
    for path in receiver.archive.parent.glob("*.jsonl"):
        for line in path.read_bytes().splitlines():
            if not line.endswith(b"]}]}]}"):
                continue  # still being written
            for group in json.loads(line)["resourceLogs"]:
                resource = {item["key"]: next(iter(item["value"].values())) for item in group["resource"]["attributes"]}
                for record in group["scopeLogs"][0]["logRecords"]:
                    body = {item["key"]: item["value"] for item in record["body"]["kvlistValue"]["values"]}
                    body = {key: next(iter(value.values()), None) for key, value in body.items()}
                    fields = {item["key"]: next(iter(item["value"].values())) for item in record["attributes"]}
                    found.append({"resource": resource, "body": body, "fields": fields})
    return found


FAULTS = ("none", "400", "401", "403", "404", "429", "500", "503", "slow", "reset", "reset-after")
DROPPED = {"400", "401", "403"}
PER_BATCH = 20


class Faults:
    """A HEC that meets each batch with its fault when it comes the first time, and takes it when it comes again."""

    def __init__(self, batches: dict[str, list[bytes]]) -> None:
        self.of = {record_id: fault for fault, lines in batches.items() for record_id in ids(lines)}
        self.met: set[str] = set()
        self.over = threading.Event()

    def __call__(self, events: list[Event]) -> Act:
        (fault,) = {self.of[event["event"]["audit_record_id"]] for event in events}
        if fault in self.met or fault == "none":
            return Act()
        self.met.add(fault)
        if fault == "slow":
            return Act(wait=self.over)
        if fault.startswith("reset"):
            return Act(None, stored=fault == "reset-after")
        return Act(int(fault), stored=False)


def batches_of(directory: Path) -> dict[str, list[bytes]]:
    lines = written(directory, PER_BATCH * len(FAULTS))
    return {fault: lines[at * PER_BATCH : (at + 1) * PER_BATCH] for at, fault in enumerate(FAULTS)}


def all_ids(batches: dict[str, list[bytes]], *faults: str) -> set[str]:
    return {record_id for fault in faults for record_id in ids(batches[fault])}


def at_least(hec: Hec, once: set[str], twice: set[str]) -> bool:
    """Whether exactly these are indexed, and those of ``twice`` again. (On a busy machine another answer may be late too.)"""
    copies = hec.ids
    return set(copies) == once and all(copies[record_id] >= 2 for record_id in twice)


def test_without_the_relay_400_401_and_403_cost_what_was_in_flight(tmp_path: Path) -> None:
    """Everything else that can go wrong costs nothing but a second copy, where the answer came too late or not at all."""
    batches = batches_of(tmp_path / "journal")
    faults = Faults(batches)
    survive = all_ids(batches, *(fault for fault in FAULTS if fault not in DROPPED))
    twice = all_ids(batches, "slow", "reset-after")
    with Hec(faults) as hec, sending(tmp_path / "c", hec.url) as collector:
        for lines in batches.values():
            send(collector, lines)
        until(lambda: at_least(hec, survive, twice) and faults.met == set(FAULTS) - {"none"}, 40)
        lost = "otelcol_exporter_send_failed_log_records_total"
        until(lambda: _scraped(collector, lost) == PER_BATCH * len(DROPPED), 20)
        faults.over.set()
        assert arrived(collector) == Counter(all_ids(batches, *FAULTS))  # the archive has them all
    assert set(hec.ids) == survive


def _scraped(collector: Collector, name: str) -> float:
    found = collector.scrape()
    return found.get(name, found.get(name.removesuffix("_total"), 0.0))


def test_with_the_relay_nothing_is_lost(tmp_path: Path) -> None:
    """What was refused with 400 is in the relay's file, with the reason; everything else is in Splunk."""
    batches = batches_of(tmp_path / "journal")
    faults = Faults(batches)
    kept = tmp_path / "kept.jsonl"
    indexed = all_ids(batches, *(fault for fault in FAULTS if fault != "400"))
    twice = all_ids(batches, "slow", "reset-after")
    with Hec(faults) as hec, relay(hec.url, kept) as url, sending(tmp_path / "c", url, timeout="8s") as collector:
        for lines in batches.values():
            send(collector, lines)
        until(lambda: at_least(hec, indexed, twice) and kept.exists() and faults.met == set(FAULTS) - {"none"}, 60)
        faults.over.set()
        assert _scraped(collector, "otelcol_exporter_send_failed_log_records_total") == 0
    (line,) = kept.read_text().splitlines()
    row = json.loads(line)
    assert row["status"] == 400 and json.loads(row["answer"])["text"] == "Incorrect index"
    body = base64.b64decode(row["body"])
    body = gzip.decompress(body) if row["headers"].get("content-encoding") == "gzip" else body
    assert {event["event"]["audit_record_id"] for event in parsed(body)} == all_ids(batches, "400")
    assert "secret-token" not in line


def test_what_waits_for_splunk_survives_a_kill(tmp_path: Path) -> None:
    """HEC is not there, then busy; the Collector is killed meanwhile. Nothing is given up."""
    lines = written(tmp_path / "journal", 200)
    busy = [True]
    with Hec(lambda events: Act(503, stored=False) if busy[0] else Act()) as hec:
        collector = sending(tmp_path / "c", f"http://127.0.0.1:{free_port()}")
        with collector:
            send(collector, lines[:100])
            collector.kill()
            collector.env["AUDIT_SPLUNK_URL"] = f"{hec.url}/services/collector"
            collector.start()
            send(collector, lines[100:])
            until(lambda: 503 in hec.answered, 20)
            assert hec.events == []
            busy[0] = False
            until(lambda: set(hec.ids) == set(ids(lines)), 30)
