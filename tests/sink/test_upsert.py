# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL: straight to the table while all is new, by a table of the session's own once something is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import databases
import pytest
from otlp_requests import joined, lines
from sqlalchemy import text

from opentelemetry.instrumentation.mcp_audit.sink.engine import engine_of
from opentelemetry.instrumentation.mcp_audit.sink.migrate import migrate
from opentelemetry.instrumentation.mcp_audit.sink.received import Batch
from opentelemetry.instrumentation.mcp_audit.sink.sql import SqlStore
from opentelemetry.instrumentation.mcp_audit.sink.store import Kept

pytestmark = [pytest.mark.xdist_group("databases"), pytest.mark.timeout(180)]


def batch(of: list[str]) -> Batch:
    return Batch(joined(of), "json")


def test_a_replay_leaves_few_dead_rows(postgresql: databases.Server, tmp_path: Path) -> None:
    """Rows go straight to their table until a batch repeats some: the attempts that fail are not made again and again."""
    made = lines(tmp_path / "journal", 30)
    engine = engine_of(postgresql.url)
    databases.empty(engine)
    migrate(engine)
    store = SqlStore(engine)
    assert store.write(batch(made)) == Kept(stored=30)

    def pages() -> Any:
        query = text("SELECT sum(pg_relation_size(relid)) FROM pg_partition_tree('audit_log')")
        with engine.connect() as connection:
            return connection.execute(query).scalar_one()

    once = pages()
    for _ in range(10):
        assert store.write(batch(made)) == Kept(repeated=30)
    # One attempt failed; another nine would take ten times the room.
    assert pages() <= 2 * once
    # All new once, by the longer way; and straight again.
    more = lines(tmp_path / "another", 60)
    assert store.write(batch(more[:20])) == Kept(stored=20)
    assert store.write(batch(more[20:40])) == Kept(stored=20)
    assert store.write(batch(more)) == Kept(stored=20, repeated=40)
    engine.dispose()
