# SPDX-License-Identifier: Apache-2.0
"""Valid trails are valid; every falsification is a violation that says where. The journals are the oracle's."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ledgers import ledger_of, rechain
from trail_oracle import BOOT, Trail, attribute, rehashed, sample

from opentelemetry.instrumentation.mcp_audit.integrity.report import Report, as_json
from opentelemetry.instrumentation.mcp_audit.integrity.verify import verify_paths

Line = list[bytes]


def check(path: Path, boot: str = BOOT) -> Report:
    return verify_paths([path], boot_id=boot)


def violations(report: Report) -> list[tuple[int | None, str]]:
    return [(found.line, found.sentence) for found in report.all_findings() if found.kind == "violation"]


def notes(report: Report) -> list[str]:
    return [found.sentence for found in report.all_findings() if found.kind == "note"]


def test_a_closed_stream_is_valid_without_a_note(tmp_path: Path) -> None:
    trail = sample(5)
    report = check(trail.write(tmp_path))
    (stream,) = report.streams
    assert report.verdict == "valid"
    assert report.exit_code() == report.exit_code(strict=True) == 0
    assert (stream.stream_id, stream.records, stream.ended, stream.last_number) == (trail.stream, 7, True, 7)
    assert stream.last_hash == trail.head
    assert list(report.all_findings()) == []


def test_an_open_stream_is_valid_with_a_note(tmp_path: Path) -> None:
    trail = Trail()
    trail.call()
    report = check(trail.write(tmp_path))
    assert (report.exit_code(), report.exit_code(strict=True)) == (0, 1)
    assert notes(report) == ["no end record: its writer lives, or ended without closing the stream"]


def test_what_a_store_may_change_is_no_violation(tmp_path: Path) -> None:
    trail = sample(2)
    records = copy.deepcopy(trail.records)
    for record in records:
        record["attributes"].reverse()
        attribute(record, "audit.sequence.number")["intValue"] = int(
            attribute(record, "audit.sequence.number")["intValue"]
        )
        record["timeUnixNano"] = int(record["timeUnixNano"])
        record.setdefault("body", {})
        record.setdefault("traceId", "0" * 32)
        record.setdefault("spanId", "")
        record["severityNumber"] = 0
        record["droppedAttributesCount"] = 0
    lines = [json.dumps(json.loads(trail.line(record)), sort_keys=True, indent=None).encode() for record in records]
    report = check(trail.write(tmp_path, [line + b" \r\n" for line in lines]))
    assert violations(report) == []
    assert report.records == 4


# --- falsifications: (what is done to the lines or records, line of the first violation, its sentence) --------------


def edited(key: str, kind: str, value: Any, index: int = 2) -> Callable[[Trail], Line]:
    def edit(trail: Trail) -> Line:
        attribute(trail.records[index], key)[kind] = value
        return trail.lines()

    return edit


def with_record(index: int, change: Callable[[dict[str, Any]], Any]) -> Callable[[Trail], Line]:
    def edit(trail: Trail) -> Line:
        change(trail.records[index])
        return trail.lines()

    return edit


def with_lines(change: Callable[[Line], Line]) -> Callable[[Trail], Line]:
    return lambda trail: change(trail.lines())


def swapped(lines: Line) -> Line:
    return [*lines[:2], lines[3], lines[2], *lines[4:]]


def rewritten(trail: Trail) -> Line:
    attribute(trail.records[2], "user.id")["stringValue"] = "mallory"
    trail.records[2] = rehashed(trail.records[2])
    return trail.lines()


def duplicated_and_changed(trail: Trail) -> Line:
    again = copy.deepcopy(trail.records[2])
    attribute(again, "user.id")["stringValue"] = "mallory"
    trail.records.insert(3, rehashed(again))
    return trail.lines()


def inserted(trail: Trail) -> Line:
    other = Trail(seed=9)
    other.call("planted")
    lines = trail.lines()
    return [*lines[:3], trail.line(other.records[1]), *lines[3:]]


def other_resource(trail: Trail) -> Line:
    lines = trail.lines()
    lines[2] = trail.line(trail.records[2], {**trail.resource, "host.name": "elsewhere"})
    return lines


def other_resource_everywhere(trail: Trail) -> Line:
    trail.resource = {**trail.resource, "host.name": "elsewhere"}
    return trail.lines()


def other_scope(trail: Trail) -> Line:
    trail.scope = {**trail.scope, "version": "9.9"}
    return trail.lines()


def after_end(trail: Trail) -> Line:
    trail.call()
    return trail.lines()


def doubled_key(record: dict[str, Any]) -> None:
    record["attributes"].append({"key": "user.id", "value": {"stringValue": "mallory"}})


def doubled_member(lines: Line) -> Line:
    lines[2] = lines[2].replace(b'"eventName":', b'"eventName":"x","eventName":', 1)
    return lines


HASH = "the record is not what was written: its hash differs (an attribute, name, time or id)"
BODY = "the body is not what was written: its digest differs"
OBSERVED = "the observed time is not the time plus the duration"
RESOURCE = "resource or scope are other than in line 1"
FALSIFICATIONS: dict[str, tuple[Callable[[Trail], Line], int, str]] = {
    "edited attribute": (edited("user.id", "stringValue", "mallory"), 3, HASH),
    "edited number": (edited("mcp_audit.duration_us", "intValue", "1"), 3, HASH),
    "removed attribute": (
        with_record(2, lambda record: record["attributes"].pop(0)),
        3,
        "the record has no audit.action",
    ),
    "added attribute": (
        with_record(2, lambda record: record["attributes"].append({"key": "x", "value": {"stringValue": "y"}})),
        3,
        HASH,
    ),
    "edited hash": (edited("mcp_audit.record.hash", "stringValue", "0" * 64), 3, HASH),
    "edited event": (with_record(2, lambda record: record.update(eventName="mcp_audit.prompt_get")), 3, HASH),
    "edited trace id": (with_record(2, lambda record: record.update(traceId="1" * 32)), 3, HASH),
    "removed span id": (with_record(2, lambda record: record.pop("spanId")), 3, HASH),
    "edited body": (with_record(2, lambda record: record.update(body={"stringValue": '{"arguments":{}}'})), 3, BODY),
    "removed body": (
        with_record(2, lambda record: record.pop("body")),
        3,
        "the body is missing: the record has a digest of one",
    ),
    "added body": (
        with_record(0, lambda record: record.update(body={"stringValue": "{}x"})),
        1,
        "the record has a body but no digest of it",
    ),
    "changed time": (with_record(2, lambda record: record.update(timeUnixNano="1764000000000000000")), 3, HASH),
    "changed observed time": (
        with_record(2, lambda record: record.update(observedTimeUnixNano="1764000009000000000")),
        3,
        OBSERVED,
    ),
    "changed observed time of an event": (
        with_record(0, lambda record: record.update(observedTimeUnixNano="1764000009000000000")),
        1,
        OBSERVED,
    ),
    "dropped": (with_lines(lambda lines: lines[:2] + lines[3:]), 3, "record 3 is missing: this is number 4"),
    "two dropped": (with_lines(lambda lines: lines[:2] + lines[4:]), 3, "records 3 to 4 are missing: this is number 5"),
    "swapped": (with_lines(swapped), 3, "record 3 is missing: this is number 4"),
    "duplicated": (
        with_lines(lambda lines: [*lines[:3], lines[2], *lines[3:]]),
        4,
        "number 3 stands where number 4 was expected: repeated or out of order",
    ),
    "duplicated and changed": (
        duplicated_and_changed,
        4,
        "number 3 stands where number 4 was expected: repeated or out of order",
    ),
    "rewritten with its hash": (rewritten, 4, "it does not point back to the record before it (previous_hash differs)"),
    "inserted": (inserted, 4, "number 2 stands where number 4 was expected: repeated or out of order"),
    "cut head": (
        with_lines(lambda lines: lines[2:]),
        1,
        "the first record has number 3: the head of the stream is missing",
    ),
    "reversed": (
        with_lines(lambda lines: lines[::-1]),
        1,
        "the first record has number 7: the head of the stream is missing",
    ),
    "other resource": (other_resource, 3, RESOURCE),
    "other resource in every line": (
        other_resource_everywhere,
        1,
        "resource or scope are not those of mcp_audit.resource.hash",
    ),
    "other scope in every line": (other_scope, 1, "resource or scope are not those of mcp_audit.resource.hash"),
    "record after the end": (after_end, 8, "a record after the end record of line 7"),
    "repeated attribute key": (with_record(2, doubled_key), 3, 'attribute "user.id" is repeated'),
    "repeated JSON member": (with_lines(doubled_member), 3, 'JSON member "eventName" is repeated'),
    "unknown member": (
        with_record(2, lambda record: record.update(severityText="INFO")),
        3,
        'the record has a member "severityText", which the format does not know',
    ),
    "wrong type": (
        edited("mcp_audit.duration_us", "intValue", "many"),
        3,
        'attribute "mcp_audit.duration_us" has a value that its type does not allow',
    ),
    "blank line": (with_lines(lambda lines: [*lines[:2], b"\n", *lines[2:]]), 3, "no record: an empty line"),
    "zeros": (
        with_lines(lambda lines: [*lines[:2], b"\0" * 500 + b"\n", *lines[2:]]),
        3,
        "no record: a run of zero bytes",
    ),
    "other canonicalization": (
        edited("audit.integrity.canonicalization", "stringValue", "jcs"),
        3,
        "audit.integrity.canonicalization is not otlp-json-jcs",
    ),
}


@pytest.mark.parametrize("name", FALSIFICATIONS)
def test_a_falsification_is_found_and_placed(tmp_path: Path, name: str) -> None:
    falsify, line, sentence = FALSIFICATIONS[name]
    trail = sample(5)
    path = trail.write(tmp_path, falsify(trail))
    report = check(path)
    assert report.exit_code() == 1
    assert (line, sentence) == violations(report)[0]
    first = report.first_violation()
    assert first is not None and first.file == str(path)
    assert path.read_bytes()[: first.offset].count(b"\n") == line - 1


def test_the_tail_of_a_closed_stream_cannot_be_cut_unseen(tmp_path: Path) -> None:
    trail = sample(5)
    report = check(trail.write(tmp_path, trail.lines()[:-1]))
    assert notes(report) == ["no end record: its writer lives, or ended without closing the stream"]
    assert report.exit_code(strict=True) == 1


def test_a_cut_tail_shows_when_the_next_stream_points_back(tmp_path: Path) -> None:
    first = sample(5)
    second = sample(2, stream="6f1d1c1e-0000-4000-8000-000000000002", previous=first, seed=2)
    paths = [first.write(tmp_path), second.write(tmp_path)]
    assert verify_paths(paths, boot_id=BOOT).exit_code(strict=True) == 0
    first.write(tmp_path, first.lines()[:-2])
    report = verify_paths(paths, boot_id=BOOT)
    assert violations(report) == [
        (
            None,
            "its last record (number 5) is not the one that the next stream, "
            "6f1d1c1e-0000-4000-8000-000000000002, points back to: the tail is missing or was replaced",
        )
    ]
    # A power cut may have taken that tail: on another boot it is a note.
    assert verify_paths(paths, boot_id="another").exit_code() == 0


def test_the_stream_before_is_not_looked_for_by_hash_when_it_was_still_being_written(tmp_path: Path) -> None:
    first = sample(5)
    second = sample(2, stream="6f1d1c1e-0000-4000-8000-000000000002", previous=first, seed=2)
    opened = second.records[0]["attributes"]
    opened[:] = [item for item in opened if item["key"] != "mcp_audit.stream.previous_hash"]
    rechain(second)
    ledger_of(first, second).write(tmp_path)
    first.write(tmp_path)
    second.write(tmp_path)
    assert check(tmp_path).exit_code(strict=True) == 0


def test_a_repeated_record_id_elsewhere(tmp_path: Path) -> None:
    first, second = Trail(), Trail(stream="6f1d1c1e-0000-4000-8000-000000000002", seed=2)
    first.call("same", **{"audit.record.id": "one"})
    second.call("other", **{"audit.record.id": "one"})
    first.write(tmp_path)
    second.write(tmp_path)
    ledger_of(first, second).write(tmp_path)
    report = check(tmp_path)
    place = tmp_path / first.name
    assert violations(report) == [(2, f"the record id is that of line 2 of {place}, with other content under number 2")]
    # The same content under another number is what at-least-once leaves.
    attributes = {
        item["key"]: item["value"].get("stringValue", item["value"].get("intValue"))
        for item in first.records[1]["attributes"]
    }
    record = first.records[1]
    trail = Trail(stream="6f1d1c1e-0000-4000-8000-000000000002", seed=2)
    trail.call("filler")
    plain = {
        key: value for key, value in attributes.items() if not key.startswith(("audit.sequence.", "audit.integrity"))
    }
    plain.pop("mcp_audit.record.hash")
    plain.pop("mcp_audit.content.digest")
    plain["mcp_audit.duration_us"] = int(plain["mcp_audit.duration_us"])
    trail.now = int(record["timeUnixNano"]) - 1_000_000_000
    trail.add(
        record["eventName"], plain, record["body"]["stringValue"], (record["traceId"], record["spanId"]), False, 1234007
    )
    trail.write(tmp_path)
    ledger_of(first, trail).write(tmp_path)
    report = check(tmp_path)
    assert violations(report) == []
    assert f"the record id is that of line 2 of {place}, the same record under number 3" in notes(report)


def test_holes_of_a_power_cut_end_the_stream_with_a_note(tmp_path: Path) -> None:
    trail = Trail()
    for _ in range(6):
        trail.call()
    lines = trail.lines()
    lines[4] = b"\0" * len(lines[4]) + b"\n"
    path = trail.write(tmp_path, lines)
    assert check(path).exit_code() == 1  # the same boot: nothing innocent does that
    report = check(path, boot="another")
    assert report.exit_code() == 0
    (stream,) = report.streams
    assert (stream.records, stream.last_number) == (4, 4)
    assert any(
        sentence.startswith("the stream ends here: no record: a run of zero bytes.") for sentence in notes(report)
    )
    # A record that can be read and is wrong is a violation on any boot, as long as it stands before the hole.
    attribute(trail.records[2], "user.id")["stringValue"] = "mallory"
    falsified = trail.lines()
    falsified[4] = lines[4]
    assert check(trail.write(tmp_path, falsified), boot="another").exit_code() == 1


def test_additions_of_carriers_are_notes(tmp_path: Path) -> None:
    trail = sample(1)
    trail.records[1]["attributes"].append({"key": "log.file.name", "value": {"stringValue": "x.jsonl"}})
    report = check(trail.write(tmp_path))
    assert (violations(report), notes(report)) == ([], ["log.file.name was added on the way and is covered by no hash"])


def test_a_renamed_file_is_a_note(tmp_path: Path) -> None:
    path = sample(1).write(tmp_path).rename(tmp_path / "copy.jsonl")
    assert notes(check(path)) == [f"the file was written under the name {sample(1).name}"]


def test_another_major_version_is_unreadable(tmp_path: Path) -> None:
    trail = sample(2)
    for record in trail.records:
        attribute(record, "audit.schema.version")["stringValue"] = "2.0"
    report = check(trail.write(tmp_path))
    assert (report.verdict, report.exit_code()) == ("unreadable", 2)
    assert [found.sentence for found in report.all_findings()] == ["written by format 2.0; this release reads 1.x"]


def test_a_later_minor_version_with_a_new_attribute_is_valid(tmp_path: Path) -> None:
    trail = Trail()
    trail.call(**{"audit.schema.version": "1.7", "mcp_audit.of_the_future": True})
    trail.close()
    assert check(trail.write(tmp_path)).exit_code(strict=True) == 0


def test_the_json_form(tmp_path: Path) -> None:
    trail = sample(2)
    path = trail.write(tmp_path, trail.lines()[1:])
    made = as_json(check(path))
    assert list(made) == ["verdict", "exit_code", "tier", "counts", "first_violation", "findings", "streams"]
    assert (made["verdict"], made["exit_code"], made["tier"]["name"]) == ("violated", 1, "keyless")
    assert made["first_violation"]["line"] == 1
    assert made["counts"] == {"streams": 1, "records": 2, "violations": 2, "notes": 0, "unreadable": 0}
    json.dumps(made)


def test_a_resource_value_of_another_type_is_another_resource(tmp_path: Path) -> None:
    trail = sample(2)
    lines = trail.lines()
    lines[2] = lines[2].replace(b'{"stringValue":"box"}', b'{"boolValue":true}', 1)
    assert violations(check(trail.write(tmp_path, lines)))[0] == (3, RESOURCE)
