# SPDX-License-Identifier: Apache-2.0
"""The Splunk add-on against the events that the real exporter sent (`splunk/events.jsonl`, held there by `test_splunk.py`).

Splunk cannot run here. Files are parsed, every name is looked up in real events, and calculated fields and detections are
run by a restatement of the few commands they use (`helpers/spl.py`), which shows their logic and not that Splunk takes them.
"""

from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from spl import Conf, Expression, Row, aggregates, assignments, commands, conf, expand, run

from opentelemetry.instrumentation.mcp_audit.record.attributes import TABLE

APP = Path(__file__).parents[2] / "examples" / "splunk" / "mcp_audit"
SENT = [json.loads(line) for line in (Path(__file__).parent / "splunk" / "events.jsonl").read_text().splitlines()]
CONFS = {path.stem: conf(path) for path in sorted((APP / "default").glob("*.conf"))}
MACROS = {name: stanza["definition"] for name, stanza in CONFS["macros"].items()}
PROPS = CONFS["props"]["mcp:audit"]
GAP, SILENCE, CHAIN = (
    f"MCP audit - {name}" for name in ("Gap in a stream", "Heartbeat silence", "Chain does not join")
)
VIEW = ET.fromstring((APP / "default/data/ui/views/mcp_audit.xml").read_text())
# Fields that Splunk itself gives every event.
DEFAULT = {
    "host",
    "index",
    "source",
    "sourcetype",
    "_time",
    "_indextime",
    "_raw",
    "linecount",
    "splunk_server",
    "punct",
}
# Two hours after the events were made.
NOW = max(event["time"] for event in SENT) + 7200


def fields_in(event: dict[str, Any]) -> Row:
    """An event as `KV_MODE = json` shows it: lists are named with `{}`; the index-time fields; Splunk's own."""
    flat = {f"{key}{{}}" if isinstance(value, list) else key: value for key, value in event["event"].items()}
    # In Splunk a number in JSON is a number to `eval`; an index-time field is text.
    mine = {"host": event["host"], "index": event["index"], "source": event["source"]}
    return {**flat, **event["fields"], **mine, "sourcetype": event["sourcetype"], "_time": event["time"]}


SENT_FIELDS = {name for event in SENT for name in fields_in(event)}
LOOKUP = {
    row["mcp_audit_action_key"]: row["action"] for row in csv.DictReader((APP / "lookups/mcp_audit_actions.csv").open())
}


def seen(event: dict[str, Any]) -> Row:
    """The fields of an event at search time: aliases, then calculated fields (none sees another), then the lookup."""
    row = fields_in(event)
    for key, value in PROPS.items():
        if key.startswith("FIELDALIAS-"):
            old, new = value.split(" AS ")
            if old in row:
                row[new] = row[old]
    made = {key[5:]: Expression(value)(row) for key, value in PROPS.items() if key.startswith("EVAL-")}
    row |= {key: value for key, value in made.items() if value is not None}
    row["action"] = LOOKUP.get(row["mcp_audit_action_key"])
    return row


COMPUTED = {key[5:] for key in PROPS if key.startswith("EVAL-")} | {"action"}
COMPUTED |= {value.split(" AS ")[1] for key, value in PROPS.items() if key.startswith("FIELDALIAS-")}
SEARCHES = {name: stanza["search"] for name, stanza in CONFS["savedsearches"].items()}
SEARCHES |= {f"panel {number}": str(query.text) for number, query in enumerate(VIEW.iter("query"))}


def test_the_app_is_whole() -> None:
    assert sorted(CONFS) == [
        "app",
        "eventtypes",
        "fields",
        "macros",
        "props",
        "savedsearches",
        "tags",
        "transforms",
    ]
    assert CONFS["app"]["package"]["id"] == APP.name
    (stanza,) = CONFS["transforms"].values()
    assert (APP / "lookups" / stanza["filename"]).is_file()
    assert set(conf(APP / "metadata/default.meta")) == {""}
    nav = ET.parse(APP / "default/data/ui/nav/default.xml").getroot()
    assert "mcp_audit" in {view.get("name") for view in nav.iter("view")}


