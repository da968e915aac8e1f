# SPDX-License-Identifier: Apache-2.0
"""The file sink: private, one line a record, in the journal's form or the seed's."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord
from opentelemetry.instrumentation.mcp_audit.sinks.file import FileSink
from opentelemetry.instrumentation.mcp_audit.sinks.protocol import Entry, Sink


def entry(name: str = "search", number: int = 1) -> Entry:
    record = AuditRecord(
        "mcp_audit.tool_call",
        1_764_000_000_123_456_789,
        1_764_000_000_124_000_000,
        {
            "audit.outcome": "success",
            "gen_ai.tool.name": name,
            "user.id": "ada",
            "mcp_audit.request.id": "r-1",
            "mcp_audit.duration_us": 1500,
        },
        '{"arguments":{"q":"\u00e9\u2028"},"salt":"00"}',
    )
    return Entry(record, "stream", number, None, "ab" * 32, f'{{"line":"{name}"}}\n'.encode())


def test_seed_lines(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    sink = FileSink(path)
    sink.write(entry("one"))
    sink.write(entry("two"))
    sink.close()
    first, second = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    assert first == {
        "timestamp": "2025-11-24T16:00:00.123Z",
        "event_type": "tool_call",
        "tool": "one",
        "user": {"id": "ada", "email": None, "tenant_id": None},
        "request": {"id": "r-1", "client_ip": None},
        "params": {"q": "\u00e9\u2028"},
        "response": {"result_count": None, "duration_ms": 2},
        "outcome": "success",
    }
    assert second["tool"] == "two"
    assert path.stat().st_mode & 0o777 == 0o600


def test_otlp_lines_are_the_journals(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "audit.jsonl", "otlp")
    sink.write(entry("one"))
    sink.close()
    assert (tmp_path / "audit.jsonl").read_bytes() == entry("one").line


def test_it_appends_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"before\n")
    sink = FileSink(path, format="otlp")
    sink.write(entry("one"))
    sink.close()
    assert path.read_bytes() == b"before\n" + entry("one").line


def test_after_close_it_opens_again_and_never_writes_to_somebody_elses_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sink = FileSink("audit.jsonl", "otlp")
    sink.close()
    sink.close()
    strangers = [os.open(tmp_path / f"stranger{n}", os.O_WRONLY | os.O_CREAT) for n in range(8)]
    monkeypatch.chdir("/")
    sink.write(entry("late"))
    sink.close()
    assert (tmp_path / "audit.jsonl").read_bytes() == entry("late").line
    assert [os.fstat(descriptor).st_size for descriptor in strangers] == [0] * 8
    for descriptor in strangers:
        os.close(descriptor)


def test_threads_do_not_mix_their_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(
        "opentelemetry.instrumentation.mcp_audit.sinks.file.os.write",
        lambda descriptor, data: real(descriptor, bytes(data)[:7]),
    )
    sink = FileSink(tmp_path / "audit.jsonl", "otlp")

    def work(place: int) -> None:
        for turn in range(20):
            sink.write(entry(f"{place}.{turn}"))

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sink.close()
    lines = (tmp_path / "audit.jsonl").read_bytes().splitlines(keepends=True)
    assert sorted(lines) == sorted(entry(f"{place}.{turn}").line for place in range(4) for turn in range(20))


def test_wrong_options(tmp_path: Path) -> None:
    wrong: Any = "xml"
    with pytest.raises(ValueError, match="format: 'xml' cannot be used; allowed: seed, otlp"):
        FileSink(tmp_path / "a", wrong)
    with pytest.raises(OSError):
        FileSink(tmp_path / "no" / "directory")


def test_it_is_a_sink(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "a")
    assert isinstance(sink, Sink)
    sink.close()
