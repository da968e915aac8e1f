# SPDX-License-Identifier: Apache-2.0
"""Adoption: every call of a dead process gets its one outcome, every segment its end in the ledger, whatever it finds."""

from __future__ import annotations

import json
import os
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from dead_process import OTHER_BOOT, Adopter, Dead, adopted, outcomes, records, told
from trail_oracle import attribute

from opentelemetry.instrumentation.mcp_audit.journal import events, platform
from opentelemetry.instrumentation.mcp_audit.journal.abandoned import abandoned
from opentelemetry.instrumentation.mcp_audit.journal.adopt import Adopted
from opentelemetry.instrumentation.mcp_audit.journal.open_call import OpenCall
from opentelemetry.instrumentation.mcp_audit.journal.slots import header_slot
from opentelemetry.instrumentation.mcp_audit.record.attributes import TABLE

ID = "0190c1d2-1234-7abc-8def-0123456789a"


def heads(dead: Dead, index: int = -1) -> list[str]:
    return [attribute(record, "mcp_audit.record.hash")["stringValue"] for record in dead.trails[index].records]


def the_end(directory: Path, stream: str) -> dict[str, Any]:
    """What the one ``adopted`` entry of the stream says."""
    (entry,) = [facts for facts in told(directory, stream) if facts["mcp_audit.lifecycle.kind"] == "adopted"]
    return {
        name.removeprefix("mcp_audit.stream."): value
        for name, value in entry.items()
        if name.startswith("mcp_audit.stream.") or name == "mcp_audit.boot.id"
    }


def test_an_empty_directory_and_none(tmp_path: Path) -> None:
    assert adopted(tmp_path) == (Adopted(0, 0, 0), [])
    process = Adopter(tmp_path)
    process.directory = tmp_path / "none"
    assert process.adopt() == Adopted(0, 0, 0)
    assert len(process.said) == 1 and "could not be looked for" in process.said[0]


def test_calls_in_flight_become_abandoned(tmp_path: Path) -> None:
    dead = Dead(tmp_path)
    dead.trail.call("search")
    for slot in (3, 1, 2):
        dead.call(f"{ID}{slot}", slot)
    dead.write()
    assert adopted(tmp_path) == (Adopted(1, 1, 3), [])
    written = [record for record in records(tmp_path) if record["facts"].get("mcp_audit.outcome.detail") == "abandoned"]
    assert [record["facts"]["audit.record.id"] for record in written] == [f"{ID}1", f"{ID}2", f"{ID}3"], "as they began"
    first = written[0]
    assert first["facts"]["audit.sequence.stream_id"] not in dead.path.name
    assert "body" not in first
    assert first["timeUnixNano"] == first["observedTimeUnixNano"] == "1764000000000000001"
    assert (first["traceId"], first["spanId"], first["eventName"]) == ("5b" * 16, "ee" * 8, "mcp_audit.tool_call")
    facts = {name: value for name, value in first["facts"].items() if "sequence" not in name and "hash" not in name}
    assert facts == {
        "audit.record.id": f"{ID}1",
        "audit.action": "EXECUTE",
        "audit.actor.id": "ada",
        "audit.actor.type": "user",
        "audit.outcome": "unknown",
        "audit.schema.version": "1.0",
        "audit.integrity.canonicalization": "otlp-json-jcs",
        "gen_ai.tool.name": "search",
        "mcp.method.name": "tools/call",
        "mcp_audit.actor.provenance": "verified",
        "mcp_audit.call.id": f"{ID}1",
        "mcp_audit.decision": "allowed",
        "mcp_audit.duration_us": "0",
        "mcp_audit.level": "request",
        "mcp_audit.outcome.detail": "abandoned",
        "mcp_audit.request.id": f"{ID}1",
    }
    assert the_end(tmp_path, dead.trail.stream) == {
        "id": dead.trail.stream,
        "file": dead.trail.name,
        "count": "2",
        "head": dead.trail.head,
        "torn_bytes": "0",
        "reason": "killed",
        "open_calls": "3",
        "mcp_audit.boot.id": platform.boot_id(),
    }
    assert not dead.path.exists()
    assert adopted(tmp_path) == (Adopted(0, 0, 0), []), "once"


