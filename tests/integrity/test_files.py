# SPDX-License-Identifier: Apache-2.0
"""What lies in a journal directory: nothing in it is followed, and what is not the journal's is told of."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ledgers import keep_ledger, ledger_of
from trail_oracle import BOOT, sample

from opentelemetry.instrumentation.mcp_audit.integrity.files import (
    journal_directories,
    ledger_file,
    marker_files,
    odd_files,
    segment_files,
)
from opentelemetry.instrumentation.mcp_audit.integrity.verify import verify_paths
from opentelemetry.instrumentation.mcp_audit.journal.reader import find


def names(paths: list[str]) -> list[str]:
    return [os.path.basename(path) for path in paths]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "journal"
    made.mkdir()
    sample(1).write(made)
    keep_ledger(made)
    for name in ("ledger.lock", "reserve", "acknowledged.json", "acknowledged.json.next", "keyring.json"):
        (made / name).touch()
    for name in (".keyring.json.17.ab", "x.calls", "y.calls.new"):
        (made / name).touch()
    for name in ("status", "quarantine"):
        (made / name).mkdir()
        (made / name / "z.jsonl").touch()
    return made


def test_its_own_files_are_not_odd(directory: Path) -> None:
    assert odd_files(str(directory)) == []
    assert names(segment_files(str(directory))) == [sample(1).name]
    assert names(marker_files(str(directory))) == ["x.calls"]
    assert ledger_file(str(directory)) == str(directory / "ledger.jsonl")
    assert journal_directories(str(directory)) == [str(directory)]
    assert journal_directories(str(directory.parent)) == [str(directory)]
    report = verify_paths([directory], boot_id=BOOT)
    assert list(report.all_findings()) == []


@pytest.mark.skipif(os.name != "posix", reason="links, pipes and devices")
def test_odd_ones_are_told_of_and_never_opened(directory: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.jsonl"
    outside.write_bytes(b"secret\n")
    (directory / "a.jsonl").symlink_to(outside)
    (directory / "b.jsonl").symlink_to(tmp_path / "nowhere")
    os.mkfifo(directory / "c.jsonl")
    (directory / "d.jsonl").mkdir()
    (directory / "e\nf.txt").write_text("?")
    (directory / "g").mkdir()
    (directory / "h.calls").symlink_to(outside)
    (directory / "i").symlink_to(tmp_path)
    where = "where a file of the journal would be"
    assert {os.path.basename(path): why for path, why in odd_files(str(directory))} == {
        "a.jsonl": f"a symbolic link, which is not followed {where}",
        "b.jsonl": f"a symbolic link, which is not followed {where}",
        "c.jsonl": f"a named pipe {where}",
        "d.jsonl": f"a directory {where}",
        "e\nf.txt": "not a file of the journal",
        "g": "a directory that is not the journal's",
        "h.calls": f"a symbolic link, which is not followed {where}",
        "i": "a symbolic link, which is not followed, not a file of the journal",
    }
    assert names(segment_files(str(directory))) == [sample(1).name]
    report = verify_paths([directory], boot_id=BOOT)
    assert report.exit_code() == 0
    assert [found.kind for found in report.all_findings()] == ["note"] * 8


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_a_link_in_place_of_the_ledger_is_no_ledger(tmp_path: Path) -> None:
    inside = tmp_path / "journal"
    inside.mkdir()
    trail = sample(2)
    trail.write(inside)
    (inside / "ledger.jsonl").symlink_to(ledger_of(trail).write(tmp_path))
    assert ledger_file(str(inside)) is None
    report = verify_paths([inside], boot_id=BOOT)
    assert report.exit_code() == 1
    said = [found.sentence for found in report.all_findings()]
    assert any(sentence.startswith("there is no ledger (ledger.jsonl) in this directory") for sentence in said)
    assert any("a symbolic link, which is not followed" in sentence for sentence in said)


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_a_link_that_the_user_names_is_followed(tmp_path: Path) -> None:
    path = sample(2).write(tmp_path)
    link = tmp_path / "link"
    link.symlink_to(path)
    assert verify_paths([link], boot_id=BOOT).records == 4


def test_a_ledger_alone_makes_a_journal(tmp_path: Path) -> None:
    trail = sample(1)
    ledger_of(trail).write(tmp_path)
    assert journal_directories(str(tmp_path)) == [str(tmp_path)]
    assert verify_paths([tmp_path], boot_id=BOOT).exit_code() == 1


def test_many_odd_files_are_counted(directory: Path) -> None:
    for number in range(150):
        (directory / f"odd{number}").touch()
    report = verify_paths([directory], boot_id=BOOT)
    assert len(report.findings) == 101
    assert report.findings[-1].sentence == "… and 50 more that are not its own"


def test_one_that_may_not_be_listed_hides_none_beside_it(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = directory.parent / "closed"
    closed.mkdir()
    real = os.scandir

    def scandir(path: str) -> Any:
        if os.fspath(path) == str(closed):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    root = str(directory.parent)
    assert journal_directories(root) == [str(closed), str(directory)]
    with pytest.raises(PermissionError):
        journal_directories(str(closed))
    report = verify_paths([root], boot_id=BOOT)
    assert [(finding.kind, finding.file, finding.sentence) for finding in report.all_findings()] == [
        ("unreadable", str(closed), "cannot be read: Permission denied")
    ]
    assert (report.verdict, report.records) == ("unreadable", verify_paths([directory], boot_id=BOOT).records)
    found = find([root])
    assert [os.path.dirname(file) for file in found.files] == [str(directory)]
    assert [(problem.file, problem.what) for problem in found.problems] == [
        (str(closed), "cannot be read: Permission denied")
    ]