def test_no_name_of_an_attribute_is_lost_or_meets_another_when_its_dots_go() -> None:
    names = [name.replace(".", "_") for name in TABLE]
    assert len(set(names)) == len(TABLE)
    added = {"event_name", "service_name", "service_version", "service_instance_id", "deployment_environment_name"}
    added |= {"host_name", "time_unix_nano", "trace_id", "span_id", "x_content"}
    assert not set(names) & (DEFAULT | added)
    assert max(added | set(names)) == "x_content"
    assert not [name for name in SENT_FIELDS - {"host"} if "." in name]


def test_index_time_fields_are_declared_and_have_no_twin_in_the_event() -> None:
    """The same name at index and search time would have its value twice."""
    assert set(CONFS["fields"]) == {name for event in SENT for name in event["fields"]}
    assert all(set(event["fields"]) == set(CONFS["fields"]) for event in SENT)
    assert not {name for event in SENT for name in event["event"]} & set(CONFS["fields"])


def test_props_name_only_fields_that_were_sent() -> None:
    read: set[str] = set()
    for key, value in PROPS.items():
        if key.startswith("FIELDALIAS-"):
            read.add(value.split(" AS ")[0])
        if key.startswith("EVAL-"):
            read |= Expression(value).fields
    # Of a pipe, whose client has no address: the table has it, no event here.
    assert read - SENT_FIELDS == {"audit_source_id"} and "audit.source.id" in TABLE
    assert PROPS["LOOKUP-mcp_audit_action"].split()[0] in CONFS["transforms"]


def used_by(search: str) -> set[str]:
    """The fields that a search reads before it has made them."""
    read: set[str] = set()
    made: set[str] = set()
    for name, rest in commands(search):
        if name in ("eval", "where", "fieldformat"):
            pairs = [("", Expression(rest))] if name == "where" else assignments(rest)
            for new, expression in pairs:
                read |= expression.fields - made
                made |= {new} if name == "eval" else set()
            continue
        for _, field, new in aggregates(rest):
            read |= {field} - made - {""}
            made.add(new)
        for inner in re.findall(r"eval\((.*?\))\)", rest):
            read |= Expression(inner).fields - made
        if name in ("tstats", "search"):
            read |= set(re.findall(r"(\w+)!?=", rest)) - {"_index_earliest"}
        by = rest.split(" by ")[1] if " by " in rest else rest if name in ("table", "dedup", "sort") else ""
        read |= {word.lstrip("-") for word in by.split() if not word.isdigit()} - made
    return read


@pytest.mark.parametrize("name", SEARCHES)
def test_searches_name_only_what_exists(name: str) -> None:
    """Macros that are defined; fields that real events have, or that the add-on or the search itself makes."""
    used = used_by(expand(SEARCHES[name], MACROS))
    assert used - SENT_FIELDS - COMPUTED - DEFAULT == set()
    assert used


def test_the_dashboard_asks_what_the_detections_ask() -> None:
    """Its two numbers are the detections' own conditions, or a part of them."""
    assert SEARCHES[GAP].split("\n| ")[2] in SEARCHES["panel 0"]
    assert all(
        part in SEARCHES[CHAIN] for part in ("number==before", "number==before + 1 AND ix_previous!=before_hash")
    )
    assert (
        "where (number==before OR (number==before + 1 AND ix_previous!=before_hash)) AND time > `mcp_audit_judged`"
        in SEARCHES["panel 1"]
    )


def test_every_macro_is_used() -> None:
    text = "".join([*SEARCHES.values(), *MACROS.values()])
    assert [name for name in MACROS if f"`{name}`" not in text] == []


def in_type(name: str, row: Row) -> bool:
    """Whether an event type's search matches: `a=b`, `a IN (…)`, NOT, OR and brackets, as the five of them use them."""
    text = CONFS["eventtypes"][name]["search"]
    text = re.sub(r"(\w+) IN \(([^)]*)\)", r"(row.get('\1') in (\2,))", text)
    text = re.sub(r'(\w+)=("[^"]*"|\d+)', r"(str(row.get('\1')) == str(\2))", text)
    text = re.sub(r"\)\s+(?=\()", ") and ", text).replace(" OR ", " or ").replace(" NOT ", " and not ")
    return bool(eval(text, {"row": row, "str": str}))


