# SPDX-License-Identifier: Apache-2.0
"""What an auditor asks (``clickhouse/queries.sql``), each query on known data that came through the real Collector."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from delivered import send
from journals import journal, record, segments, until

from clickhouse import ClickHouse, clickhouse, collecting
from collector import CONFIG
from opentelemetry.instrumentation.mcp_audit.journal import events
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord

pytestmark = [pytest.mark.xdist_group("clickhouse"), pytest.mark.timeout(120)]
TEXT = (CONFIG / "clickhouse" / "queries.sql").read_text()
QUERIES = dict(re.findall(r"^-- (\w+): .*\n((?:(?!--).*\n?)+)", TEXT, re.M))
DAY = {"since": "2026-11-18 00:00:00", "until": "2026-11-19 00:00:00"}


def call(tool: str, at: str, user: str, **attributes: Any) -> AuditRecord:
    """A tool's call at a time of November 2026, ``18 09:30`` in UTC; names of attributes with ``__`` for dots."""
    made = record(tool)
    moment = datetime.strptime(f"2026-11-{at}", "%Y-%m-%d %H:%M").replace(tzinfo=timezone.utc)
    made.time = made.observed = int(moment.timestamp()) * 10**9
    made.attributes |= {"user.id": user, "audit.actor.id": user, "client.address": "10.0.0.7"}
    made.attributes |= {name.replace("__", "."): value for name, value in attributes.items()}
    return made


def phi(subject: str, purpose: str | None = None) -> dict[str, Any]:
    said = {"mcp_audit__purpose": purpose} if purpose else {}
    return {"mcp_audit__data__classes": ["phi"], "mcp_audit__data__subject": subject, **said}