def test_an_abandoned_record_has_what_every_outcome_must_have() -> None:
    made = abandoned(OpenCall("mcp_audit.request", 5, {"audit.record.id": "x"}, "", ""))
    given_by_the_journal = {name for name in TABLE if name.startswith(("audit.sequence", "audit.integrity"))}
    needed = (
        {row.name for row in TABLE.values() if row.need != "may"} - given_by_the_journal - {"mcp_audit.record.hash"}
    )
    assert needed <= made.attributes.keys()
    assert (made.time, made.observed, made.body) == (5, 5, None)
    assert made.attributes["mcp.method.name"] == "unknown"
    assert abandoned(OpenCall("mcp_audit.request", 5, {"audit.record.id": "x"}, "", "")) == made


def test_a_call_whose_outcome_is_there_is_only_cleared(tmp_path: Path) -> None:
    dead = Dead(tmp_path)
    for _ in range(3):
        dead.trail.call("search")
    done = dead.trail.records[2]["attributes"]
    record_id = next(item["value"]["stringValue"] for item in done if item["key"] == "audit.record.id")
    dead.call(record_id, 1)
    dead.call(f"{ID}2", 2)
    # Its id stands in another's body, which is no record of it.
    dead.trail.call(
        "search", body=json.dumps({"arguments": f'{{"key":"audit.record.id","value":{{"stringValue":"{ID}2"}}}}'})
    )
    dead.write()
    assert adopted(tmp_path)[0] == Adopted(1, 1, 1)
    assert [found["facts"]["mcp_audit.outcome.detail"] for found in outcomes(tmp_path, record_id)] == ["ok"]
    assert [found["facts"]["mcp_audit.outcome.detail"] for found in outcomes(tmp_path, f"{ID}2")] == ["abandoned"]
    assert the_end(tmp_path, dead.trail.stream)["open_calls"] == "1"


@pytest.mark.parametrize("named", [0, 1, 2, 3, 4])
def test_the_outcome_is_looked_for_wherever_it_may_be(tmp_path: Path, named: int) -> None:
    """The slot names the newest stream of when the call began; its outcome may be in that, in the one before (the newest
    was made ahead), or in any later one."""
    dead = Dead(tmp_path)
    ids = []
    for index in range(5):
        if index:
            dead.segment()
        dead.trail.call("search")
        ids.append(
            next(
                i["value"]["stringValue"] for i in dead.trail.records[1]["attributes"] if i["key"] == "audit.record.id"
            )
        )
    wanted = [record_id for index, record_id in enumerate(ids) if index >= named - 1]
    for slot, record_id in enumerate(wanted, 1):
        dead.call(record_id, slot, dead.trails[named].stream)
    dead.write()
    assert adopted(tmp_path)[0] == Adopted(1, 5, 0)
    for record_id in wanted:
        assert [found["facts"]["mcp_audit.outcome.detail"] for found in outcomes(tmp_path, record_id)] == ["ok"]


def test_an_outcome_in_the_torn_line_does_not_count(tmp_path: Path) -> None:
    dead = Dead(tmp_path)
    dead.trail.call("search")
    line = dead.trail.lines().pop()
    record_id = next(
        item["value"]["stringValue"]
        for item in dead.trail.records.pop()["attributes"]
        if item["key"] == "audit.record.id"
    )
    dead.call(record_id, 1)
    dead.write(tails={0: line[:-1]})
    found, said = adopted(tmp_path)
    assert found == Adopted(1, 1, 1)
    (kept,) = (tmp_path / "quarantine").iterdir()
    assert said == [f"{dead.trail.name}: {len(line) - 1} bytes behind its last whole record set aside in {kept}"]
    assert [found["facts"]["mcp_audit.outcome.detail"] for found in outcomes(tmp_path, record_id)] == ["abandoned"]
    end = the_end(tmp_path, dead.trail.stream)
    assert (end["count"], end["head"], end["torn_bytes"]) == ("1", heads(dead)[0], str(len(line) - 1))


