# SPDX-License-Identifier: Apache-2.0
"""From the journal to the endpoint's acknowledgement: N in, N out, whatever the endpoint answers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from delivering import Told, ids, ship, write
from endpoint import Reply, Request, endpoint

from opentelemetry.instrumentation.mcp_audit.delivery.connect import connect
from opentelemetry.instrumentation.mcp_audit.delivery.loop import Loop
from opentelemetry.instrumentation.mcp_audit.delivery.options import options
from opentelemetry.instrumentation.mcp_audit.delivery.planning import Bounds
from opentelemetry.instrumentation.mcp_audit.delivery.quarantine import quarantined, reasons
from opentelemetry.instrumentation.mcp_audit.delivery.transport import Transport
from opentelemetry.instrumentation.mcp_audit.journal.acknowledged import acknowledged_by_delivery, acknowledged_until
from opentelemetry.instrumentation.mcp_audit.journal.delivered import read_delivered

PROTOCOLS = ("http/json", "http/protobuf")


def times(count: int, reply: Reply) -> Callable[[Request], Reply | None]:
    left = [reply] * count

    def script(request: Request) -> Reply | None:
        return left.pop() if left else None

    return script


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("gzip", ["none", "gzip"])
def test_everything_is_acknowledged_once_over_one_connection(tmp_path: Path, protocol: str, gzip: str) -> None:
    expected = write(tmp_path, 300)
    with endpoint() as other:
        ship(
            tmp_path,
            other.url,
            protocol=protocol,
            bounds=Bounds(max_records=50),
            environ={"OTEL_EXPORTER_OTLP_COMPRESSION": gzip, "OTEL_MCP_AUDIT_OTLP_HEADERS": "authorization=Bearer%20x"},
        )
        assert sorted(other.kept) == sorted(expected)
        assert other.connections == 1
        assert {request.path for request in other.requests} == {"/v1/logs"}
        assert {request.headers["authorization"] for request in other.requests} == {"Bearer x"}
        assert len(other.requests) == 7
        assert ship(tmp_path, other.url) == []
        assert len(other.requests) == 7


def test_what_came_later_is_sent_and_what_was_acknowledged_is_not_sent_again(tmp_path: Path) -> None:
    with endpoint() as other:
        write(tmp_path, 5)
        ship(tmp_path, other.url)
        expected = write(tmp_path, 7)
        ship(tmp_path, other.url)
        assert sorted(other.kept) == sorted(expected)


@pytest.mark.parametrize("status", [301, 302, 401, 403, 404, 405, 408, 429, 500, 502, 503, 504])
def test_what_another_hour_can_mend_is_retried_and_said_once(tmp_path: Path, status: int) -> None:
    expected = write(tmp_path, 20)
    told = Told()
    with endpoint(times(3, Reply(status, b"no"))) as other:
        pauses = ship(tmp_path, other.url, told)
        assert sorted(other.kept) == sorted(expected)
    assert pauses == [0.5, 1.0, 2.0]
    assert len(told.said) == 2
    assert told.said[0].startswith(f"AUDIT RECORDS ARE NOT DELIVERED NOW: HTTP {status}")
    assert told.said[1] == "audit records are delivered again"
    assert told.refused == []


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<html>Welcome</html>", (("Content-Type", "text/html"),)),
        Reply(200, b""),
        Reply(204, b""),
        Reply(200, b"[]"),
        Reply(200, b'{"status":"ok"}'),
        Reply(200, b'{"partialSuccess":[]}x'),
        Reply(200, b"", close=True),
        Reply(200, b'{"partialSucc', (("Content-Length", "21"),), close=True),
    ],
    ids=["html", "empty", "204", "list", "other", "garbage", "hangs-up", "half"],
)
def test_what_is_no_answer_of_an_otlp_endpoint_acknowledges_nothing(tmp_path: Path, reply: Reply) -> None:
    expected = write(tmp_path, 10)
    told = Told()
    with endpoint(times(2, reply)) as other:
        assert len(ship(tmp_path, other.url, told)) in (1, 2)
        assert sorted(other.kept) == sorted(expected)
    assert told.said[-1] == "audit records are delivered again"


@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"partialSuccess":{}}', b'{"partialSuccess":null}', b'{"partialSuccess":{"rejectedLogRecords":"0"}}'],
)
def test_full_success_in_every_spelling(tmp_path: Path, body: bytes) -> None:
    expected = write(tmp_path, 10)
    with endpoint(lambda request: Reply(200, body, keep=True)) as other:
        assert ship(tmp_path, other.url) == []
        assert sorted(other.kept) == sorted(expected)


def test_retry_after_is_obeyed(tmp_path: Path) -> None:
    write(tmp_path, 3)
    with endpoint(times(1, Reply(429, b"", (("Retry-After", "17"),)))) as other:
        assert ship(tmp_path, other.url) == [17.0]


def test_nobody_there_then_somebody(tmp_path: Path) -> None:
    expected = write(tmp_path, 10)
    with endpoint() as other:
        port = other.port
    told = Told()
    assert len(ship(tmp_path, f"http://localhost:{port}", told, steps=3)) == 3
    assert "ConnectionRefusedError" in told.said[0]
    with endpoint(port=port) as other:
        ship(tmp_path, other.url)
        assert sorted(other.kept) == sorted(expected)


def test_a_half_open_connection_times_out(tmp_path: Path) -> None:
    expected = write(tmp_path, 10)
    with endpoint(times(1, Reply(after=2))) as other:
        assert ship(tmp_path, other.url, environ={"OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": "0.3"}) == [0.5]
        assert set(other.kept) == set(expected)


@pytest.mark.parametrize("how", ["400", "413", "partial", "string"])
def test_a_poison_record_is_quarantined_and_everything_else_delivered(tmp_path: Path, how: str) -> None:
    expected = write(tmp_path, 200)
    poison = expected[77]

    def script(request: Request) -> Reply | None:
        if poison not in request.ids:
            return None
        rejected = b'{"partialSuccess":{"rejectedLogRecords":%s,"errorMessage":"bad"}}'
        if how in ("partial", "string"):
            return Reply(200, rejected % (b"1" if how == "partial" else b'"1"'))
        return Reply(int(how), b"bad")

    told = Told()
    with endpoint(script) as other:
        assert ship(tmp_path, other.url, told) == []
        assert set(other.kept) == set(expected) - {poison}
    assert quarantined(tmp_path) == 1
    (kept,) = (tmp_path / "quarantine").glob("*.refused")
    assert poison.encode() in kept.read_bytes()
    (why,) = reasons(tmp_path)
    file = tmp_path / str(why["file"])
    assert file.read_bytes()[int(str(why["offset"])) :].startswith(kept.read_bytes())
    assert [count for count, _ in told.refused] == [1]
    assert "1 AUDIT RECORDS ARE NOT DELIVERED" in told.said[0]


@pytest.mark.parametrize(
    "garbage", [b"garbage\n", b"\0" * 5000 + b"\n", b'{"resourceLogs":[]}\n', b"\n", b"x" * 3_000_000 + b"\n"]
)
def test_a_poison_line_in_the_journal(tmp_path: Path, garbage: bytes) -> None:
    expected = write(tmp_path, 20)
    path = next(tmp_path.glob("2*.jsonl"))
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*whole[:9], garbage, *whole[9:]]))
    told = Told()
    with endpoint() as other:
        assert ship(tmp_path, other.url, told) == []
        assert sorted(other.kept) == sorted(expected)
    (why,) = reasons(tmp_path)
    assert (why["file"], why["offset"], why["bytes"]) == (path.name, len(b"".join(whole[:9])), len(garbage))


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_line_that_only_looks_like_one(tmp_path: Path, status: int, protocol: str) -> None:
    expected = write(tmp_path, 20)
    path = next(tmp_path.glob("2*.jsonl"))
    whole = path.read_bytes().splitlines(keepends=True)
    broken = whole[5].replace(b'"attributes":[{', b'"attributes":[[{', 3)
    path.write_bytes(b"".join([*whole[:9], broken, *whole[9:]]))

    def script(request: Request) -> Reply | None:
        try:
            if protocol == "http/json":
                json.loads(request.body)
        except ValueError:
            return Reply(status, b"no JSON")
        return None

    with endpoint(script) as other:
        ship(tmp_path, other.url, protocol=protocol)
        assert set(other.kept) == set(expected)
    assert quarantined(tmp_path) == 1


def test_an_endpoint_that_refuses_everything_for_a_while_costs_no_record(tmp_path: Path) -> None:
    expected = write(tmp_path, 200)
    told = Told()
    with endpoint(times(40, Reply(400, b"no"))) as other:
        assert ship(tmp_path, other.url, told) != []
        assert set(other.kept) == set(expected)
    assert quarantined(tmp_path) == 0
    assert told.refused == []


def test_an_endpoint_that_takes_only_what_it_knows_is_ill_and_what_was_quarantined_is_put_back(tmp_path: Path) -> None:
    first = write(tmp_path, 3)
    told = Told()
    ill = False
    with endpoint(lambda request: Reply(400) if ill and not set(request.ids) <= set(first) else None) as other:
        ship(tmp_path, other.url)
        ill = True
        for _ in range(30):
            # One record at a time, as an idle server has them.
            expected = write(tmp_path, 0)
            ship(tmp_path, other.url, told, bounds=Bounds(max_records=1), steps=40)
        ill = False
        ship(tmp_path, other.url, told)
        assert set(other.kept) == set(expected)
    assert quarantined(tmp_path) == 0


def test_a_file_that_is_another_one_is_delivered_from_its_beginning(tmp_path: Path) -> None:
    write(tmp_path, 50)
    path = next(tmp_path.glob("2*.jsonl"))
    told = Told()
    with endpoint() as other:
        ship(tmp_path, other.url)
        other.kept.clear()
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:20]))
        ship(tmp_path, other.url, told)
        assert other.kept == ids(tmp_path)[:20]
    assert "delivered again from its beginning" in told.said[0]


def test_a_torn_line_waits(tmp_path: Path) -> None:
    expected = write(tmp_path, 5)
    path = next(tmp_path.glob("2*.jsonl"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with endpoint() as other:
        ship(tmp_path, other.url)
        assert len(other.kept) == len(expected) - 1
        path.write_bytes(whole)
        ship(tmp_path, other.url)
        assert sorted(other.kept) == sorted(expected)


def test_a_state_that_is_lost_or_broken_costs_duplicates_only(tmp_path: Path) -> None:
    expected = write(tmp_path, 5)
    with endpoint() as other:
        ship(tmp_path, other.url)
        state = tmp_path / "delivered.log"
        state.write_bytes(state.read_bytes()[:-7])
        ship(tmp_path, other.url)
        assert set(other.kept) == set(expected)
        state.write_bytes(b"\xff\0nonsense\n{}\n[]\n")
        ship(tmp_path, other.url)
        assert len(other.kept) >= 2 * len(expected)


def test_delivery_acknowledges_for_those_who_make_room(tmp_path: Path) -> None:
    write(tmp_path, 5)
    before = time.time_ns()
    with endpoint() as other:
        ship(tmp_path, other.url)
    assert before <= acknowledged_until(tmp_path, pytest.fail) <= time.time_ns()
    assert acknowledged_by_delivery(tmp_path)
    sizes = {path.name: path.stat().st_size for path in tmp_path.glob("*.jsonl")}
    assert {name: place.offset for name, place in read_delivered(tmp_path).items()} == sizes


def test_one_shipper_a_directory_and_the_next_takes_over(tmp_path: Path) -> None:
    with endpoint() as other:
        where = options(other.url, "", {})
        loops = [Loop(tmp_path, lambda: connect(where), Told().observer, 0.01) for _ in range(2)]
        expected = write(tmp_path, 5)
        threads = [threading.Thread(target=loop.run, daemon=True) for loop in loops]
        for thread in threads:
            thread.start()
        _until(lambda: len(other.kept) == len(expected))
        first = next(loop for loop in loops if loop.holds_lock)
        assert sum(loop.holds_lock for loop in loops) == 1
        first.stop(1)
        threads[loops.index(first)].join(5)
        expected = write(tmp_path, 5)
        _until(lambda: sorted(other.kept) == sorted(expected))
        for loop in loops:
            loop.stop(1)
        for thread in threads:
            thread.join(5)
            assert not thread.is_alive()


def _until(holds: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_once_ends_when_another_process_has_delivered_everything(tmp_path: Path) -> None:
    with endpoint() as other:
        where = options(other.url, "", {})
        told = Told()
        first = Loop(tmp_path, lambda: connect(where), Told().observer, 0.01)
        second = Loop(tmp_path, lambda: connect(where), told.observer, 0.01)
        write(tmp_path, 5)
        thread = threading.Thread(target=first.run, daemon=True)
        thread.start()
        _until(lambda: first.holds_lock)
        assert second.run(once=True)
        assert told.said == ["another process delivers this journal; waiting for it"]
        first.stop(1)
        thread.join(5)


def test_what_goes_wrong_inside_is_said_and_tried_again(tmp_path: Path) -> None:
    write(tmp_path, 5)
    told = Told()

    def broken() -> Transport:
        raise MemoryError("no more")

    loop = Loop(tmp_path, broken, told.observer)
    thread = threading.Thread(target=loop.run, daemon=True)
    thread.start()
    _until(lambda: bool(told.said))
    loop.stop(1)
    thread.join(10)
    assert not thread.is_alive()
    assert told.said == ["audit records cannot be delivered now (MemoryError: no more); it is tried again"]