DENIED = {
    "audit__outcome": "failure",
    "mcp_audit__outcome__detail": "denied",
    "mcp_audit__decision": "denied",
    "mcp_audit__decision__reason": "scope",
}
FAILED = {"audit__outcome": "failure", "mcp_audit__outcome__detail": "tool_error"}
ABANDONED = {"audit__outcome": "unknown", "mcp_audit__outcome__detail": "abandoned"}
# Numbers 2 to 12 of their stream, whose first record says that it was opened. The 18th was a Wednesday.
CALLS = [
    call("patient_read", "18 09:30", "ada", mcp_audit__tenant__id="clinic", **phi("p7", "treatment")),
    call("patient_read", "18 09:31", "ada", mcp_audit__tenant__id="clinic", **phi("p7")),
    call("patient_read", "18 10:00", "bob", **phi("p8"), **FAILED),
    call("patient_read", "18 11:00", "bob", **phi("p8")),
    call("patient_read", "18 11:05", "bob", **phi("p9")),
    call("patient_write", "18 23:10", "bob", **phi("p7", "billing")),
    call("payroll", "18 12:00", "eve", **DENIED),
    call("payroll", "18 12:01", "eve", **DENIED),
    call("search", "19 06:59", "eve"),
    call("search", "21 12:00", "ada"),
    call("export", "19 12:00", "ada", **ABANDONED),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """The calls, a gap, and three falsifications: a record dropped, one altered on the way, one sent again as another."""
    home = tmp_path_factory.mktemp("known")
    trail = journal(home / "svc")
    for one in CALLS:
        trail.append(one)
    trail.append(events.gap(3, "full", CALLS[0].time, CALLS[1].time))
    trail.close()
    (segment,) = segments(home / "svc")
    lines = segment.read_bytes().splitlines()
    (dropped,) = (line for line in lines if number(line) == 5)
    altered = [edited(line, "mcp_audit.record.hash", "f" * 64) if number(line) == 9 else line for line in lines]
    (refused,) = (line for line in lines if number(line) == 8)
    whitewashed = edited(refused, "audit.outcome", "success")
    with clickhouse(home / "engine") as server:
        with collecting(home / "collector", server.env) as collector:
            sent = [line for line in [*altered, whitewashed] if line != dropped]
            send(collector, sent)
            until(lambda: server.count() == len(sent))
        yield server


def number(line: bytes) -> int:
    return int(re.findall(rb'"audit.sequence.number","value":\{"intValue":"(\d+)"', line)[0])


def edited(line: bytes, name: str, value: str) -> bytes:
    """The line with another value of a string attribute."""
    changed, times = re.subn(
        rb'("%s","value":\{"stringValue":)"[^"]*"' % re.escape(name.encode()), rb'\1"%s"' % value.encode(), line
    )
    assert times == 1
    return changed


def ask(store: ClickHouse, name: str, **parameters: str) -> list[list[Any]]:
    sql = QUERIES[name].rstrip().rstrip(";")
    answer = store.query(f"{sql} FORMAT JSONCompactEachRow", **parameters)
    return [json.loads(line) for line in answer.splitlines()]


def record_id(place: int) -> str:
    return str(CALLS[place].attributes["audit.record.id"])


def test_there_are_ten() -> None:
    assert list(QUERIES) == [
        "tool_use",
        "user_activity",
        "refusals",
        "subject_access",
        "without_purpose",
        "off_hours",
        "unrecorded",
        "missing_numbers",
        "broken_chain",
        "changed_copies",
    ]


def test_tool_use(store: ClickHouse) -> None:
    assert ask(store, "tool_use", tool="patient_read", **DAY) == [
        ["ada", "verified", "success", 2],
        ["bob", "verified", "failure", 1],
        ["bob", "verified", "success", 1],
    ]


def test_tool_use_of_a_tool_whose_name_is_sql(store: ClickHouse) -> None:
    assert ask(store, "tool_use", tool="x' OR 1=1 --", **DAY) == []


def test_user_activity(store: ClickHouse) -> None:
    assert ask(store, "user_activity", user="bob", **DAY) == [
        ["2026-11-18 10:00:00", "", "patient_read", "failure", "tool_error", "10.0.0.7"],
        ["2026-11-18 11:05:00", "", "patient_read", "success", "ok", "10.0.0.7"],
        ["2026-11-18 23:10:00", "", "patient_write", "success", "ok", "10.0.0.7"],
    ]


def test_refusals(store: ClickHouse) -> None:
    """Three: the second copy of one is no less a record because it says that it went well."""
    assert ask(store, "refusals") == [["eve", "10.0.0.7", "payroll", "scope", 3]]


def test_subject_access(store: ClickHouse) -> None:
    assert ask(store, "subject_access", subject="p7") == [
        ["2026-11-18 09:30:00", "ada", "patient_read", "EXECUTE", "treatment", "success"],
        ["2026-11-18 09:31:00", "ada", "patient_read", "EXECUTE", "", "success"],
        ["2026-11-18 23:10:00", "bob", "patient_write", "EXECUTE", "billing", "success"],
    ]


def test_without_purpose(store: ClickHouse) -> None:
    assert ask(store, "without_purpose", **{"class": "phi"}) == [
        ["ada", "patient_read", 1, 1],
        ["bob", "patient_read", 1, 1],
    ]


def test_off_hours(store: ClickHouse) -> None:
    assert ask(store, "off_hours") == [
        ["ada", 1, ["search"]],
        ["bob", 1, ["patient_write"]],
        ["eve", 1, ["search"]],
    ]


def test_unrecorded(store: ClickHouse) -> None:
    assert ask(store, "unrecorded") == [["svc", "abandoned: export", 1], ["svc", "gap: full", 3]]


def test_missing_numbers(store: ClickHouse) -> None:
    ((stream, first, last),) = ask(store, "missing_numbers")
    assert (len(stream), first, last) == (36, 5, 5)


def test_broken_chain(store: ClickHouse) -> None:
    """The record behind the one whose hash was altered; behind the dropped one there is nothing to compare."""
    ((_, place, found),) = ask(store, "broken_chain")
    assert (place, found) == (10, record_id(8))


def test_changed_copies(store: ClickHouse) -> None:
    ((found, contents, outcomes),) = ask(store, "changed_copies")
    assert (found, contents, sorted(outcomes)) == (record_id(6), 2, ["failure", "success"])


def test_an_equal_copy_is_none_a_changed_one_stays_after_merges(store: ClickHouse) -> None:
    store.query("OPTIMIZE TABLE mcp_audit FINAL")
    assert store.count("mcp_audit") == store.count("mcp_audit_records")
    assert len(ask(store, "changed_copies")) == 1


def test_every_query_stands_in_a_file_that_says_what_it_answers() -> None:
    assert len(re.findall(r"^-- \w+: [A-Z].*\?", TEXT, re.M)) == 10
    assert Path(CONFIG / "clickhouse" / "mcp_audit.sql").exists()
