# SPDX-License-Identifier: Apache-2.0
"""What nobody should send, into real databases: it never crashes the sink, costs no good record beside it, and is no SQL."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from otlp_requests import joined, lines, protobuf
from sqlalchemy import Engine, event, text

from opentelemetry.instrumentation.mcp_audit.integrity.parse import parse_line
from opentelemetry.instrumentation.mcp_audit.record.ids import uuid7
from opentelemetry.instrumentation.mcp_audit.sink import of_json
from opentelemetry.instrumentation.mcp_audit.sink.body import Refused, read
from opentelemetry.instrumentation.mcp_audit.sink.received import Batch, Encoding, Received, Undecodable, decode
from opentelemetry.instrumentation.mcp_audit.sink.sql import SqlStore
from opentelemetry.instrumentation.mcp_audit.sink.store import Kept

SQL = [
    "'; DROP TABLE audit_log; --",
    '"; DROP TABLE audit_log; --',
    "\\'; DROP TABLE audit_log; --",
    "x'); DELETE FROM audit_log; --",
    "%s %(line)s :line ? $1 {0}",
    "\\.",
    "\\N",
    "a\tb\nc\rd",
]
NUL = "a\0b"
# Of the records here, those that are good and come beside each bad one.
GOOD = 4


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return lines(tmp_path_factory.mktemp("journal"), GOOD + 1)


def stored(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return [line for (line,) in connection.execute(text("SELECT line FROM audit_log ORDER BY id"))]


def reasons(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return [why for (why,) in connection.execute(text("SELECT reason FROM audit_rejected ORDER BY id"))]


def tree_of(made: list[str]) -> Any:
    return json.loads(joined(made))


def records_of(tree: Any) -> list[Any]:
    return tree["resourceLogs"][0]["scopeLogs"][0]["logRecords"]  # type: ignore[no-any-return]


def body_of(tree: Any) -> bytes:
    return json.dumps(tree).encode()


def everywhere(tree: Any, value: str) -> Any:
    """The tree with ``value`` in place of every string value and every name that a sender chooses; ids stay."""
    if isinstance(tree, dict):
        if tree.get("key") in ("audit.record.id", "audit.sequence.number", "mcp_audit.duration_us"):
            return tree
        if "stringValue" in tree:
            return {"stringValue": value}
        changed = {"name", "version", "eventName", "traceId", "spanId"}
        return {name: value if name in changed else everywhere(inner, value) for name, inner in tree.items()}
    return [everywhere(inner, value) for inner in tree] if isinstance(tree, list) else tree


@pytest.fixture
def statements(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every statement that reaches the driver, also those that we hand to psycopg ourselves."""
    seen: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        seen.append(statement)

    execute, copy = psycopg.Cursor.execute, psycopg.Cursor.copy

    def noted_execute(self: Any, query: Any, *arguments: Any, **named: Any) -> Any:
        seen.append(str(query))
        return execute(self, query, *arguments, **named)

    def noted_copy(self: Any, query: Any, *arguments: Any, **named: Any) -> Any:
        seen.append(str(query))
        return copy(self, query, *arguments, **named)

    event.listen(engine, "before_cursor_execute", note)
    monkeypatch.setattr(psycopg.Cursor, "execute", noted_execute)
    monkeypatch.setattr(psycopg.Cursor, "copy", noted_copy)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
def test_sql_and_nul_in_every_string(
    engine: Engine, made: list[str], statements: list[str], encoding: Encoding
) -> None:
    """Kept to the letter, and in no statement."""
    for value in [*SQL, NUL]:
        tree = everywhere(tree_of([made[0]]), value)
        (record,) = records_of(tree)
        (identity,) = [item for item in record["attributes"] if item["key"] == "audit.record.id"]
        identity["value"]["stringValue"] = uuid7()
        if encoding == "protobuf":
            record.pop("traceId", None)
            record.pop("spanId", None)
        body = body_of(tree)
        body = protobuf(body) if encoding == "protobuf" else body
        (item,) = decode(body, encoding)
        assert isinstance(item, Received)
        assert SqlStore(engine).write(Batch(body, encoding)) == Kept(stored=1)
        assert stored(engine)[-1] == item.line
        (again,) = parse_line(item.line.encode())
        assert again.event_name == value and again.scope == (value, value)
    with engine.connect() as connection:
        shown = [name for (name,) in connection.execute(text("SELECT tool FROM audit_log ORDER BY id"))]
    assert shown == [value.replace("\0", "�") for value in [*SQL, NUL]]
    assert statements and not [
        one for one in statements for value in ["DROP", "DELETE FROM audit_log", NUL] if value in one
    ]


