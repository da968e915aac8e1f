# SPDX-License-Identifier: Apache-2.0
"""The Collector reads the journal's directory itself: rotation, long resources, kills in the middle, torn tails."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

from delivered import archived, arrived, ids, lines_of, send, written
from journals import ORIGIN, journal, record, until

from collector import Collector
from opentelemetry.instrumentation.mcp_audit.integrity.verify import verify_paths

PIPELINE = ("audit.yaml", "sinks/file.yaml", "sources/journal.yaml")
# Longer than the 1,000 bytes by which the receiver tells files apart.
LONG = replace(ORIGIN, resource={**ORIGIN.resource, **{f"service.label.{n}": "v" * 60 for n in range(40)}})


def reading(home: Path, directory: Path) -> Collector:
    return Collector(home, *PIPELINE, env={"AUDIT_JOURNAL_DIR": str(directory)})


def all_arrived(collector: Collector, directory: Path) -> bool:
    return set(arrived(collector)) >= set(ids(lines_of(directory)))


def test_every_segment_of_a_long_resource_and_the_ledger(tmp_path: Path) -> None:
    """Written before the Collector starts, of several services, with files beside them that are no segments."""
    here = tmp_path / "journals"
    for service in ("one", "two"):
        for _ in range(5):
            written(here / service, 12, 2000, origin=LONG)
    one, two = lines_of(here / "one"), lines_of(here / "two")
    starts = [path.read_bytes()[:1000] for path in (here / "one").glob("2*.jsonl")]
    assert len(set(starts)) == 5 and all(b"scopeLogs" not in start for start in starts)
    assert len({start.partition(b'"service.name"')[2] for start in starts}) == 1, "only the stream id tells them apart"
    (here / "one" / "quarantine").mkdir(exist_ok=True)
    (here / "quarantine").mkdir()
    (here / "quarantine" / "cut.jsonl").write_bytes(one[0] + b"\n")
    with reading(tmp_path / "c", here) as collector:
        until(lambda: set(arrived(collector)) >= set(ids([*one, *two])), 30)
        collector.stop()
        kept = archived(collector)
    assert ids(kept) == ids([*one, *two]), "each once, and nothing else"
    assert b"log.file" not in b"".join(kept), "the record is as it was written"
    report = verify_paths([collector.archive])
    assert (report.exit_code(), report.records) == (0, len(one) + len(two)), list(report.all_findings())


def test_killed_in_the_middle_while_the_journal_is_written_and_rotated(tmp_path: Path) -> None:
    here = tmp_path / "journal"
    trail = journal(here, origin=LONG, segment_bytes=64 * 1024)
    collector = reading(tmp_path / "c", here).start()
    pause = threading.Event()
    for round_ in range(4):
        for index in range(250):
            trail.append(record(f"r{round_}-{index}", 300))
        # Only where it is certainly in the middle is a kill worth anything.
        until(lambda least=250 * round_: len(arrived(collector)) > least, 30)
        collector.kill()
        pause.wait(0.05)
        collector.start()
    trail.close()
    until(lambda: all_arrived(collector, here), 60)
    collector.stop()
    kept, sent = arrived(collector), ids(lines_of(here))
    assert set(kept) == set(sent) and len(sent) > 1000
    assert len(list(here.glob("2*.jsonl"))) > 3, "it was rotated meanwhile"
    report = verify_paths([collector.archive])
    assert (report.exit_code(), report.records) == (0, len(sent)), list(report.all_findings())


def test_half_a_line_is_not_taken_for_a_line(tmp_path: Path) -> None:
    """By default the receiver takes what stands without a line end for half a second; the rest would be lost then."""
    here = tmp_path / "journal"
    lines = written(here, 4)
    (segment,) = here.glob("2*.jsonl")
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-300])
    expected = ids(lines)
    with reading(tmp_path / "c", here) as collector:
        until(lambda: len(arrived(collector)) == len(expected) - 1, 30)
        threading.Event().wait(2.5)  # more than two polls and the default flush period
        with segment.open("ab") as file:
            file.write(whole[-300:])
        until(lambda: arrived(collector) == expected, 30)
        assert "error" not in collector.log_text()


def test_what_a_full_archive_refuses_is_passed_over_and_stays_in_the_journal(tmp_path: Path, small_disk: Path) -> None:
    """The receiver's known hole, so that the documentation says what is; who posts the missing lines closes it."""
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 1_000_000)
    here = tmp_path / "journal"
    refused = written(here, 100, 2000)
    collector = reading(tmp_path / "c", here)
    collector.archive = small_disk / "archive" / "audit.jsonl"
    collector.env["AUDIT_JSONL"] = str(collector.archive)
    with collector:
        until(lambda: "no space left on device" in collector.log_text(), 30)
        until(lambda: collector.scrape().get("otelcol_receiver_refused_log_records", 0) > 0, 30)
        filler.unlink()
        written(here, 3)
        later = ids(line for line in lines_of(here) if line not in refused)
        until(lambda: set(arrived(collector)) >= set(later), 30)
        missing = set(ids(lines_of(here))) - set(arrived(collector))
        assert missing, "they are not read again"
        send(collector, [line for line in lines_of(here) if set(ids([line])) & missing])
        assert set(arrived(collector)) == set(ids(lines_of(here)))
