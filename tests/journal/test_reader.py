# SPDX-License-Identifier: Apache-2.0
"""Reading: files in order, records merged by time, the last few, what comes later; bad content is told and passed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from trail_oracle import START, Trail, sample

from opentelemetry.instrumentation.mcp_audit.integrity.parse import Problem, StoredRecord
from opentelemetry.instrumentation.mcp_audit.journal.reader import (
    Follower,
    find,
    in_time_order,
    last,
    read_file,
    start_of,
)

SECOND = 1_000_000_000


def named(trail: Trail, stamp: str) -> Trail:
    trail.name = f"{stamp}-1-{trail.stream}.jsonl"
    return trail


def tools(items: Iterator[StoredRecord | Problem] | list[StoredRecord]) -> list[str]:
    return [
        str(item.attributes["gen_ai.tool.name"])
        for item in items
        if isinstance(item, StoredRecord) and "gen_ai.tool.name" in item.attributes
    ]


def test_a_record_as_it_is_read(tmp_path: Path) -> None:
    trail = sample(1)
    path = trail.write(tmp_path)
    _, record, _ = list(read_file(str(path)))
    assert isinstance(record, StoredRecord)
    assert (record.file, record.line, record.offset) == (str(path), 2, len(trail.lines()[0]))
    assert (record.event_name, record.time, record.observed) == (
        "mcp_audit.tool_call",
        START + 2 * SECOND,
        START + 2 * SECOND + 1_234_007,
    )
    assert (record.trace_id, record.span_id) == ("5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174")
    assert record.body == '{"arguments":{"query":"customers"},"salt":"00000000000000000000000000000000"}'
    assert record.resource == trail.resource
    assert record.stream_id == trail.stream
    assert record.number == 2
    assert record.raw + b"\n" == trail.lines()[1]
    assert record.faults == ()


def test_names_tell_the_start() -> None:
    assert start_of("/x/20261124T053000Z-4711-abc.jsonl") == 1_795_498_200 * SECOND
    assert start_of("/x/20261324T053000Z-4711-abc.jsonl") == 0
    assert start_of("/x/whatever.jsonl") == 0


def test_files_are_found_in_start_order_below_a_root(tmp_path: Path) -> None:
    for service, stamp in (("b", "20261124T053000Z"), ("a", "20261124T063000Z"), ("a", "20261124T043000Z")):
        (tmp_path / service).mkdir(exist_ok=True)
        (tmp_path / service / f"{stamp}-1-x.jsonl").touch()
    (tmp_path / "a" / "ledger.jsonl").touch()
    (tmp_path / "a" / "keyring.json").touch()
    journal = find([str(tmp_path), str(tmp_path / "nope")])
    assert [os.path.relpath(file, tmp_path) for file in journal.files] == [
        "a/20261124T043000Z-1-x.jsonl",
        "b/20261124T053000Z-1-x.jsonl",
        "a/20261124T063000Z-1-x.jsonl",
    ]
    assert [problem.what for problem in journal.problems] == ["cannot be read: No such file or directory"]


def test_streams_are_merged_by_time(tmp_path: Path) -> None:
    one = named(Trail(start=START), "20251124T155900Z")
    two = named(
        Trail(stream="6f1d1c1e-0000-4000-8000-000000000002", start=START + SECOND // 2, seed=2), "20251124T160000Z"
    )
    for number in range(3):
        one.call(f"one_{number}")
        two.call(f"two_{number}")
    one.write(tmp_path)
    two.write(tmp_path)
    files = find([str(tmp_path)]).files
    assert tools(in_time_order(files)) == ["one_0", "two_0", "one_1", "two_1", "one_2", "two_2"]


def test_a_long_call_is_put_where_it_began(tmp_path: Path) -> None:
    trail = named(Trail(), "20251124T155900Z")
    trail.call("first")
    trail.now -= 3 * SECOND
    trail.call("began_before_but_ended_later")
    trail.write(tmp_path)
    assert tools(in_time_order(find([str(tmp_path)]).files)) == ["began_before_but_ended_later", "first"]


def test_bad_lines_are_told_and_passed(tmp_path: Path) -> None:
    trail = sample(2)
    lines = trail.lines()
    path = trail.write(tmp_path, [lines[0], b"garbage\n", lines[1], b"x" * 600_000 + b"\n", lines[2], lines[3][:50]])
    items = list(in_time_order([str(path)]))
    assert tools(iter(items)) == ["tool_0", "tool_1"]
    problems = [item for item in items if isinstance(item, Problem)]
    assert [(problem.line, problem.torn) for problem in problems] == [(2, False), (4, False), (6, True)]
    assert problems[1].what == "a line of 600000 bytes; the format allows 524288"


@pytest.mark.parametrize("count", [0, 1, 3, 7, 100])
def test_the_last_records_are_read_from_the_end(tmp_path: Path, count: int) -> None:
    trails = []
    for number in range(3):
        trail = sample(
            3, stream=f"6f1d1c1e-0000-4000-8000-00000000000{number}", seed=number, start=START + number * 100 * SECOND
        )
        path = trail.write(tmp_path)
        os.utime(path, ns=(trail.now, trail.now))
        trails.append(trail)
    everything = [item for item in in_time_order(find([str(tmp_path)]).files) if isinstance(item, StoredRecord)]
    found = last(find([str(tmp_path)]).files, count)
    assert [record.record_id for record in found] == [record.record_id for record in everything][
        -count or len(everything) :
    ]


def test_the_last_records_of_a_damaged_file(tmp_path: Path) -> None:
    trail = sample(30)
    lines = trail.lines()
    path = trail.write(tmp_path, [*lines[:10], b"y" * 3_000_000 + b"\n", *lines[10:], b"torn"])
    assert tools(last([str(path)], 30, lambda record: record.event_name == "mcp_audit.tool_call")) == [
        f"tool_{number}" for number in range(30)
    ]


def test_following_sees_new_lines_and_new_files_whole(tmp_path: Path) -> None:
    trail = sample(4)
    lines = trail.lines()
    path = trail.write(tmp_path, lines[:2])
    follower = Follower([str(tmp_path)])
    assert list(follower.poll()) == []
    with open(path, "ab") as file:
        file.write(lines[2] + lines[3][:100])
    (seen,) = follower.poll()
    assert isinstance(seen, StoredRecord)
    assert (seen.line, seen.offset) == (3, len(lines[0] + lines[1]))
    assert list(follower.poll()) == []
    with open(path, "ab") as file:
        file.write(lines[3][100:] + b"garbage\n")
    whole, garbage = follower.poll()
    assert isinstance(whole, StoredRecord) and whole.line == 4
    assert isinstance(garbage, Problem) and garbage.line == 5
    other = sample(1, stream="6f1d1c1e-0000-4000-8000-000000000002", seed=2)
    other.write(tmp_path)
    assert len(list(follower.poll())) == 3
    assert list(follower.poll()) == []


def test_following_tells_a_file_that_became_shorter(tmp_path: Path) -> None:
    path = sample(1).write(tmp_path)
    follower = Follower([str(tmp_path)])
    assert list(follower.poll()) == []
    with open(path, "r+b") as file:
        file.truncate(10)
    (problem,) = follower.poll()
    assert isinstance(problem, Problem) and problem.what == "the file became shorter while it was followed"
    assert list(follower.poll()) == []


def test_following_waits_for_a_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    follower = Follower([str(tmp_path / "later")])
    (problem,) = follower.poll()
    assert isinstance(problem, Problem)
    assert list(follower.poll()) == []
    (tmp_path / "later").mkdir()
    sample(1).write(tmp_path / "later")
    assert len(list(follower.poll())) == 3


def test_follow_polls_until_it_is_stopped(tmp_path: Path) -> None:
    trail = sample(2)
    lines = trail.lines()
    path = trail.write(tmp_path, lines[:1])
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            raise KeyboardInterrupt
        with open(path, "ab") as file:
            file.write(lines[len(naps)])

    seen = []
    with pytest.raises(KeyboardInterrupt):
        for item in Follower([str(tmp_path)]).follow(0.2, sleep):
            seen.append(item)
    assert tools(iter(seen)) == ["tool_0", "tool_1"]
    assert naps == [0.2, 0.2, 0.2]