def test_the_chain_of_segments(tmp_path: Path) -> None:
    """What the ledger has as closed stays as it is; the end record without ``closed`` is ``ended``; the rest is ``killed``."""
    dead = Dead(tmp_path)
    dead.trail.close()
    dead.segment().close()
    dead.segment().call()
    dead.segment()
    dead.write()
    first = dead.trails[0]
    assert first.head is not None
    dead.ledger.append(events.ledger_closed(first.stream, first.name, len(first.records), first.head))
    assert adopted(tmp_path) == (Adopted(1, 3, 0), [])
    assert [facts["mcp_audit.lifecycle.kind"] for facts in told(tmp_path, first.stream)] == ["opened", "closed"]
    ends = [the_end(tmp_path, trail.stream) for trail in dead.trails[1:]]
    assert [(end["reason"], end["count"], end["head"]) for end in ends] == [
        ("ended", "2", dead.trails[1].head),
        ("killed", "2", dead.trails[2].head),
        ("killed", "1", dead.trails[3].head),
    ]


def test_a_segment_that_the_ledger_never_took_is_let_be(tmp_path: Path) -> None:
    dead = Dead(tmp_path)
    dead.write()
    ahead = dead.segment()
    ahead.write(tmp_path, [ahead.lines()[0][:100]])
    dead.path.write_bytes(header_slot(dead.header()))
    assert adopted(tmp_path) == (Adopted(1, 1, 0), [])
    assert (tmp_path / ahead.name).stat().st_size == 100
    assert told(tmp_path, ahead.stream) == []


def test_a_segment_that_is_gone_is_let_be(tmp_path: Path) -> None:
    dead = Dead(tmp_path)
    dead.call(f"{ID}1", 1)
    dead.write()
    (tmp_path / dead.trail.name).unlink()
    assert adopted(tmp_path)[0] == Adopted(1, 0, 1)
    assert [facts["mcp_audit.lifecycle.kind"] for facts in told(tmp_path, dead.trail.stream)] == ["opened"]


# --- a power cut ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hole", ["zeros", "garbage", "missing"])
def test_a_power_cut_ends_a_segment_at_its_first_hole(tmp_path: Path, hole: str) -> None:
    dead = Dead(tmp_path, boot=OTHER_BOOT)
    for _ in range(6):
        dead.trail.call("search")
    late = next(
        item["value"]["stringValue"] for item in dead.trail.records[5]["attributes"] if item["key"] == "audit.record.id"
    )
    dead.call(late, 1)
    dead.write()
    lines = dead.trail.lines()
    middle = {"zeros": bytes(len(lines[3])), "garbage": b"\xfe" * 700 + b"\n" + lines[3][701:], "missing": b""}[hole]
    data = b"".join([*lines[:3], middle, *lines[4:]])
    (tmp_path / dead.trail.name).write_bytes(data)
    whole = len(b"".join(lines[:3]))
    found, said = adopted(tmp_path)
    assert found == Adopted(1, 1, 1), "its outcome stood behind the hole"
    assert len(said) == 1 and f"{len(data) - whole} bytes" in said[0]
    assert (tmp_path / dead.trail.name).read_bytes() == b"".join(lines[:3])
    assert (tmp_path / "quarantine" / f"{dead.trail.name}.{whole}.torn").read_bytes() == data[whole:]
    end = the_end(tmp_path, dead.trail.stream)
    assert (end["reason"], end["count"], end["head"]) == ("power", "3", heads(dead)[2])
    assert end["torn_bytes"] == str(len(data) - whole)
    assert end["mcp_audit.boot.id"] == OTHER_BOOT


def test_a_power_cut_that_left_nothing_of_a_segment(tmp_path: Path) -> None:
    dead = Dead(tmp_path, boot=OTHER_BOOT)
    dead.call(f"{ID}1", 1)
    dead.write()
    (tmp_path / dead.trail.name).write_bytes(bytes(4096))
    assert adopted(tmp_path)[0] == Adopted(1, 0, 1)
    assert (tmp_path / dead.trail.name).read_bytes() == bytes(4096), "the ledger says what should be there"


def test_a_header_that_a_power_cut_left_behind(tmp_path: Path) -> None:
    """It names the first stream; the ledger knows of later ones."""
    dead = Dead(tmp_path, boot=OTHER_BOOT)
    stale = header_slot(dead.header())
    dead.trail.close()
    dead.segment().close()
    dead.segment().call("search")
    record_id = next(
        item["value"]["stringValue"] for item in dead.trail.records[1]["attributes"] if item["key"] == "audit.record.id"
    )
    dead.call(record_id, 1, dead.trails[0].stream)
    dead.write(header=stale)
    assert adopted(tmp_path) == (Adopted(1, 3, 0), [])
    assert len(outcomes(tmp_path, record_id)) == 1


