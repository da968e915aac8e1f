# SPDX-License-Identifier: Apache-2.0
"""``export -o``: not into what is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from trail_oracle import Trail, sample

from opentelemetry.instrumentation.mcp_audit.cli.app import app


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two services' journals below one directory."""
    for number, name in enumerate(("one", "two"), 1):
        (tmp_path / "state" / name / "status").mkdir(parents=True)
        trail = Trail(stream=f"6f1d1c1e-0000-4000-8000-00000000000{number}", seed=number)
        trail.call()
        trail.write(tmp_path / "state" / name)
    return tmp_path / "state"


def export(output: str | Path, *paths: str | Path, force: bool = False) -> Result:
    arguments = ["export", "-o", str(output), *(["--force"] if force else []), *map(str, paths)]
    return CliRunner().invoke(app, arguments)


def files(root: Path) -> list[str]:
    return sorted(str(path) for path in root.rglob("*"))


@pytest.mark.parametrize("place", ["one/out.csv", "one/status/out.json", "two/out.jsonl", "one/../two/out", "link/out"])
@pytest.mark.parametrize("force", [False, True])
def test_not_into_a_journal_that_is_read(root: Path, place: str, force: bool) -> None:
    (root / "link").symlink_to(root / "one")
    before = files(root)
    result = export(root / place, root, force=force)
    assert result.exit_code == 2
    journal = root / ("two" if "two" in place else "one")
    assert (
        f"{root / place} is in the journal {journal}, which holds what its servers write and nothing else: name a "
        "place outside of it"
    ) in " ".join(result.stderr.split())
    assert files(root) == before


def test_not_beside_the_segment_that_was_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (segment,) = (root / "one").glob("*.jsonl")
    assert export(root / "one" / "out.jsonl", segment).exit_code == 2
    monkeypatch.chdir(root / "one")
    assert export("out.jsonl", segment.name).exit_code == 2
    assert export("out.csv", os.curdir).exit_code == 2


def test_not_over_the_file_that_is_read(tmp_path: Path) -> None:
    copy = sample(1).write(tmp_path)
    before = copy.read_bytes()
    result = export(copy, copy, force=True)
    assert result.exit_code == 2 and "is what is read" in result.stderr
    assert copy.read_bytes() == before


def test_not_where_it_would_be_read_as_a_segment(root: Path) -> None:
    result = export(root / "out.jsonl", root)
    assert result.exit_code == 2 and "would be read as a part of the journal" in result.stderr


def test_elsewhere_is_fine(root: Path, tmp_path: Path) -> None:
    assert export(tmp_path / "out.jsonl", root).exit_code == 0
    assert export(root / "out.csv", root).exit_code == 0
    assert export(root / "two" / "out.csv", root / "one").exit_code == 0
    copy = sample(1).write(tmp_path)
    assert export(tmp_path / "beside.jsonl", copy).exit_code == 0