def poisons() -> dict[str, Any]:
    """Records that are none, or hardly, as JSON."""
    id_ = {"key": "audit.record.id", "value": {"stringValue": "0198c5f2-0000-7000-8000-000000000001"}}
    deep: Any = "x"
    for _ in range(200):
        deep = {
            "kvlistValue": {
                "values": [{"key": "k", "value": deep if isinstance(deep, dict) else {"stringValue": deep}}]
            }
        }
    return {
        "10,000 attributes": {
            "timeUnixNano": "1",
            "attributes": [id_, *({"key": f"a{n}", "value": {"stringValue": "v"}} for n in range(10_000))],
        },
        "a number": 7,
        "null": None,
        "attributes of a wrong type": {"timeUnixNano": "1", "attributes": "none"},
        "an event name that is a list": {"timeUnixNano": "1", "attributes": [id_], "eventName": ["x"]},
        "a time that is none": {"timeUnixNano": {"a": 1}, "attributes": [id_]},
        "a time far away": {"timeUnixNano": str(2**64 - 1), "attributes": [id_]},
        "an id that is none": {"timeUnixNano": "1", "attributes": [{**id_, "value": {"stringValue": NUL}}]},
        "an integer that fits nowhere": {
            "timeUnixNano": "1",
            "attributes": [id_, {"key": "n", "value": {"intValue": 10**40}}],
        },
        "deep": {"timeUnixNano": "1", "attributes": [id_, {"key": "d", "value": deep}]},
        "a body of half a pair": {"timeUnixNano": "1", "attributes": [id_], "body": {"stringValue": '{"a":"\\ud800"}'}},
        "a body of NUL": {"timeUnixNano": "1", "attributes": [id_], "body": {"stringValue": '{"\\u0000":"\\u0000"}'}},
        "a deep body": {"timeUnixNano": "1", "attributes": [id_], "body": {"stringValue": "[" * 400 + "]" * 400}},
        "a very deep body": {"timeUnixNano": "1", "attributes": [id_], "body": {"stringValue": '{"a":' * 50_000}},
        "a body of a huge number": {
            "timeUnixNano": "1",
            "attributes": [id_],
            "body": {"stringValue": '{"n":1' + "0" * 400 + ',"f":1e999}'},
        },
        "2 MB": {"timeUnixNano": "1", "attributes": [id_], "body": {"stringValue": "x" * 2_000_000}},
    }


