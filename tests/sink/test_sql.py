# SPDX-License-Identifier: Apache-2.0
"""One database of each kind, the real one: each record once, a changed copy kept apart, nothing of a batch without all."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import databases
import pytest
from otlp_requests import edited, joined, lines, protobuf
from sqlalchemy import Engine, text

from opentelemetry.instrumentation.mcp_audit.sink.engine import engine_of
from opentelemetry.instrumentation.mcp_audit.sink.migrate import migrate, missing
from opentelemetry.instrumentation.mcp_audit.sink.partitions import wanted
from opentelemetry.instrumentation.mcp_audit.sink.received import Batch, Rejected, Undecodable
from opentelemetry.instrumentation.mcp_audit.sink.sql import SqlStore
from opentelemetry.instrumentation.mcp_audit.sink.store import Away, Kept

pytestmark = [pytest.mark.xdist_group("databases"), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return lines(tmp_path_factory.mktemp("journal"), 30)


def rows(engine: Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def batch(of: Sequence[str]) -> Batch:
    return Batch(joined(of), "json")


def test_each_record_once(engine: Engine, made: list[str]) -> None:
    store = SqlStore(engine)
    assert store.write(batch(made[:20])) == Kept(stored=20)
    assert store.write(batch(made[10:])) == Kept(stored=10, repeated=10)
    assert store.write(Batch(protobuf(joined(made)), "protobuf")) == Kept(repeated=30)
    assert store.write(batch([made[0], made[0]])) == Kept(repeated=2)
    stored = rows(engine, "SELECT line FROM audit_log ORDER BY sequence_number")
    assert [line for (line,) in stored] == made
    assert rows(engine, "SELECT count(*) FROM audit_conflict") == [(0,)]
    ids = [number for (number,) in rows(engine, "SELECT id FROM audit_log")]
    assert len(set(ids)) == 30


def test_the_columns_of_the_seed(engine: Engine, made: list[str]) -> None:
    SqlStore(engine).write(batch(made[:1]))
    ((moment, tool, user, params, request, ip, tenant),) = rows(
        engine, "SELECT timestamp, tool, user_id, params, request_id, client_ip, tenant_id FROM audit_log"
    )
    record = json.loads(made[0])["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
    facts = {item["key"]: next(iter(item["value"].values())) for item in record["attributes"]}
    when = moment if isinstance(moment, datetime) else datetime.fromisoformat(moment)
    assert when.replace(tzinfo=timezone.utc) == datetime.fromtimestamp(
        int(record["timeUnixNano"]) // 1000 / 1e6, timezone.utc
    )
    assert (tool, user, request, ip, tenant) == ("tool-0", "ada", facts["audit.record.id"], None, None)
    assert (json.loads(params) if engine.dialect.name != "postgresql" else params) == "x" * 60


def test_a_changed_copy_is_kept_apart(engine: Engine, made: list[str]) -> None:
    store = SqlStore(engine)
    changed = edited(made[0], gen_ai_tool_name="another")
    other_body = made[1].replace("xxx", "yyy")
    without_body = json.loads(made[2])
    del without_body["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["body"]
    assert store.write(batch(made[:3])) == Kept(stored=3)
    assert store.write(batch([changed, other_body, json.dumps(without_body, separators=(",", ":")), made[3]])) == Kept(
        stored=1, repeated=1, conflicts=2
    )
    found = rows(engine, "SELECT reason, line FROM audit_conflict ORDER BY id")
    assert found == [("other attributes, event, time or trace", changed), ("another body", other_body)]
    assert rows(engine, "SELECT line FROM audit_log ORDER BY sequence_number") == [(line,) for line in made[:4]]


def test_two_copies_in_one_batch(engine: Engine, made: list[str]) -> None:
    changed = edited(made[0], gen_ai_tool_name="another")
    assert SqlStore(engine).write(batch([made[0], changed])) == Kept(stored=1, conflicts=1)


def test_poison_beside_good_ones(engine: Engine, made: list[str]) -> None:
    tree = json.loads(joined(made[:3]))
    tree["resourceLogs"][0]["scopeLogs"][0]["logRecords"].insert(1, {"attributes": [], "body": {"stringValue": "a\0"}})
    bad_id = edited(made[4], audit_record_id="1'; DROP TABLE audit_log; --")
    tree["resourceLogs"].append(json.loads(bad_id)["resourceLogs"][0])
    assert SqlStore(engine).write(Batch(json.dumps(tree).encode(), "json")) == Kept(stored=3, rejected=2)
    assert rows(engine, "SELECT reason FROM audit_rejected ORDER BY id") == [
        ("no audit.record.id",),
        ("audit.record.id is no UUID",),
    ]


def test_hostile_values(engine: Engine, made: list[str]) -> None:
    names = ["a\0b", "'; DROP TABLE audit_log; --", "\\", "%s %(x)s :line", "x" * 5000, "\U0001f600", "\ttab\nline\\N"]
    hostile = [
        edited(line, gen_ai_tool_name=name, audit_actor_id=name) for line, name in zip(made, names, strict=False)
    ]
    assert SqlStore(engine).write(batch(hostile)) == Kept(stored=len(names))
    assert [line for (line,) in rows(engine, "SELECT line FROM audit_log ORDER BY sequence_number")] == hostile
    shown = [tool for (tool,) in rows(engine, "SELECT tool FROM audit_log ORDER BY sequence_number")]
    assert shown == [name.replace("\0", "�")[:255] for name in names]


def test_what_the_database_refuses_is_found_by_halving(
    engine: Engine, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opentelemetry.instrumentation.mcp_audit.sink.sql.row_of", _too_large)
    assert SqlStore(engine).write(batch(made)) == (
        Kept(stored=29, rejected=1) if engine.dialect.name != "sqlite" else Kept(stored=30)
    )
    if engine.dialect.name != "sqlite":  # which takes any length
        ((reason, line),) = rows(engine, "SELECT reason, line FROM audit_rejected")
        assert reason.startswith("the database refuses it: DataError") and line == made[7]


def _too_large(received: Any) -> Any:
    from opentelemetry.instrumentation.mcp_audit.sink.rows import row_of

    row = row_of(received)
    return {**row, "outcome": "x" * 500} if row["tool"] == "tool-7" else row


def test_nothing_of_a_body_that_is_none(engine: Engine) -> None:
    store = SqlStore(engine)
    with pytest.raises(Undecodable):
        store.write(Batch(b"garbage", "json"))
    store.reject(Rejected("no OTLP", "Z2FyYmFnZQ=="))
    assert rows(engine, "SELECT reason, line FROM audit_rejected") == [("no OTLP", "Z2FyYmFnZQ==")]
    assert rows(engine, "SELECT count(*) FROM audit_log") == [(0,)]


def test_many_at_once_with_the_same_records(engine: Engine, made: list[str]) -> None:
    store = SqlStore(engine)
    results: list[Kept] = []

    def write() -> None:
        results.append(store.write(batch(made)))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum((kept for kept in results), Kept()) == Kept(stored=30, repeated=90)
    assert rows(engine, "SELECT count(*) FROM audit_log") == [(30,)]


def test_the_schema_is_migrated_once_and_checked(engine: Engine) -> None:
    assert missing(engine) == []
    assert migrate(engine) == ("0001", "0001")
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE audit_conflict RENAME TO elsewhere"))
    assert missing(engine) == ["there is no table audit_conflict"]
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE elsewhere RENAME TO audit_conflict"))
        connection.execute(text("DELETE FROM audit_schema_version"))
    assert missing(engine) == ["the schema is at version none, this release writes 0001: run sink --migrate"]


def test_months_are_made_ahead(postgresql: databases.Server, made: list[str]) -> None:
    engine = engine_of(postgresql.url)
    databases.empty(engine)
    migrate(engine)
    found = {name for (name,) in rows(engine, "SELECT relname FROM pg_class WHERE relname LIKE 'audit\\_log\\_2%'")}
    now = datetime.now(timezone.utc)
    assert {month.name for month in wanted(now)} == {
        name for name in found if not name.endswith(("idx", "pkey", "key"))
    } & {month.name for month in wanted(now)}
    SqlStore(engine).write(batch(made))
    assert rows(engine, f"SELECT count(*) FROM audit_log_{now:%Y_%m}") == [(30,)]
    with engine.begin() as connection:
        last = wanted(now)[-1].name
        connection.execute(text(f"DROP TABLE {last}"))
    assert missing(engine) == [f"there is no partition {last}: run sink --migrate"]
    assert SqlStore(engine).tend() == []
    assert missing(engine) == []
    engine.dispose()


def test_months_are_ranges_of_ids() -> None:
    december = wanted(datetime(2026, 12, 31, 23, 59, tzinfo=timezone.utc))
    assert [month.name for month in december] == [
        "audit_log_2026_11",
        "audit_log_2026_12",
        "audit_log_2027_01",
        "audit_log_2027_02",
        "audit_log_2027_03",
    ]
    assert all(one.behind == next_one.first for one, next_one in zip(december, december[1:], strict=False))
    assert int(december[1].first.replace("-", ""), 16) >> 80 == 1_796_083_200_000


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_database_that_is_away_and_comes_back(request: pytest.FixtureRequest, kind: str, made: list[str]) -> None:
    server: databases.Server = request.getfixturevalue(kind)
    engine = engine_of(server.url)
    databases.empty(engine)
    migrate(engine)
    store = SqlStore(engine)
    assert store.write(batch(made[:10])) == Kept(stored=10)
    server.kill()
    with pytest.raises(Away):
        store.write(batch(made))
    with pytest.raises(Away):
        store.ping()
    server.start()
    store.ping()
    assert store.write(batch(made)) == Kept(stored=20, repeated=10)
    engine.dispose()


def test_a_connection_that_breaks_in_the_middle(postgresql: databases.Server, made: list[str]) -> None:
    engine = engine_of(postgresql.url)
    databases.empty(engine)
    migrate(engine)
    store = SqlStore(engine)

    class Breaking(Batch):
        def chunks(self, size: int = 2) -> Any:
            for number, chunk in enumerate(Batch.chunks(self, 2)):
                if number == 3:
                    with engine.begin() as other:
                        other.execute(
                            text(
                                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
                            )
                        )
                yield chunk

    with pytest.raises(Away):
        store.write(Breaking(joined(made), "json"))
    assert rows(engine, "SELECT count(*) FROM audit_log") == [(0,)]
    assert store.write(batch(made)) == Kept(stored=30)
    engine.dispose()


def test_a_password_is_not_shown() -> None:
    assert SqlStore(engine_of("mysql://u:secret@127.0.0.1/x")).name == "mysql+pymysql://u:***@127.0.0.1/x"
