# SPDX-License-Identifier: Apache-2.0
"""Files of JSON lines: on the disk before the answer, rotated, never deleted, never torn by a full disk."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from otlp_requests import joined, lines

from opentelemetry.instrumentation.mcp_audit.sink.files import file_store
from opentelemetry.instrumentation.mcp_audit.sink.received import Batch, Rejected
from opentelemetry.instrumentation.mcp_audit.sink.store import Away, Kept


@pytest.fixture
def made(tmp_path: Path) -> list[str]:
    return lines(tmp_path / "journal", 3)


def test_otlp_lines(tmp_path: Path, made: list[str]) -> None:
    store = file_store(f"file:{tmp_path}/out.jsonl")
    assert store.write(Batch(joined(made), "json")) == Kept(stored=3)
    assert (tmp_path / "out.jsonl").read_text().splitlines() == made
    assert (tmp_path / "out.jsonl").stat().st_mode & 0o777 == 0o600
    store.close()


def test_the_seeds_shape(tmp_path: Path, made: list[str]) -> None:
    store = file_store(f"file:{tmp_path}/out.jsonl?format=seed")
    store.write(Batch(joined(made), "json"))
    (first, *_) = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert list(first) == ["timestamp", "event_type", "tool", "user", "request", "params", "response", "outcome"]
    assert (first["tool"], first["user"]["id"], first["outcome"]) == ("tool-0", "ada", "success")
    store.close()


def test_what_is_none_stands_beside_it(tmp_path: Path, made: list[str]) -> None:
    tree = json.loads(joined(made))
    tree["resourceLogs"][0]["scopeLogs"][0]["logRecords"].append(3)
    store = file_store(f"file:{tmp_path}/out.jsonl")
    assert store.write(Batch(json.dumps(tree).encode(), "json")) == Kept(stored=3, rejected=1)
    store.reject(Rejected("no OTLP", "Z2FyYmFnZQ=="))
    beside = [json.loads(line) for line in (tmp_path / "out.jsonl.rejected").read_text().splitlines()]
    assert beside == [
        {"reason": "the record is no JSON object", "line": "3"},
        {"reason": "no OTLP", "line": "Z2FyYmFnZQ=="},
    ]
    store.close()


def test_rotation_deletes_nothing(tmp_path: Path, made: list[str]) -> None:
    store = file_store(f"file:{tmp_path}/out.jsonl?max_megabytes=1")
    many = lines(tmp_path / "more", 40, size=60_000)
    for line in many:
        store.write(Batch(joined([line]), "json"))
    files = sorted(tmp_path.glob("out.jsonl*"))
    assert len(files) == 3
    assert [line for file in [*files[1:], files[0]] for line in file.read_text().splitlines()] == many
    store.close()


def test_a_full_disk_takes_back_what_was_begun(
    tmp_path: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = file_store(f"file:{tmp_path}/out.jsonl")
    store.write(Batch(joined(made[:1]), "json"))
    real = os.write

    def short(descriptor: int, data: Any) -> int:
        if len(data) < 1000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:1000])

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(Away, match="No space left on device"):
        store.write(Batch(joined(made), "json"))
    monkeypatch.setattr(os, "write", real)
    assert (tmp_path / "out.jsonl").read_text().splitlines() == made[:1]
    assert store.write(Batch(joined(made[1:]), "json")) == Kept(stored=2)
    assert (tmp_path / "out.jsonl").read_text().splitlines() == made
    store.close()


def test_a_link_is_not_followed(tmp_path: Path, made: list[str]) -> None:
    (tmp_path / "target").touch()
    (tmp_path / "out.jsonl").symlink_to(tmp_path / "target")
    with pytest.raises(Away):
        file_store(f"file:{tmp_path}/out.jsonl").write(Batch(joined(made), "json"))
    assert (tmp_path / "target").read_bytes() == b""


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:", "file: there is no directory"),
        ("file:/nowhere/at/all.jsonl", "file: there is no directory /nowhere/at for all.jsonl"),
        ("file:/tmp/x?format=xml", "file: format=xml is not known; known are otlp, seed, ocsf"),
        ("file:/tmp/x?max_megabytes=-1", "file: max_megabytes=-1 is no positive whole number"),
        ("file:/tmp/x?rotate=1", "file: rotate is not known; known are format, max_megabytes"),
    ],
)
def test_urls_that_are_none(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.split(";", maxsplit=1)[0].replace("?", r"\?")):
        file_store(url)