@pytest.mark.parametrize("large", [False, True])
def test_a_bad_record_costs_no_good_one(
    engine: Engine, made: list[str], large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr(of_json, "_LARGE_BYTES", 1000)
    tree = tree_of(made)
    records = records_of(tree)
    for number, poison in enumerate(poisons().values()):
        records.insert(number % len(records), poison)
    kept = SqlStore(engine).write(Batch(body_of(tree), "json"))
    # Each is somewhere: a row, a conflict (they share an id), or set apart with its reason.
    assert kept.stored + kept.repeated + kept.conflicts + kept.rejected == len(records)
    assert set(made) <= set(stored(engine))
    said = reasons(engine)
    assert len(said) == kept.rejected
    assert "10001 attributes, at most 1000 are taken" in said


@pytest.mark.parametrize("name", poisons())
def test_each_bad_record_alone_is_answered(engine: Engine, made: list[str], name: str) -> None:
    """Not one of them is a reason to say "come again": it would come for ever."""
    tree = tree_of(made)
    records_of(tree).insert(1, poisons()[name])
    kept = SqlStore(engine).write(Batch(body_of(tree), "json"))
    assert (kept.stored, kept.rejected) in ((len(made), 1), (len(made) + 1, 0))
    assert set(made) <= set(stored(engine))


def test_broken_protobuf_records_cost_no_good_one(engine: Engine, made: list[str]) -> None:
    request = ExportLogsServiceRequest.FromString(protobuf(joined(made)))
    raw = [record.SerializeToString() for record in request.resource_logs[0].scope_logs[0].log_records]
    whole = Batch(protobuf(joined(made)), "protobuf")
    bad = [raw[0][:-3], b"\x32\x05abc", b"\xff" * 9, b"\x0b\x00", raw[0].replace(b"success", b"succe\xff\xfe")]
    framed = _request(request, [bad[0], raw[0], *bad[1:], *raw[1:]])
    kept = SqlStore(engine).write(Batch(framed, "protobuf"))
    assert (kept.stored, kept.rejected) == (len(made), len(bad))
    assert stored(engine) == [item.line for item in decode(whole.body, "protobuf") if isinstance(item, Received)]
    assert all(reason.startswith("no protobuf of a log record") for reason in reasons(engine))


def _request(like: Any, raw: list[bytes]) -> bytes:
    """A request with these bytes as its records, under the resource and scope of another."""
    group = like.resource_logs[0]
    scoped = _field(1, group.scope_logs[0].scope.SerializeToString()) + b"".join(_field(2, one) for one in raw)
    return _field(1, _field(1, group.resource.SerializeToString()) + _field(2, scoped))


def _field(number: int, content: bytes) -> bytes:
    length, size = len(content), bytearray()
    while length > 127:
        size.append(length & 127 | 128)
        length >>= 7
    return bytes((number << 3 | 2, *size, length)) + content


def test_a_body_cut_or_broken_anywhere(engine: Engine, made: list[str]) -> None:
    """All or nothing of it, never a part without a word; a good body after it is taken as ever. Seeded."""
    chance, store = random.Random(20261124), SqlStore(engine)
    for number in range(120):
        encoding: Encoding = "json" if number % 2 else "protobuf"
        body = bytearray(joined(made) if encoding == "json" else protobuf(joined(made)))
        for _ in range(chance.randint(0, 3)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        try:
            store.write(Batch(bytes(body[: chance.choice([len(body), chance.randint(0, len(body))])]), encoding))
        except Undecodable:
            continue
    again = Batch(joined(made), "json")
    kept = store.write(again)
    assert kept.rejected == 0 and kept.stored + kept.repeated + kept.conflicts == len(made)


async def test_a_bomb_is_unpacked_no_further_than_the_limit() -> None:
    bomb = gzip.compress(b"\0" * 200_000_000, 9)

    async def parts() -> AsyncIterator[bytes]:
        yield bomb

    tracemalloc.start()
    with pytest.raises(Refused) as refused:
        await read(parts(), "gzip", None, 1_000_000)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused.value.status == 413
    # The body as far as it may go, and a step beyond; the allocator's growth of it.
    assert most < 2_500_000


async def test_a_packed_body_in_any_pieces_is_the_body() -> None:
    body = bytes(range(256)) * 3000
    for size in (1, 7, 1000, 10_000_000):
        packed = gzip.compress(body)

        async def parts(packed: bytes = packed, size: int = size) -> AsyncIterator[bytes]:
            for at in range(0, len(packed), size):
                yield packed[at : at + size]

        assert await read(parts(), "gzip", None, len(body)) == body


_TEXT = st.text(max_size=8)
_ANY: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.one_of(
        st.builds(lambda value: {"string_value": value}, _TEXT),
        st.builds(lambda value: {"int_value": value}, st.integers(-(2**63), 2**63 - 1)),
        st.builds(lambda value: {"bool_value": value}, st.booleans()),
        st.builds(lambda value: {"double_value": value}, st.floats()),
        st.builds(lambda value: {"bytes_value": value}, st.binary(max_size=8)),
        st.just({}),
    ),
    lambda inner: st.one_of(
        st.builds(lambda values: {"array_value": {"values": values}}, st.lists(inner, max_size=3)),
        st.builds(
            lambda values: {"kvlist_value": {"values": [{"key": key, "value": value} for key, value in values]}},
            st.lists(st.tuples(_TEXT, inner), max_size=3),
        ),
    ),
    max_leaves=6,
)
_NAMES = st.one_of(_TEXT, st.sampled_from(["audit.outcome", "mcp_audit.duration_us", "user.roles", "gen_ai.tool.name"]))


@seed(20261124)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pairs=st.lists(st.tuples(_NAMES, _ANY), max_size=6),
    body=st.none() | _ANY,
    name=_TEXT,
    ids=st.tuples(st.binary(max_size=20), st.binary(max_size=10)),
    times=st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)),
)
def test_typed_values_are_those_of_the_line_for_any_protobuf(
    pairs: list[Any], body: Any, name: str, ids: tuple[bytes, bytes], times: tuple[int, int]
) -> None:
    """The quick way and the reader of the line agree, whatever stands in the record."""
    record = {
        "attributes": [
            {"key": "audit.record.id", "value": {"string_value": uuid7()}},
            *({"key": key, "value": value} for key, value in pairs),
        ],
        "event_name": name,
        "trace_id": ids[0],
        "span_id": ids[1],
        "time_unix_nano": times[0],
        "observed_time_unix_nano": times[1],
    }
    if body is not None:
        record["body"] = body
    request = ExportLogsServiceRequest(resource_logs=[{"scope_logs": [{"log_records": [record]}]}])  # type: ignore[list-item]
    (item,) = decode(request.SerializeToString(), "protobuf")
    assert isinstance(item, Received)
    (again,) = parse_line(item.line.encode())
    for what in ("event_name", "time", "observed", "trace_id", "span_id", "attributes", "body", "faults", "record_id"):
        assert getattr(item.record, what) == getattr(again, what), what


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("databases")


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@seed(20261124)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10_000), value=_JSON, where=st.integers(0, GOOD))
def test_a_wrong_type_anywhere_in_a_record_costs_only_that_one(
    made: list[str], home: Path, at: int, value: Any, where: int
) -> None:
    from opentelemetry.instrumentation.mcp_audit.sink.engine import engine_of
    from opentelemetry.instrumentation.mcp_audit.sink.migrate import migrate

    tree = tree_of(made)
    records = records_of(tree)
    places = list(_places(records[where]))
    holder, key = places[at % len(places)]
    holder[key] = value
    engine = engine_of(f"sqlite:///{home}/{uuid7()}.db")
    migrate(engine)
    kept = SqlStore(engine).write(Batch(body_of(tree), "json"))
    assert kept.stored + kept.rejected == len(made)
    assert {line for index, line in enumerate(made) if index != where} <= set(stored(engine))
    engine.dispose()


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a tree that a value stands in: its holder and the key there."""
    for key, inner in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield tree, key
        if isinstance(inner, dict | list):
            yield from _places(inner)
