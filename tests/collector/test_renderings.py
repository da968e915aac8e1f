# SPDX-License-Identifier: Apache-2.0
"""The seed's JSON and OCSF, made by the real Collector's transforms, are what the package makes of the same golden records.

They are compared as JSON values, in RFC 8785's form: a number is a number there, so that 10 and 10.0 are one, and true is not 1.
The transform reads a body's numbers as doubles; the body's own form has larger integers as strings, so that none loses a digit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from delivered import archived, ids, send
from endpoint import endpoint
from golden_records import OCSF, RECORDS, SEED
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from journals import until
from jsonschema import Draft202012Validator
from rendered import canonical, plain

from collector import Collector, join_lines, post
from opentelemetry.instrumentation.mcp_audit.integrity.parse import parse_line
from opentelemetry.instrumentation.mcp_audit.record import attributes as a
from opentelemetry.instrumentation.mcp_audit.render.ocsf import to_ocsf
from opentelemetry.instrumentation.mcp_audit.render.seed import to_seed

PACKAGE = "opentelemetry.instrumentation.mcp_audit.render"
VALIDATOR = Draft202012Validator(json.loads(resources.files(PACKAGE).joinpath("ocsf.schema.json").read_text("utf-8")))
GOLDEN = {"seed": SEED, "ocsf": OCSF}
RENDER = {"seed": to_seed, "ocsf": to_ocsf}
# Where the two sides differ, and why; `collector-config/README.md` has this table too. Found among the hostile records below:
# of what the format allows, nothing differs.
DIFFERENCES = {
    "/timestamp": "a time after 11 April 2262: the Collector's is a signed number of nanoseconds",
    "/time": "the same; 0 there",
    "/unmapped/time_unix_nano": "the same; negative there",
    "/response/duration_ms": "a negative duration, which nobody measures, is rounded the other way",
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A Collector with both renderings and the archive."""
    home = tmp_path_factory.mktemp("renderings")
    env = {f"AUDIT_{name.upper()}_JSONL": str(home / "renderings" / f"{name}.jsonl") for name in GOLDEN}
    configs = ("audit.yaml", "sinks/file.yaml", "renderings/seed.yaml", "renderings/ocsf.yaml")
    with Collector(home, *configs, env=env) as running:
        yield running


def log_records(lines: list[bytes]) -> list[dict[str, Any]]:
    return [
        record
        for line in lines
        for group in json.loads(line)["resourceLogs"]
        for scoped in group["scopeLogs"]
        for record in scoped["logRecords"]
    ]


def written(collector: Collector, name: str) -> list[dict[str, Any]]:
    path = Path(collector.env[f"AUDIT_{name.upper()}_JSONL"])
    return log_records(path.read_bytes().splitlines()) if path.exists() else []


def expected(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in GOLDEN[name].read_text(encoding="utf-8").splitlines()]


def test_both_sides_make_the_same_of_every_golden_record(rendered: Collector) -> None:
    lines = RECORDS.read_bytes().splitlines()
    before = {name: len(written(rendered, name)) for name in GOLDEN}
    send(rendered, lines, 20)
    for name in GOLDEN:
        records = written(rendered, name)[before[name] :]
        made = [json.loads(record["body"]["stringValue"]) for record in records]
        for mine, theirs in zip(made, expected(name), strict=True):
            assert canonical(mine) == canonical(theirs), (mine, theirs)
        # Beside the text stands the record id, and nothing else.
        assert [[item["key"] for item in record["attributes"]] for record in records] == [["audit.record.id"]] * len(
            lines
        )
    for event in (json.loads(record["body"]["stringValue"]) for record in written(rendered, "ocsf")):
        VALIDATOR.validate(event)
    assert ids(archived(rendered)) == ids(lines), "the archive has the records themselves"
    assert [one["body"] for one in log_records(archived(rendered))] == [
        one.get("body", {}) for one in log_records(lines)
    ]
    assert "failed to execute statement" not in rendered.log_text()