@pytest.mark.parametrize("header", [bytes(1024), b"MCA1" + b"\xff" * 1020, os.urandom(1024)])
def test_an_unreadable_header(tmp_path: Path, header: bytes) -> None:
    dead = Dead(tmp_path, boot=OTHER_BOOT)
    dead.trail.close()
    dead.segment().call("search")
    record_id = next(
        item["value"]["stringValue"] for item in dead.trail.records[1]["attributes"] if item["key"] == "audit.record.id"
    )
    dead.call(record_id, 1)
    dead.call(f"{ID}2", 2)
    dead.write(header=header)
    other = Dead(tmp_path, seed=2)
    other.write(marker=False)
    assert adopted(tmp_path) == (Adopted(1, 2, 1), [])
    assert len(outcomes(tmp_path, record_id)) == len(outcomes(tmp_path, f"{ID}2")) == 1
    assert told(tmp_path, other.trail.stream)[-1]["mcp_audit.lifecycle.kind"] == "opened", "another's is left alone"
    kept = tmp_path / "quarantine" / dead.path.name
    assert kept.exists(), "what cannot be read is kept"


@pytest.mark.parametrize("first_left", [True, False])
def test_a_marker_of_zeros(tmp_path: Path, first_left: bool) -> None:
    """The file's name is all that is left: then all that lives not and the ledger has as open is taken, live ones not."""
    dead = Dead(tmp_path, boot=OTHER_BOOT)
    first = dead.trail
    first.close()
    dead.segment().call("search")
    dead.write()
    if not first_left:
        assert first.head is not None
        dead.ledger.append(events.ledger_closed(first.stream, first.name, len(first.records), first.head))
        (tmp_path / first.name).unlink()
        for path in tmp_path.glob("2*.jsonl"):
            path.write_bytes(path.read_bytes())
    dead.path.write_bytes(bytes(65 * 1024))
    assert adopted(tmp_path) == (Adopted(1, 1 + first_left, 0), [])
    assert the_end(tmp_path, dead.trail.stream)["reason"] == "power"
    assert not dead.path.exists()


def test_a_marker_of_which_nothing_can_be_read(tmp_path: Path) -> None:
    """Its name is that of a segment: it is ours, and kept for whoever can read it."""
    dead = Dead(tmp_path, boot=OTHER_BOOT)
    dead.write()
    dead.path.write_bytes(b"\xff" * 4096)
    found, said = adopted(tmp_path)
    assert found == Adopted(1, 1, 0)
    assert said == [f"{dead.path.name}: 3 calls in flight when the power went cannot be read; they are in no record"]
    assert (tmp_path / "quarantine" / dead.path.name).read_bytes() == b"\xff" * 4096


def test_torn_slots_are_counted_and_kept(tmp_path: Path) -> None:
    dead = Dead(tmp_path, boot=OTHER_BOOT)
    dead.call(f"{ID}1", 1)
    dead.call(f"{ID}2", 2)
    dead.write()
    data = bytearray(dead.path.read_bytes())
    data[2048 + 512 : 3072] = bytes(512)
    dead.path.write_bytes(data)
    found, said = adopted(tmp_path)
    assert found == Adopted(1, 1, 1)
    assert said == [f"{dead.path.name}: 1 calls in flight when the power went cannot be read; they are in no record"]
    assert (tmp_path / "quarantine" / dead.path.name).exists()
    assert adopted(tmp_path) == (Adopted(0, 0, 0), [])


# --- who lives, who does not ---------------------------------------------------------------------------------------------