# Fields that the CIM's tables of these models call recommended, and an MCP server's record can have
# (docs.splunk.com/Documentation/CIM/latest/User/DataAccess, …/Authentication, …/Change).
CIM = {
    "mcp_audit_data_access": (
        "action app dest object object_category object_id src user vendor_product",
        "data access",
    ),
    "mcp_audit_authentication": ("action app dest src user reason", "authentication"),
    "mcp_audit_change": (
        "action change_type dest object object_category object_id src user vendor_product",
        "change audit",
    ),
}


def test_the_cim_models_have_their_tags_and_fields() -> None:
    rows = [seen(event) for event in SENT]
    types = {row["audit_record_id"]: [name for name in CIM if in_type(name, row)] for row in rows}
    assert {name: sum(name in of for of in types.values()) for name in CIM} == {
        "mcp_audit_data_access": 5,
        "mcp_audit_authentication": 1,
        "mcp_audit_change": 6,
    }
    assert max(len(of) for of in types.values()) == 1
    assert all(in_type("mcp_audit", row) for row in rows)
    for row in rows:
        for name in types[row["audit_record_id"]]:
            fields, tags = CIM[name]
            assert [field for field in fields.split() if not row.get(field)] == []
            assert set(CONFS["tags"][f"eventtype={name}"]) == set(tags.split())
    assert {stanza.removeprefix("eventtype=") for stanza in CONFS["tags"]} == set(CIM)


def test_what_cim_fields_hold() -> None:
    by = {(row["event_name"], row.get("http_response_status_code")): row for row in map(seen, SENT)}
    wanted = ("user", "src", "action", "app", "object", "object_category", "dest", "vendor_account", "user_role")
    read = by["mcp_audit.resource_read", None]
    assert [read[name] for name in wanted] == [
        "ada",
        "192.0.2.7",
        "read",
        "svc",
        "chart://7",
        "resource",
        "box",
        "acme",
        "nurse,admin",
    ]
    assert (read["duration"], read["status"], read["result"]) == (0.0015, "success", "ok")
    assert [by["mcp_audit.access_denied", code]["action"] for code in (401, 403)] == ["failure", "denied"]
    assert [by["mcp_audit.access_denied", code]["reason"] for code in (401, 403)] == [
        "invalid_token",
        "insufficient_scope",
    ]
    calls = [seen(event) for event in SENT if event["event"]["event_name"] == "mcp_audit.tool_call"]
    assert {(row["action"], row["object"], row["status"], row.get("object_attrs")) for row in calls} == {
        ("executed", "datahub_search", "success", "phi"),
        ("executed", "write_note", "failure", "unclassified"),
    }


def test_every_action_of_the_trail_has_one_of_the_cim() -> None:
    source = "".join(path.read_text() for path in (Path(__file__).parents[2] / "src").rglob("*.py"))
    words = set(re.findall(r'"(EXECUTE|READ|CREATE|UPDATE|DELETE|START|STOP)"', source))
    assert {"EXECUTE", "READ", "UPDATE", "START", "STOP"} <= words <= set(LOOKUP)


# --- the detections, by the restatement -------------------------------------------------------------------------------
def indexed(*, ago: float = 3600.0) -> list[Row]:
    """The events that were sent, as an index holds them: indexed ``ago`` seconds before now."""
    return [{**fields_in(event), "_indextime": NOW - ago} for event in SENT]


def found(name: str, events: list[Row]) -> list[Row]:
    return run(expand(SEARCHES[name], MACROS), events, NOW)


def stream(events: list[Row]) -> list[Row]:
    """The events of the segment, in their order."""
    named = [row for row in events if row["ix_service"] == "svc"]
    return sorted(named, key=lambda row: int(row["ix_number"]))


@pytest.mark.parametrize("name", [GAP, SILENCE, CHAIN])
def test_the_detections_are_ready_to_schedule(name: str) -> None:
    stanza: dict[str, str] = CONFS["savedsearches"][name]
    assert stanza["enableSched"] == "1" and stanza["disabled"] == "1" and len(stanza["cron_schedule"].split()) == 5
    assert (stanza["counttype"], stanza["relation"], stanza["quantity"]) == ("number of events", "greater than", "0")
    columns = SEARCHES[name].rsplit("| table ", 1)[1].split()
    assert set(stanza["alert.suppress.fields"].split(",")) <= set(columns)