def hostile() -> list[dict[str, Any]]:
    """Records that nobody of ours writes: without what must be there, of wrong types, with content that is none."""
    golden = log_records(RECORDS.read_bytes().splitlines())[1]
    values: list[dict[str, Any]] = [
        {"intValue": "-9223372036854775808"},
        {"doubleValue": 1e300},
        {"boolValue": False},
        {"stringValue": ""},
        {"bytesValue": "AP8="},
        {"arrayValue": {"values": [{"intValue": "1"}, {"kvlistValue": {"values": []}}, {"stringValue": '"],['}]}},
        {"kvlistValue": {"values": [{"key": "a", "value": {"stringValue": "b"}}]}},
        {},
    ]
    bodies: list[dict[str, Any]] = [{"stringValue": text} for text in ("{", "{}x", "[1]", "1", '"', "\0", "{" * 5000)]
    bodies += [{"stringValue": '{"arguments":' + "[" * 300 + "]" * 300 + "}"}, {"stringValue": '{"error":"text"}'}]
    made: list[dict[str, Any]] = [{"timeUnixNano": "0"}, {"attributes": [], "timeUnixNano": str(2**64 - 1)}]
    made += [{**golden, "attributes": [{**item, "value": value} for item in golden["attributes"]]} for value in values]
    made += [{**golden, "body": body} for body in (*bodies, *values)]
    made += [{**golden, "eventName": name} for name in ("", "mcp_audit.", "mcp_audit", "\u202e", "x" * 5000)]
    kept = golden["attributes"]
    made += [{**golden, "attributes": kept[:at] + kept[at + 1 :]} for at in range(len(kept))]
    made += [{**golden, "attributes": kept[at:] + kept} for at in (0, 5)]
    return made


def request(records: list[dict[str, Any]]) -> bytes:
    tree = {"resourceLogs": [{"resource": {}, "scopeLogs": [{"scope": {}, "logRecords": records}]}]}
    return json.dumps(tree, separators=(",", ":")).encode()


def made_by_both(collector: Collector, records: list[dict[str, Any]], name: str) -> Iterator[tuple[Any, Any]]:
    """What the Collector wrote of its last ``len(records)`` records, and what the package makes of them."""
    there = written(collector, name)[-len(records) :]
    for record, theirs in zip(records, there, strict=True):
        (mine,) = parse_line(request([{"attributes": [], **record}]))
        yield json.loads(theirs["body"]["stringValue"]), json.loads(json.dumps(RENDER[name](mine)))


def differing(theirs: Any, mine: Any, path: str = "") -> Iterator[str]:
    if isinstance(theirs, dict) and isinstance(mine, dict) and theirs.keys() == mine.keys():
        for key in theirs:
            yield from differing(theirs[key], mine[key], f"{path}/{key}")
    elif theirs != mine:
        yield path


def test_a_hostile_record_is_rendered_and_never_dropped(rendered: Collector) -> None:
    records = hostile()
    before = {name: len(written(rendered, name)) for name in GOLDEN}
    assert post(rendered.logs_url, request(records)) == (200, b'{"partialSuccess":{}}')
    found: set[str] = set()
    for name in GOLDEN:
        assert len(written(rendered, name)) - before[name] == len(records)
        for theirs, mine in made_by_both(rendered, records, name):
            found.update(differing(theirs, mine))
            if name == "ocsf":
                VALIDATOR.validate(theirs)
    assert found == set(DIFFERENCES)


