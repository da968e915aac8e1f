# SPDX-License-Identifier: Apache-2.0
"""What a Collector's archive holds: many streams, batches, any order, repetition, torn and glued lines; and what is wrong."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from journals import journal, record

from opentelemetry.instrumentation.mcp_audit.integrity.collected import is_collected
from opentelemetry.instrumentation.mcp_audit.integrity.report import Report
from opentelemetry.instrumentation.mcp_audit.integrity.verify import verify_paths


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """The lines of two journals, each of one whole stream of five records."""
    made = []
    for number in range(2):
        place = tmp_path_factory.mktemp("journal") / "svc"
        trail = journal(place, fsync="never", adopts=False)
        for call in range(3):
            trail.append(record(f"tool-{number}-{call}", size=20))
        trail.close()
        (file,) = (path for path in place.glob("*.jsonl") if path.name != "ledger.jsonl")
        made.append(file.read_text().splitlines())
    return made


def batch(lines: Sequence[str], rewritten: bool = True) -> str:
    """Lines as one line of a Collector's file: grouped by stream, members in its own order."""
    groups: dict[str, Any] = {}
    for line in lines:
        (group,) = json.loads(line)["resourceLogs"]
        (scoped,) = group["scopeLogs"]
        known = groups.setdefault(json.dumps(group["resource"]), {**group, "scopeLogs": [{**scoped, "logRecords": []}]})
        for member in scoped["logRecords"]:
            names = sorted(member, reverse=True) if rewritten else list(member)
            known["scopeLogs"][0]["logRecords"].append({name: member[name] for name in names})
    return json.dumps({"resourceLogs": list(groups.values())}, separators=(",", ":"))


def archive(directory: Path, *lines: str, name: str = "audit.jsonl") -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def said(report: Report) -> list[tuple[str, str]]:
    return [(finding.kind, finding.sentence) for finding in report.all_findings()]


def test_in_order(tmp_path: Path, streams: list[list[str]]) -> None:
    first, second = streams
    path = archive(tmp_path / "a", batch([*first[:2], *second[:4]]), batch(first[2:]), batch(second[4:]))
    assert is_collected(str(path))
    for place in (path, tmp_path / "a"):
        report = verify_paths([place])
        assert (report.verdict, said(report), report.records) == ("valid", [], 10)
        assert [stream.ended for stream in report.streams] == [True, True]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), size=st.integers(1, 4))
def test_any_order_and_any_repetition(tmp_path: Path, streams: list[list[str]], seed: int, size: int) -> None:
    chance = random.Random(seed)
    lines = [*streams[0], *streams[1], *chance.sample(streams[0], 2)]
    chance.shuffle(lines)
    path = archive(tmp_path / "a", *(batch(lines[at : at + size]) for at in range(0, len(lines), size)))
    report = verify_paths([path], collected=True)
    assert report.verdict == "valid" and report.records == 10
    assert said(report) == [("note", "2 of its records came more than once, the same each time")]


def test_several_files_of_one_archive(tmp_path: Path, streams: list[list[str]]) -> None:
    first, second = streams
    archive(tmp_path / "a", batch(first[3:]), batch(second))
    archive(tmp_path / "a", batch(first[:3]), name="audit-2026-11-24T05-30-00.000.jsonl")
    report = verify_paths([tmp_path / "a"])
    assert (report.verdict, said(report), report.records) == ("valid", [], 10)


def test_a_torn_batch_and_one_that_is_glued_to_it(tmp_path: Path, streams: list[list[str]]) -> None:
    first, second = streams
    torn = batch(first[2:4])[:700]
    path = archive(tmp_path / "a", batch(first[:2]), "", torn + batch(first[2:]), batch(second))
    report = verify_paths([path])
    assert report.verdict == "valid" and report.records == 10
    ((kind, sentence),) = said(report)
    assert kind == "note" and sentence.startswith("no record: a batch that was not written to its end (not JSON")