def test_the_restatement_of_a_whole_trail_with_second_copies_finds_nothing() -> None:
    events = indexed()
    again = [{**row, "_indextime": NOW - 1800} for row in events]
    assert found(GAP, events + again) == found(CHAIN, events + again) == []
    assert found("MCP audit - Streams without their beginning", events) == []
    copies = found("MCP audit - Second copies", events + again)
    assert {row["ix_record_id"] for row in copies} == {row["ix_record_id"] for row in events}


def test_the_restatement_of_a_gap() -> None:
    events = indexed()
    order = stream(events)
    rest = [row for row in events if row not in order[3:5]]
    (gap,) = found(GAP, rest)
    assert (gap["ix_stream"], gap["first_missing"], gap["last_missing"], gap["missing"]) == (
        order[0]["ix_stream"],
        4,
        5,
        2,
    )
    assert gap["ix_record_id"] == order[5]["ix_record_id"]
    (one,) = found(GAP, [row for row in events if row is not order[3]])
    assert (one["first_missing"], one["last_missing"], one["missing"]) == (4, 4, 1)
    # Just indexed: the two may still be on the way.
    assert found(GAP, [{**row, "_indextime": NOW - 60} for row in rest]) == []
    assert found(CHAIN, rest) == []
    # At the edge of the seven days: its neighbour may lie before them.
    assert found(GAP, [{**row, "_time": NOW - 6.5 * 86400} for row in rest]) == []
    headless = [row for row in events if row is not order[0]]
    assert found(GAP, headless) == []
    (first,) = found("MCP audit - Streams without their beginning", headless)
    assert first["ix_record_id"] == order[1]["ix_record_id"]


@pytest.mark.parametrize(
    ("at", "change", "problem"),
    [
        (4, {"ix_previous": "0" * 64}, "previous_hash is not the hash of the record before it"),
        (4, {"ix_previous": "none"}, "names no record before it"),
        (0, {"ix_previous": "0" * 64}, "the first record names one before it"),
    ],
)
def test_the_restatement_of_a_chain_that_does_not_join(at: int, change: Row, problem: str) -> None:
    events = indexed()
    row = stream(events)[at]
    (broken,) = found(CHAIN, [{**one, **change} if one is row else one for one in events])
    assert (broken["problem"], broken["ix_record_id"], broken["number"]) == (problem, row["ix_record_id"], at + 1)


def test_the_restatement_of_a_record_replaced_swapped_or_doubled() -> None:
    events = indexed()
    order = stream(events)
    # A record made anew, hash and all: the next one does not join it.
    replaced = [{**row, "ix_hash": "f" * 64} if row is order[4] else row for row in events]
    assert [row["ix_record_id"] for row in found(CHAIN, replaced)] == [order[5]["ix_record_id"]]
    swapped = {id(order[4]): order[5]["ix_number"], id(order[5]): order[4]["ix_number"]}
    moved = [{**row, "ix_number": swapped.get(id(row), row["ix_number"])} for row in events]
    assert [row["number"] for row in found(CHAIN, moved)] == [5, 6, 7]
    other = {**order[4], "ix_record_id": "another", "ix_hash": "e" * 64}
    problems = {row["problem"] for row in found(CHAIN, [*events, other])}
    assert "two records have this number" in problems


def test_the_restatement_of_silence() -> None:
    (silent,) = found(SILENCE, indexed())
    assert (silent["host"], silent["ix_service"], silent["indexed"]) == ("box", "svc", NOW - 3600)
    fresh = [{**row, "_indextime": NOW - 60} for row in indexed()]
    assert found(SILENCE, indexed() + fresh) == []


def test_the_confs_are_read_strictly(tmp_path: Path) -> None:
    """The reader that this file trusts finds the mistakes that it is there for."""
    for text in ("key = outside\n", "[a]\nno equals\n", "[a]\nk = 1\nk = 2\n", "[a]\n[a]\n"):
        path = tmp_path / "bad.conf"
        path.write_text(text)
        with pytest.raises(ValueError, match=r"bad\.conf"):
            conf(path)
    path.write_text("[a]\nk = 1 \\\n2\n")
    expected: Conf = {"a": {"k": "1 \n2"}}
    assert conf(path) == expected
    with pytest.raises(KeyError):
        expand("`nowhere`", MACROS)