def test_the_living_are_let_be(tmp_path: Path) -> None:
    alive = Adopter(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert adopted(tmp_path) == (Adopted(0, 0, 0), [])
    assert alive.adopt() == Adopted(0, 0, 0)
    assert all((tmp_path / name).read_bytes() == data for name, data in before.items() if "ledger" not in name)
    alive.close()


def test_a_segment_that_somebody_still_holds(tmp_path: Path) -> None:
    """A child that kept its parent's segment open: the process is not over, and adopted when the child is."""
    dead = Dead(tmp_path)
    dead.call(f"{ID}1", 1)
    dead.write(tails={0: b"half"})
    descriptor = os.open(tmp_path / dead.trail.name, os.O_RDWR)
    assert platform.try_lock(descriptor)
    assert adopted(tmp_path) == (Adopted(0, 0, 0), [])
    assert dead.path.exists() and outcomes(tmp_path, f"{ID}1") == []
    os.close(descriptor)
    assert adopted(tmp_path)[0] == Adopted(1, 1, 1)


def test_everybody_is_pid_1_of_the_same_boot(tmp_path: Path) -> None:
    """Containers: same pid, same start, same boot. One is alive; its segments are not taken for the dead one's."""
    dead = Dead(tmp_path)
    dead.call(f"{ID}1", 1)
    dead.write()
    twin = Dead(tmp_path, seed=1)
    twin.trails.clear()
    twin.seed = 5
    trail = twin.segment()
    twin.seed = 1
    for item in trail.records[0]["attributes"]:
        if item["key"] == "mcp_audit.process.pid":
            item["value"] = {"intValue": "4001"}
    trail.name = trail.name.replace("-4005-", "-4001-")
    twin.write()
    held = [os.open(path, os.O_RDWR) for path in (twin.path, tmp_path / trail.name)]
    assert all(platform.try_lock(descriptor) for descriptor in held)
    assert adopted(tmp_path) == (Adopted(1, 1, 1), [])
    assert [facts["mcp_audit.lifecycle.kind"] for facts in told(tmp_path, trail.stream)] == ["opened"]
    for descriptor in held:
        os.close(descriptor)
    assert adopted(tmp_path) == (Adopted(1, 1, 0), [])


def test_many_dead_processes(tmp_path: Path) -> None:
    for seed in range(1, 31):
        dead = Dead(tmp_path, seed=seed)
        dead.call(f"{ID}-{seed}", 1)
        dead.write()
    assert adopted(tmp_path) == (Adopted(30, 30, 30), [])
    assert list(tmp_path.glob("*.calls*")) == []
    for seed in range(1, 31):
        assert len(outcomes(tmp_path, f"{ID}-{seed}")) == 1


def test_what_cannot_be_written_is_left_for_the_next_time(tmp_path: Path) -> None:
    dead = Dead(tmp_path)
    dead.call(f"{ID}1", 1)
    dead.call(f"{ID}2", 2)
    dead.write()
    before = dead.path.read_bytes()
    process = Adopter(tmp_path)
    real, process.stream = process.stream, ""
    assert process.adopt() == Adopted(0, 0, 0)
    assert "there is no stream to write to" in process.said.pop()
    assert dead.path.read_bytes() == before
    process.stream = real
    process.durable = lambda: (_ for _ in ()).throw(OSError(5, "Input/output error"))  # type: ignore[method-assign]
    assert process.adopt() == Adopted(0, 0, 0)
    assert len(process.said) == 1 and "Input/output error" in process.said[0]
    process.close()
    assert adopted(tmp_path) == (Adopted(1, 1, 0), []), "they are there, and now on the disk"
    assert len(outcomes(tmp_path, f"{ID}1")) == len(outcomes(tmp_path, f"{ID}2")) == 1
    assert the_end(tmp_path, dead.trail.stream)["open_calls"] == "2", "whoever wrote them"


# --- what is not ours ----------------------------------------------------------------------------------------------------


def test_odd_files(tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.write_bytes(b"not ours")
    (tmp_path / "link.calls").symlink_to(outside)
    (tmp_path / "dangling.calls").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "fifo.calls")
    (tmp_path / "dir.calls").mkdir()
    (tmp_path / "foreign.calls").write_bytes(b"somebody's list of calls\n" * 100)
    (tmp_path / "new\nline\x1b[2J.calls").write_bytes(b"x")
    before = sorted(path.name for path in tmp_path.iterdir())
    found, said = adopted(tmp_path)
    assert found == Adopted(0, 0, 0)
    assert len(said) == 6 and all("left alone" in sentence for sentence in said)
    assert all(sentence.isprintable() for sentence in said)
    assert set(before) <= {path.name for path in tmp_path.iterdir()}
    assert outside.read_bytes() == b"not ours"
    assert (tmp_path / "foreign.calls").read_bytes() == b"somebody's list of calls\n" * 100


def test_a_symlink_where_a_segment_should_be(tmp_path: Path) -> None:
    dead = Dead(tmp_path)
    dead.write()
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    (tmp_path / dead.trail.name).rename(outside)
    before = outside.read_bytes()
    (tmp_path / dead.trail.name).symlink_to(outside)
    assert adopted(tmp_path)[0].segments == 0
    assert outside.read_bytes() == before


def test_a_ledger_that_names_a_file_elsewhere(tmp_path: Path) -> None:
    dead = Dead(tmp_path)
    outside = tmp_path.parent / "elsewhere"
    outside.mkdir(exist_ok=True)
    (outside / dead.trail.name).write_bytes(b"".join(dead.trail.lines()) + b"half")
    dead.write(marker=False)
    (tmp_path / dead.trail.name).unlink()
    dead.ledger.append(events.ledger_opened(dead.trail.stream, f"../elsewhere/{dead.trail.name}", "0" * 64, dead.boot))
    dead.path.write_bytes(header_slot(dead.header()))
    assert adopted(tmp_path)[0].segments == 0
    assert (outside / dead.trail.name).read_bytes().endswith(b"half")


def test_a_directory_full_of_rubbish_is_said_in_few_words(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"{number}.calls").mkdir()
    found, said = adopted(tmp_path)
    assert found == Adopted(0, 0, 0)
    assert len(said) == 9 and said[-1] == "adoption: 92 more things of this kind"


def test_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    import struct
    import zlib

    payload = b'{"version":2}'
    path = tmp_path / f"{uuid.uuid4()}.calls"
    path.write_bytes(b"MCA1" + struct.pack(">IH", zlib.crc32(payload), len(payload)) + payload)
    found, said = adopted(tmp_path)
    assert found == Adopted(0, 0, 0)
    assert len(said) == 1 and "newer release" in said[0]
    assert path.exists()


def test_leftovers_of_markers_that_were_never_finished(tmp_path: Path) -> None:
    old, new = tmp_path / "a.calls.new", tmp_path / "b.calls.new"
    old.touch()
    new.touch()
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    assert adopted(tmp_path) == (Adopted(0, 0, 0), [])
    assert not old.exists() and new.exists()


def test_a_ledger_of_garbage(tmp_path: Path) -> None:
    """Calls are answered for; what the ledger cannot tell stays."""
    dead = Dead(tmp_path)
    dead.trail.call("search")
    done = next(
        item["value"]["stringValue"] for item in dead.trail.records[1]["attributes"] if item["key"] == "audit.record.id"
    )
    dead.call(done, 1)
    dead.call(f"{ID}2", 2)
    dead.write()
    process = Adopter(tmp_path)
    lines = (tmp_path / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "ledger.jsonl").write_bytes(b"".join([b"garbage\n" * 50, lines[-1]]))
    assert process.adopt() == Adopted(1, 0, 1)
    assert len(outcomes(tmp_path, done)) == len(outcomes(tmp_path, f"{ID}2")) == 1


def test_without_real_locks_nothing_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = Dead(tmp_path)
    dead.call(f"{ID}1", 1)
    dead.write()
    process = Adopter(tmp_path)
    monkeypatch.setattr(platform, "CAN_LOCK", False)
    assert process.adopt() == Adopted(0, 0, 0)
    assert dead.path.exists()


# --- what it costs -------------------------------------------------------------------------------------------------------


def test_ten_thousand_closed_segments_cost_nothing(tmp_path: Path) -> None:
    process = Adopter(tmp_path)
    for _ in range(10_000):
        (tmp_path / f"20251124T160000Z-1-{uuid.uuid4()}.jsonl").touch()
    took = []
    for _ in range(5):
        begun = time.perf_counter()
        assert process.adopt() == Adopted(0, 0, 0)
        took.append(time.perf_counter() - begun)
    print(f"adopt, 10,000 segments, nobody dead: {min(took) * 1000:.1f} ms")
    assert min(took) < 0.05