def test_without_bodies(tmp_path: Path, streams: list[list[str]]) -> None:
    stripped = []
    for line in streams[0]:
        tree = json.loads(line)
        tree["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0].pop("body", None)
        stripped.append(json.dumps(tree))
    report = verify_paths([archive(tmp_path / "a", batch(stripped))])
    assert report.verdict == "valid"
    assert said(report) == [("note", "the body is not here, only its digest (3 of 5 records)")]


def test_an_open_tail_is_a_note(tmp_path: Path, streams: list[list[str]]) -> None:
    report = verify_paths([archive(tmp_path / "a", batch(streams[0][:4]))])
    assert report.verdict == "valid"
    assert said(report) == [("note", "no end record: its writer lives, or ended without closing the stream")]


def edited(line: str) -> str:
    return line.replace("tool-0", "tool-9")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda lines: [*lines[:2], *lines[3:]], "record 3 is missing: this is number 4"),
        (lambda lines: lines[1:], "the first record has number 2: the head of the stream is missing"),
        (
            lambda lines: [*lines[:1], edited(lines[1]), *lines[2:]],
            "the record is not what was written: its hash differs (an attribute, name, time or id)",
        ),
        (
            lambda lines: [*lines, edited(lines[1])],
            "another record stands under this number too: "
            "the record is not what was written: its hash differs (an attribute, name, time or id)",
        ),
        (
            lambda lines: [edited(lines[1]), *lines],
            "the record is not what was written: its hash differs (an attribute, name, time or id)",
        ),
        (
            lambda lines: [*lines[:1], lines[1].replace("xxxx", "yyyy"), *lines[2:]],
            "the body is not what was written: its digest differs",
        ),
    ],
)
def test_falsifications(tmp_path: Path, streams: list[list[str]], change: Any, sentence: str) -> None:
    path = archive(tmp_path / "a", *map(batch, map(lambda line: [line], change(streams[0]))), batch(streams[1]))
    report = verify_paths([path])
    assert report.exit_code() == 1
    assert sentence in [finding.sentence for finding in report.all_findings() if finding.kind == "violation"]


def test_a_segment_that_was_renamed_is_no_archive(tmp_path: Path, streams: list[list[str]]) -> None:
    path = archive(tmp_path / "a", *streams[0], name="copy.jsonl")
    assert not is_collected(str(path))
    swapped = archive(tmp_path / "b", streams[0][0], streams[0][2], streams[0][1], *streams[0][3:], name="copy.jsonl")
    assert verify_paths([swapped]).exit_code() == 1
    assert verify_paths([swapped], collected=True).exit_code() == 0


@pytest.mark.parametrize("content", [b"", b"garbage\n", b'{"resourceLogs":[', b"\0" * 5000, b"{}\n" * 100])
def test_what_is_neither(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    assert not is_collected(str(path))
    assert verify_paths([path], collected=True).exit_code() == 2


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    report = verify_paths([tmp_path / "nope.jsonl"], collected=True)
    assert report.exit_code() == 2


def test_a_line_of_any_number_of_pieces(tmp_path: Path, streams: list[list[str]]) -> None:
    whole = [batch([line]) for line in streams[0]]
    path = archive(tmp_path, (whole[0][:200] * 3000) + "".join(whole))
    report = verify_paths([path])
    assert (report.exit_code(), report.records) == (0, 5)


@pytest.mark.parametrize("kept", range(1, 18))
def test_a_batch_whose_line_end_is_missing_and_the_first_bytes_of_the_next(
    tmp_path: Path, streams: list[list[str]], kept: int
) -> None:
    whole = [batch([line]) for line in streams[0]]
    path = archive(tmp_path, whole[0] + whole[1][:kept] + whole[1], *whole[2:4])
    with path.open("a") as file:
        file.write(whole[4] + whole[0][:kept])
    report = verify_paths([path])
    assert (report.exit_code(), report.records) == (0, 5), said(report)


def test_what_every_record_got_on_the_way_is_told_once(tmp_path: Path, streams: list[list[str]]) -> None:
    peer = '"attributes": [{"key": "mcp_audit.collector.peer", "value": {"stringValue": "10.0.0.1"}}, '
    lines = [line.replace('"logRecords":[{"attributes":[', f'"logRecords":[{{{peer}', 1) for line in streams[0]]
    report = verify_paths([archive(tmp_path, batch(lines))])
    assert report.exit_code() == 0
    assert ("note", "mcp_audit.collector.peer was added on the way and is covered by no hash (5 of 5 records)") in said(
        report
    )
    assert report.count("note") == 1, said(report)
