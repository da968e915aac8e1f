# SPDX-License-Identifier: Apache-2.0
"""The view without content, of the archive and of a real PostgreSQL: no content anywhere, its digest, and what `verify` says.

The other sinks' views are tested beside the rest of each sink.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import databases
import pytest
from delivered import archived, ids, send, written
from journals import until
from served_command import serving
from sqlalchemy import Engine, text

from collector import CONFIG, Collector
from opentelemetry.instrumentation.mcp_audit.sink.migrate import migrate
from opentelemetry.instrumentation.mcp_audit.sink.sql import engine_of

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("views")]

PIPELINE = ("audit.yaml", "sinks/file.yaml", "sinks/sql.yaml")
COUNT, CONTENT = 5, "x" * 100


@pytest.fixture(scope="module")
def server() -> Iterator[databases.Server]:
    with databases.postgresql() as running:
        yield running


@pytest.fixture
def engine(server: databases.Server) -> Iterator[Engine]:
    made = engine_of(server.url)
    databases.empty(made)
    migrate(made)
    yield made
    made.dispose()


def verified(store: str) -> tuple[int, str, int]:
    """Exit code, verdict and number of records of `verify` of a place."""
    command = [sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli", "verify", "--json", store]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    report: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, report["verdict"], sum(stream["records"] for stream in report["streams"])


def stored(engine: Engine, what: str) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(f"SELECT {what} FROM audit_log")))


def test_a_database_without_content(server: databases.Server, engine: Engine, tmp_path: Path) -> None:
    lines = written(tmp_path / "journal", COUNT, len(CONTENT))
    with serving("sink", ready="/healthz", env={"AUDIT_SINK_TO": server.url}) as url:
        env = {"AUDIT_SQL_SINK_URL": f"{url}/v1/logs", "AUDIT_SQL_VIEW": "metadata"}
        with Collector(tmp_path / "collector", *PIPELINE, env=env) as collector:
            send(collector, lines)
            until(lambda: len(stored(engine, "record_id")) == len(lines), 20)
        assert b"".join(archived(collector)).count(CONTENT.encode()) == COUNT, "each sink has its own view"
        assert verified(server.url) == (0, "valid", len(lines))
        assert [row for (row,) in stored(engine, "audit_log::text") if CONTENT in row] == [], "no column has it"
        calls = [row for row in stored(engine, "tool, params, content_digest, record, line") if row.tool]
        assert len(calls) == COUNT
        for call in calls:
            assert (call.params, call.record["body"]) == (None, None)
            assert re.fullmatch("[0-9a-f]{64}", call.content_digest)
            assert call.content_digest in call.line
        # Sent again with its content, a record is the one that is there: no second row, no conflict, still no content.
        with Collector(tmp_path / "again", *PIPELINE, env={"AUDIT_SQL_SINK_URL": env["AUDIT_SQL_SINK_URL"]}) as whole:
            more = written(tmp_path / "more", 1, len(CONTENT))
            send(whole, [*lines, *more])
            until(lambda: len(stored(engine, "record_id")) == len(lines) + len(more), 20)
    assert sum(CONTENT in row for (row,) in stored(engine, "audit_log::text")) == 1
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM audit_conflict")).scalar_one() == 0


def test_an_archive_without_content(tmp_path: Path) -> None:
    lines = written(tmp_path / "journal", COUNT, len(CONTENT))
    with Collector(
        tmp_path / "collector", "audit.yaml", "sinks/file.yaml", env={"AUDIT_FILE_VIEW": "metadata"}
    ) as collector:
        send(collector, lines)
    whole = b"".join(archived(collector))
    assert ids(archived(collector)) == ids(lines)
    assert CONTENT.encode() not in whole and whole.count(b'"mcp_audit.content.digest"') == COUNT
    assert verified(str(collector.archive.parent)) == (0, "valid", len(lines))


@pytest.mark.parametrize("sink", sorted((CONFIG / "sinks").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_sink_takes_a_view_and_the_readme_names_it(sink: Path) -> None:
    setting = f"AUDIT_{sink.stem.upper()}_VIEW"
    assert f'"${{env:{setting}:-full}}"' in sink.read_text()
    assert f"`{setting}`" in (CONFIG / "README.md").read_text()
