# SPDX-License-Identifier: Apache-2.0
"""What a database holds, read again: shown, verified, and an edit made with plain SQL found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from otlp_requests import joined, lines
from sqlalchemy import Engine, text

from opentelemetry.instrumentation.mcp_audit.cli.app import app
from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord
from opentelemetry.instrumentation.mcp_audit.integrity.report import Report
from opentelemetry.instrumentation.mcp_audit.sink.engine import engine_of
from opentelemetry.instrumentation.mcp_audit.sink.migrate import migrate
from opentelemetry.instrumentation.mcp_audit.sink.received import Batch
from opentelemetry.instrumentation.mcp_audit.sink.sql import SqlStore
from opentelemetry.instrumentation.mcp_audit.sink.stored import check_store, record_ids, records

pytestmark = [pytest.mark.xdist_group("databases"), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A whole stream."""
    place = tmp_path_factory.mktemp("journal") / "svc"
    lines(place, 6)
    (file,) = (path for path in place.glob("*.jsonl") if path.name != "ledger.jsonl")
    return file.read_text().splitlines()


@pytest.fixture
def filled(engine: Engine, made: list[str]) -> Engine:
    SqlStore(engine).write(Batch(joined(made), "json"))
    return engine


def verified(engine: Engine) -> Report:
    report = Report()
    check_store(engine, "store", report, None)
    return report


def violations(engine: Engine) -> list[str]:
    return [finding.sentence for finding in verified(engine).all_findings() if finding.kind == "violation"]


def change(engine: Engine, statement: str, **values: object) -> None:
    with engine.begin() as connection:
        assert connection.execute(text(statement), values).rowcount == 1


def test_all_come_out_as_they_went_in(filled: Engine, made: list[str]) -> None:
    found = list(records(filled))
    assert all(isinstance(record, StoredRecord) for record in found)
    assert sorted(record.raw.decode() for record in found if isinstance(record, StoredRecord)) == sorted(made)
    assert set(record_ids(filled)) == {record.record_id for record in found if isinstance(record, StoredRecord)}


def test_by_time(filled: Engine) -> None:
    found = [record for record in records(filled) if isinstance(record, StoredRecord)]
    middle = found[3].time
    assert [record.record_id for record in records(filled, since=middle) if isinstance(record, StoredRecord)] == [
        record.record_id for record in found if record.time // 1000 >= middle // 1000
    ]
    assert [record.record_id for record in records(filled, until=middle) if isinstance(record, StoredRecord)] == [
        record.record_id for record in found if record.time // 1000 <= middle // 1000
    ]


def test_a_whole_stream_is_valid(filled: Engine, made: list[str]) -> None:
    report = verified(filled)
    assert (report.verdict, report.records, list(report.all_findings())) == ("valid", len(made), [])
    assert [stream.ended for stream in report.streams] == [True]


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("UPDATE audit_log SET tool = 'other' WHERE tool = 'tool-3'", "column tool does not say what the record says"),
        (
            "UPDATE audit_log SET user_id = NULL WHERE tool = 'tool-3'",
            "column user_id does not say what the record says",
        ),
        (
            "UPDATE audit_log SET outcome = 'failure' WHERE tool = 'tool-3'",
            "column outcome does not say what the record says",
        ),
        ("DELETE FROM audit_log WHERE tool = 'tool-3'", "record 5 is missing: this is number 6"),
    ],
)
def test_an_edit_made_with_plain_sql(filled: Engine, statement: str, sentence: str) -> None:
    change(filled, statement)
    assert violations(filled) == [sentence]


def test_an_edited_line(filled: Engine, made: list[str]) -> None:
    change(filled, "UPDATE audit_log SET line = replace(line, 'tool-3', 'tool-9') WHERE tool = 'tool-3'")
    assert "the record is not what was written: its hash differs (an attribute, name, time or id)" in violations(filled)
    change(filled, "UPDATE audit_log SET line = 'garbage' WHERE tool = 'tool-2'")
    assert any(sentence.startswith("the line is no record: not JSON") for sentence in violations(filled))


def test_edited_json_and_time(filled: Engine) -> None:
    change(filled, "UPDATE audit_log SET params = :new WHERE tool = 'tool-3'", new='"?"')
    change(filled, "UPDATE audit_log SET timestamp = '2020-01-01 00:00:00.000000' WHERE tool = 'tool-1'")
    assert violations(filled) == [
        "column timestamp does not say what the record says",
        "column params does not say what the record says",
    ]


def test_what_was_set_apart_is_told(filled: Engine, made: list[str]) -> None:
    SqlStore(filled).write(Batch(made[2].replace("tool-1", "tool-9").encode(), "json"))
    SqlStore(filled).write(Batch(b'{"resourceLogs":[3]}', "json"))
    notes = [finding.sentence for finding in verified(filled).all_findings()]
    assert notes == [
        "a second copy that is not the same was sent (audit_conflict): other attributes, event, time or trace",
        "what is no record was sent (audit_rejected 1): resourceLogs holds no list scopeLogs",
    ]


def test_the_commands_take_a_database(tmp_path: Path, made: list[str]) -> None:
    url = f"sqlite:///{tmp_path}/audit.db"
    engine = engine_of(url)
    migrate(engine)
    store = SqlStore(engine)
    store.write(Batch(joined(made), "json"))
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "audit.jsonl").write_bytes(joined(made) + b"\n")

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, list(arguments))
        return result.exit_code, result.stdout

    code, shown = run("query", "--tool", "tool-[12]", "--format", "seed", url)
    assert (code, [json.loads(line)["tool"] for line in shown.splitlines()]) == (0, ["tool-1", "tool-2"])
    for place in (url, str(archive)):
        code, shown = run("export", "--format", "otlp", place)
        assert (code, sorted(shown.splitlines())) == (0, sorted(made))
        code, shown = run("verify", place)
        assert code == 0 and f"VALID: {len(made)} records in 1 streams; 0 violations, 0 notes" in shown
    assert run("reconcile", str(archive), url) == (
        0,
        f"{len(made)} records in A {archive}\n{len(made)} records in B {url}\nB has every record of A\n",
    )
    lost = next(record for record in records(engine) if isinstance(record, StoredRecord) and record.number == 4)
    change(engine, "DELETE FROM audit_log WHERE sequence_number = 4")
    ids = tmp_path / "ids"
    code, shown = run("reconcile", f"journal:{archive}", url, "--ids", str(ids))
    assert code == 1 and shown.endswith("1 records of A are not in B\n")
    assert ids.read_text() == f"{lost.record_id}\n"
    code, shown = run("reconcile", url, str(archive), "--json")
    assert code == 0 and json.loads(shown)["b"]["only"] == 1
    assert run("verify", url)[0] == 1
    engine.dispose()


def test_a_database_that_is_none(tmp_path: Path) -> None:
    for command in (["query"], ["verify"], ["export"], ["reconcile", str(tmp_path)]):
        result = CliRunner().invoke(app, [*command, f"sqlite:///{tmp_path}/nowhere/x.db"])
        assert result.exit_code == 2, command
