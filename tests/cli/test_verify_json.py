# SPDX-License-Identifier: Apache-2.0
"""``verify --json``: always a report, and always of the published shape (``integrity/verify.schema.json``)."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator
from ledgers import ledger_of
from trail_oracle import Trail, attribute, sample

from opentelemetry.instrumentation.mcp_audit.cli import verify as module
from opentelemetry.instrumentation.mcp_audit.cli.app import app
from opentelemetry.instrumentation.mcp_audit.integrity.report import Finding, StreamReport

PACKAGE = "opentelemetry.instrumentation.mcp_audit.integrity"
SCHEMA: dict[str, Any] = json.loads(resources.files(PACKAGE).joinpath("verify.schema.json").read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


def verify(*arguments: str | Path) -> dict[str, Any]:
    """The report that was printed, after checking that it has the shape and goes with the exit code."""
    result = CliRunner().invoke(app, ["verify", "--json", *map(str, arguments)])
    assert result.stderr == ""
    report: dict[str, Any] = json.loads(result.stdout)
    VALIDATOR.validate(report)
    assert result.exit_code == report["exit_code"]
    return report


def closed(directory: Path) -> None:
    sample(2).write(directory)
    ledger_of(sample(2)).write(directory)


def still_open(directory: Path) -> None:
    Trail().write(directory)


def empty(directory: Path) -> None:
    (directory / "x.jsonl").write_bytes(b"")


def edited(directory: Path) -> None:
    trail = sample(2)
    attribute(trail.records[1], "user.id")["stringValue"] = "eve"
    trail.write(directory)


def garbage_between(directory: Path) -> None:
    lines = sample(2).lines()
    sample(2).write(directory, [lines[0], b"garbage\n", *lines[1:]])


def only_garbage(directory: Path) -> None:
    (directory / "x.jsonl").write_bytes(b"garbage\n")


def many_violations(directory: Path) -> None:
    trail = Trail()
    for _ in range(150):
        trail.call()
    for record in trail.records[1:]:
        attribute(record, "user.id")["stringValue"] = "eve"
    trail.write(directory)


def copied(directory: Path) -> None:
    path = sample(2).write(directory)
    (directory / "z.jsonl").write_bytes(path.read_bytes())


def linked(directory: Path) -> None:
    first = sample(1)
    first.write(directory)
    second = Trail(stream="6f1d1c1e-0000-4000-8000-000000000002", previous=first, seed=2)
    second.write(directory)
    ledger_of(first, second).write(directory)


def nothing(directory: Path) -> None:
    return


@pytest.mark.parametrize(
    ("make", "verdict"),
    [
        (closed, "valid"),
        (still_open, "valid"),
        (empty, "valid"),
        (linked, "valid"),
        (copied, "violated"),
        (edited, "violated"),
        (garbage_between, None),
        (many_violations, "violated"),
        (only_garbage, "unreadable"),
        (nothing, "unreadable"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--strict",), ("--foreign",)])
def test_every_report_fits_the_schema(
    tmp_path: Path, make: Callable[[Path], None], verdict: str | None, options: tuple[str, ...]
) -> None:
    make(tmp_path)
    report = verify(*options, tmp_path)
    assert verdict is None or report["verdict"] == verdict


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "nope"
    report = verify(path)
    assert (report["verdict"], report["exit_code"]) == ("unreadable", 2)
    ((finding),) = report["findings"]
    assert finding["kind"] == "unreadable"
    assert (finding["file"], finding["sentence"]) == (str(path), "cannot be read: No such file or directory")


def test_a_directory_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Any = ".") -> Any:
        raise PermissionError(13, "Permission denied", path)

    closed(tmp_path)
    monkeypatch.setattr(os, "access", lambda *arguments, **named: False)
    monkeypatch.setattr(os, "scandir", refuse)
    report = verify(tmp_path)
    assert (report["verdict"], report["exit_code"]) == ("unreadable", 2)
    ((finding),) = report["findings"]
    assert (finding["file"], finding["sentence"]) == (str(tmp_path), "cannot be read: Permission denied")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (sqlite3.OperationalError("database or disk is full"), "database or disk is full"),
    ],
)
def test_a_verification_that_fails_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def fail(*arguments: Any, **named: Any) -> Any:
        raise error

    monkeypatch.setattr(module, "verify_paths", fail)
    report = verify(tmp_path)
    assert (report["verdict"], report["exit_code"]) == ("unreadable", 2)
    assert report["findings"][0]["sentence"] == f"cannot be verified: {reason}"
    text = CliRunner().invoke(app, ["verify", str(tmp_path)])
    assert text.exit_code == 2 and f"cannot be verified: {reason}" in text.stdout


def test_the_schema_is_one_and_names_what_there_is() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    defined = SCHEMA["$defs"]
    assert {field.name for field in fields(Finding)} == set(defined["finding"]["required"])
    assert {field.name for field in fields(StreamReport)} == set(defined["stream"]["required"])
    for part in (defined["finding"], defined["stream"], SCHEMA, SCHEMA["properties"]["counts"]):
        assert set(part["required"]) == set(part["properties"])


def test_later_members_are_allowed_and_wrong_ones_are_not(tmp_path: Path) -> None:
    edited(tmp_path)
    report = verify(tmp_path)
    report["later"] = report["counts"]["later"] = report["tier"]["later"] = 1
    report["streams"][0]["later"] = report["first_violation"]["later"] = None
    assert VALIDATOR.is_valid(report)
    wrong: list[dict[str, Any]] = [
        {"verdict": "fine"},
        {"verdict": "valid"},
        {"exit_code": 0},
        {"first_violation": None},
        {"counts": {**report["counts"], "records": -1}},
        {"findings": [{"kind": "note"}]},
        {"streams": [{**report["streams"][0], "counted": {"other": 1}}]},
    ]
    assert [change for change in wrong if VALIDATOR.is_valid({**report, **change})] == []
    for name in SCHEMA["required"]:
        assert not VALIDATOR.is_valid({key: value for key, value in report.items() if key != name})
