# SPDX-License-Identifier: Apache-2.0
"""What it costs to get a backlog to a Collector: our shipper beside the stock batch processor with the OTLP exporters.

Side by side in one run, against one endpoint: records acknowledged per CPU second of the sending process (user and
system, all threads). Each sender is a process of its own. ``--collector URL`` (and ``--grpc URL``) name a running Collector; without, a
process on the loopback answers 200 and reads nothing of it, which measures the sender as well.

    python benchmarks/shipping.py                       # 200,000 records, 20,000 for the stock pipeline
    python benchmarks/shipping.py --records 1000000 --only ours
    python benchmarks/shipping.py --latency
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

HELPERS = str(Path(__file__).parents[1] / "tests" / "helpers")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--stock", type=int, default=20_000, help="records for the stock pipeline, which is slow")
    parser.add_argument("--collector", help="http://host:port of a Collector; a local sink when not given")
    parser.add_argument("--grpc", help="http://host:port of its gRPC receiver; without it gRPC is not measured")
    parser.add_argument("--only", choices=("ours", "stock"))
    parser.add_argument("--latency", action="store_true", help="only the latency of an idle server's record")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--directory", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        print(json.dumps(part(given)))
        return
    sink = None
    if given.collector is None:
        sink, given.collector = local_sink()
    try:
        if given.latency:
            latency(given)
        else:
            compare(given)
    finally:
        if sink is not None:
            sink.terminate()


def compare(given: argparse.Namespace) -> None:
    protocols = ["http/json", "http/protobuf", *(["grpc"] if given.grpc else [])]
    rates: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="shipping-") as scratch:
        if given.only != "stock":
            began = time.monotonic()
            backlog(Path(scratch), given.records)
            size = sum(path.stat().st_size for path in Path(scratch).glob("*.jsonl"))
            print(f"backlog: {given.records} records, {size / 1e6:.0f} MB, made in {time.monotonic() - began:.0f} s")
            for protocol in protocols:
                for side in ("delivered.log", "acknowledged.json"):
                    (Path(scratch) / side).unlink(missing_ok=True)
                report(f"ours, {protocol}", run(given, f"ours {protocol}", scratch), rates)
        if given.only != "ours":
            for protocol in protocols[1:]:
                report(f"stock, {protocol}", run(given, f"stock {protocol}", scratch), rates)
    for protocol, against in (("http/json", "http/protobuf"), ("http/protobuf", "http/protobuf"), ("grpc", "grpc")):
        if f"ours, {protocol}" in rates and f"stock, {against}" in rates:
            ratio = rates[f"ours, {protocol}"] / rates[f"stock, {against}"]
            print(f"ours, {protocol} : stock, {against} = {ratio:.1f}")


def report(name: str, found: dict[str, Any], rates: dict[str, float]) -> None:
    rates[name] = found["records"] / found["cpu"]
    print(
        f"{name:24} {found['records']:8} records  {found['cpu']:7.2f} s CPU  {found['wall']:7.2f} s  "
        f"{rates[name]:9.0f} records per CPU second  peak +{found['grown_kb'] / 1024:.0f} MiB"
    )


def run(given: argparse.Namespace, name: str, directory: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--part", name, "--directory", directory, "--stock", str(given.stock)]
    command += ["--collector", given.collector, *(["--grpc", given.grpc] if given.grpc else [])]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def part(given: argparse.Namespace) -> dict[str, Any]:
    kind, protocol = given.part.split()
    url = given.grpc if protocol == "grpc" else given.collector
    return ours(Path(given.directory), url, protocol) if kind == "ours" else stock(url, protocol, given.stock)


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def ours(directory: Path, url: str, protocol: str) -> dict[str, Any]:
    from opentelemetry.instrumentation.mcp_audit.delivery.connect import connect
    from opentelemetry.instrumentation.mcp_audit.delivery.loop import Loop
    from opentelemetry.instrumentation.mcp_audit.delivery.options import options
    from opentelemetry.instrumentation.mcp_audit.delivery.shipper import Observer

    where = options(url, protocol, {})
    loop = Loop(
        directory, lambda: connect(where), Observer(lambda sentence: print(sentence, file=sys.stderr), _refused)
    )
    before, began, memory = cpu(), time.monotonic(), peak_kb()
    assert loop.run(once=True)
    return {
        "records": loop.counts.exported,
        "cpu": cpu() - before,
        "wall": time.monotonic() - began,
        "grown_kb": peak_kb() - memory,
    }


def _refused(count: int, why: str) -> None:
    raise SystemExit(f"{count} records refused: {why}")


def stock(url: str, protocol: str, count: int) -> dict[str, Any]:
    """The same records by the SDK; its queue is large enough to drop none, and its batches are of 512, its default."""
    from opentelemetry._logs import LogRecord, SeverityNumber
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcExporter

        exporter: Any = GrpcExporter(endpoint=url, insecure=True)
    else:
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

        exporter = OTLPLogExporter(endpoint=f"{url}/v1/logs")
    provider = LoggerProvider()
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter, max_queue_size=count + 1))
    logger = provider.get_logger("benchmark")
    made = [_record(number) for number in range(count)]
    before, began, memory = cpu(), time.monotonic(), peak_kb()
    for item in made:
        logger.emit(
            LogRecord(
                timestamp=item.time,
                observed_timestamp=item.observed,
                severity_number=SeverityNumber.UNSPECIFIED,
                body=item.body,
                attributes=item.attributes | CHAIN,
                event_name=item.event_name,
            )
        )
    provider.force_flush(600_000)
    provider.shutdown()
    return {
        "records": count,
        "cpu": cpu() - before,
        "wall": time.monotonic() - began,
        "grown_kb": peak_kb() - memory,
    }


# What the journal adds to each record, so that both send the same.
CHAIN = {
    "audit.sequence.number": 4711,
    "audit.sequence.previous_hash": "d6351ffd5021d81e113a80733be0f3160bfe034841764436ee623d0abb632efd",
    "audit.sequence.stream_id": "04b04470-1f61-416e-8bdb-be23eea2cff5",
    "mcp_audit.record.hash": "c744c83af92a73dc3b0d2d0b961eaa9593a0096eb63c2c138cd9e27788f83153",
    "audit.integrity.canonicalization": "otlp-json-jcs",
}


def _record(number: int) -> Any:
    sys.path.insert(0, HELPERS)
    from journals import record

    return record(f"tool-{number % 50}", size=300)


def backlog(directory: Path, count: int) -> None:
    sys.path.insert(0, HELPERS)
    from journals import journal, record

    made = journal(directory, fsync="never")
    for number in range(count):
        made.append(record(f"tool-{number % 50}", size=300))
    made.close()


def latency(given: argparse.Namespace, count: int = 40) -> None:
    """From a record in the journal, which is when its answer goes out, to its acknowledgement, one at a time."""
    from opentelemetry.instrumentation.mcp_audit.delivery.connect import connect
    from opentelemetry.instrumentation.mcp_audit.delivery.live import LiveDelivery
    from opentelemetry.instrumentation.mcp_audit.delivery.options import options
    from opentelemetry.instrumentation.mcp_audit.delivery.shipper import Observer

    sys.path.insert(0, HELPERS)
    from journals import journal, record

    with tempfile.TemporaryDirectory(prefix="shipping-") as scratch:
        made = journal(Path(scratch))
        acknowledged = threading.Event()
        observer = Observer(print, _refused, lambda records, seconds, good: acknowledged.set())
        delivery = LiveDelivery(made.directory, options(given.collector, "", {}), connect, observer)
        made.after_tick = delivery.notify
        made.open()
        time.sleep(2)
        took = []
        for _ in range(count):
            acknowledged.clear()
            made.append(record())
            began = time.monotonic()
            acknowledged.wait(10)
            took.append(time.monotonic() - began)
            time.sleep(0.5)
        made.close()
        delivery.stop(1.5)
    took.sort()
    print(
        f"from answer to acknowledged, idle: median {statistics.median(took) * 1000:.0f} ms, "
        f"95th percentile {took[int(len(took) * 0.95)] * 1000:.0f} ms, longest {took[-1] * 1000:.0f} ms ({count} records)"
    )


def local_sink() -> tuple[multiprocessing.Process, str]:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    process = multiprocessing.get_context("fork").Process(target=_serve, args=(listener,), daemon=True)
    process.start()
    listener.close()
    return process, f"http://127.0.0.1:{port}"


def _serve(listener: socket.socket) -> None:
    os.nice(5)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    file = connection.makefile("rb")
    while True:
        length, kind = 0, b"application/json"
        line = file.readline()
        if not line:
            return
        while line not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
            elif name.lower() == b"content-type":
                kind = value.strip()
            line = file.readline()
        file.read(length)
        body = b"{}" if kind == b"application/json" else b""
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (kind, len(body), body)
        )


if __name__ == "__main__":
    main()