def test_a_good_record_among_hostile_ones_is_as_good_as_ever(rendered: Collector) -> None:
    good, bad = RECORDS.read_bytes().splitlines()[1], request(hostile())
    before = {name: len(written(rendered, name)) for name in GOLDEN}
    assert post(rendered.logs_url, join_lines([bad, good, bad]))[0] == 200
    for name in GOLDEN:
        made = written(rendered, name)[before[name] :]
        assert len(made) == 2 * len(hostile()) + 1
        event = json.loads(made[len(hostile())]["body"]["stringValue"])
        assert canonical(event) == canonical(expected(name)[1])


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_SAFE = st.integers(-(2**53) + 1, 2**53 - 1)
_JSON = st.recursive(
    st.none() | st.booleans() | _SAFE | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=10,
)
_BODIES = st.none() | st.dictionaries(st.sampled_from(["arguments", "result", "error", "salt"]), _JSON)
_WIRE = {
    "string": st.builds(lambda value: {"stringValue": value}, _TEXT),
    "int": st.builds(lambda value: {"intValue": str(value)}, st.integers(0, 2**53 - 1)),
    "bool": st.builds(lambda value: {"boolValue": value}, st.booleans()),
    "strings": st.builds(
        lambda values: {"arrayValue": {"values": [{"stringValue": value} for value in values]}},
        st.lists(_TEXT, min_size=1, max_size=3),
    ),
}


@st.composite
def any_record(draw: st.DrawFn) -> dict[str, Any]:
    """A record with any of the attributes, of the right types, in any combination, and any content."""
    names = draw(st.lists(st.sampled_from(sorted(a.TABLE)), max_size=40, unique=True))
    body = draw(_BODIES)
    record: dict[str, Any] = {
        "attributes": [{"key": name, "value": draw(_WIRE[a.TABLE[name].type])} for name in names],
        "eventName": draw(st.sampled_from(["mcp_audit.tool_call", "mcp_audit.gap", "other"]) | _TEXT),
        "timeUnixNano": str(draw(st.integers(1, 2**63 - 1))),
    }
    if body:
        record["body"] = {"stringValue": json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))}
    return record


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(any_record(), min_size=1, max_size=20))
def test_both_sides_make_the_same_of_any_record(rendered: Collector, records: list[dict[str, Any]]) -> None:
    assert post(rendered.logs_url, request(records))[0] == 200
    for name in GOLDEN:
        for theirs, mine in made_by_both(rendered, records, name):
            assert canonical(theirs) == canonical(mine), (theirs, mine)


def test_a_sink_takes_the_rendering_instead_of_the_record(tmp_path: Path) -> None:
    """As the comment of the file shows it: one more --config, here on the SQL sink's exporter, encoded as JSON."""
    lines = RECORDS.read_bytes().splitlines()
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "exporters: {otlp_http/sql: {encoding: json}}\n"
        "service: {pipelines: {logs/sql: {processors: [transform/sql, transform/ocsf]}}}\n"
    )
    configs = ("audit.yaml", "sinks/file.yaml", "renderings/ocsf.yaml", "sinks/sql.yaml", mine)
    with endpoint() as other:
        env = {
            "AUDIT_SQL_SINK_URL": f"http://127.0.0.1:{other.port}/v1/logs",
            "AUDIT_OCSF_JSONL": str(tmp_path / "renderings" / "ocsf.jsonl"),
        }
        with Collector(tmp_path / "c", *configs, env=env) as collector:
            send(collector, lines)
            assert ids(archived(collector)) == ids(lines)
            until(lambda: len(set(other.kept)) == len(lines))
        taken = {attribute: record for request in other.requests for attribute, record in by_id(request.body)}
    events = {event["metadata"]["uid"]: event for event in expected("ocsf")}
    assert taken.keys() == events.keys()
    for uid, record in taken.items():
        assert canonical(plain(record["body"])) == canonical(events[uid])
    sent = {uid: len(record["attributes"]) for uid, record in by_id(join_lines(lines))}
    # The attributes are all there, and who handed the record over.
    assert {uid: len(record["attributes"]) - 1 for uid, record in taken.items()} == sent


def by_id(body: bytes) -> list[tuple[str, dict[str, Any]]]:
    return [
        (item["value"]["stringValue"], record)
        for record in log_records([body])
        for item in record["attributes"]
        if item["key"] == "audit.record.id"
    ]
