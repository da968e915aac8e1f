# SPDX-License-Identifier: Apache-2.0
"""What the package's own journal writes, this verification finds valid, and the oracle's hashes agree with it."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from trail_oracle import attribute, record_form, sha

from opentelemetry.instrumentation.mcp_audit.integrity.verify import verify_paths
from opentelemetry.instrumentation.mcp_audit.journal.journal import Journal, Options
from opentelemetry.instrumentation.mcp_audit.journal.origin import Origin
from opentelemetry.instrumentation.mcp_audit.record.attributes import AttributeValue
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord

NAMES = (
    "audit.record.id audit.action audit.outcome audit.actor.id audit.actor.type mcp.method.name mcp_audit.call.id "
    "mcp_audit.outcome.detail mcp_audit.actor.provenance mcp_audit.request.id mcp_audit.level"
).split()


def journal(directory: Path, segment_bytes: int = 64 * 1024 * 1024) -> Journal:
    origin = Origin({"service.name": "svc"}, "scope", "1", "0" * 64, "1" * 64, ("mcp=2.3.0",))
    options = Options(fsync="never", segment_bytes=segment_bytes)
    return Journal(directory, origin, options, say=lambda sentence: None)


def record(number: int, text: str = "x", body: str | None = None) -> AuditRecord:
    attributes: dict[str, AttributeValue] = {name: f"{text}{number}" for name in NAMES}
    attributes |= {"audit.schema.version": "1.0", "mcp_audit.duration_us": 5}
    if body is not None:
        attributes["mcp_audit.content.digest"] = sha(body.encode())
    return AuditRecord("mcp_audit.tool_call", 10**18, 10**18 + 5999, attributes, body, "ab" * 16, "cd" * 8)


def test_a_real_journal_is_valid_while_it_is_written_and_after(tmp_path: Path) -> None:
    written = journal(tmp_path)
    for number in range(20):
        written.append(record(number, body=f'{{"arguments":{number}}}'))
    report = verify_paths([tmp_path])
    assert [found.sentence for found in report.all_findings()] == [
        "no end record: its writer lives, or ended without closing the stream"
    ]
    written.close()
    report = verify_paths([tmp_path])
    assert list(report.all_findings()) == []
    assert report.records == 25


def test_rotated_segments_point_back(tmp_path: Path) -> None:
    written = journal(tmp_path, segment_bytes=8 * 1024)
    for number in range(30):
        # The journal's own thread takes the next segment up: it is given the time that a call leaves it.
        written.append(record(number)).wait(10)
    written.close()
    report = verify_paths([tmp_path])
    assert list(report.all_findings()) == []
    segments = [stream for stream in report.streams if not stream.ledger]
    assert len(segments) > 2
    (first,) = (stream for stream in segments if stream.previous_id is None)
    os.unlink(first.file)
    (found,) = verify_paths([tmp_path]).all_findings()
    assert (found.kind, found.file) == ("violation", str(tmp_path / "ledger.jsonl"))
    assert found.sentence.startswith(
        f"segment {os.path.basename(first.file)} is missing: the ledger has it since line 2"
    )


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_writer_oracle_and_reader_agree(contents: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        written = journal(Path(directory))
        for number, text in enumerate(contents):
            written.append(record(number, text, json.dumps({"arguments": text}, ensure_ascii=False)))
        written.close()
        assert verify_paths([directory]).exit_code(strict=True) == 0
        (path,) = (path for path in Path(directory).glob("*.jsonl") if path.name != "ledger.jsonl")
        for line in path.read_bytes().split(b"\n")[:-1]:
            stored = json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
            assert attribute(stored, "mcp_audit.record.hash")["stringValue"] == sha(record_form(stored))
