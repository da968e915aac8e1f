# SPDX-License-Identifier: Apache-2.0
"""A second verifier of a journal directory at rest, written from docs/format.md alone: json, hashlib, os, nothing of ours.

It says valid, violated or unreadable, and nothing else: no places, no bounded memory, no journal that is being written.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from typing import Any

LEDGER = "ledger.jsonl"
CARRIERS = (
    "mcp_audit.collector.peer mcp_audit.collector.subject log.file.name log.file.path log.file.name_resolved "
    "log.file.path_resolved"
).split()
INTS = ("audit.sequence.number client.port mcp_audit.duration_us mcp_audit.request.bytes mcp_audit.response.bytes "
        "mcp_audit.result.count mcp_audit.stream.count mcp_audit.stream.torn_bytes mcp_audit.stream.open_calls "
        "mcp_audit.process.pid mcp_audit.gap.count").split()  # fmt: skip
LISTS = ("user.roles mcp_audit.actor.scopes mcp_audit.actor.chain mcp_audit.data.classes mcp_audit.resources "
         "mcp_audit.redactions mcp_audit.truncated mcp_audit.versions").split()  # fmt: skip
ALWAYS = ("audit.record.id audit.action audit.outcome audit.actor.id audit.actor.type audit.schema.version "
          "audit.sequence.number audit.sequence.stream_id audit.integrity.canonicalization "
          "mcp_audit.record.hash").split()  # fmt: skip
OUTCOMES = ("mcp.method.name mcp_audit.outcome.detail mcp_audit.duration_us mcp_audit.actor.provenance "
            "mcp_audit.call.id mcp_audit.request.id mcp_audit.level").split()  # fmt: skip
CALLS = ["mcp_audit." + name for name in ("tool_call", "resource_read", "prompt_get", "request", "access_denied")]
MEMBERS = set("attributes body eventName observedTimeUnixNano spanId timeUnixNano traceId".split())


class Bad(Exception):
    """A record that can be read and is not what the format allows."""


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def jcs(value: Any) -> bytes:
    """RFC 8785 for what holds no number and only ASCII member names."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def wire(value: Any) -> Any:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, list):
        return {"arrayValue": {"values": [{"stringValue": item} for item in value]}}
    return {"stringValue": value}


def typed(key: str, wired: Any) -> Any:
    """A value in the type of the attribute table."""
    if not isinstance(wired, dict) or len(wired) != 1:
        raise Bad(f"value of {key}")
    ((kind, value),) = wired.items()
    want = "int" if key in INTS else "list" if key in LISTS else "bool" if key == "audit.sequence.end" else None
    if kind == "stringValue" and isinstance(value, str):
        if want is None:
            return value
        try:  # a store that keeps only strings
            value = json.loads(value)
        except ValueError:
            raise Bad(f"value of {key}") from None
        if {"int": type(value) is int, "bool": type(value) is bool, "list": type(value) is list and value}[want]:
            return value
    elif kind == "intValue" and (want == "int" or key not in TABLE):
        if type(value) is int or (isinstance(value, str) and re.fullmatch(r"-?(0|[1-9]\d{0,18})", value, re.ASCII)):
            if -(2**63) <= int(value) < 2**63:
                return int(value)
    elif kind == "boolValue" and type(value) is bool and (want == "bool" or key not in TABLE):
        return value
    elif kind == "arrayValue" and (want == "list" or key not in TABLE):
        items = value.get("values") if isinstance(value, dict) and len(value) == 1 else None
        if isinstance(items, list) and items and all(isinstance(i, dict) and list(i) == ["stringValue"] for i in items):
            texts = [item["stringValue"] for item in items]
            if all(isinstance(text, str) for text in texts):
                return texts
    raise Bad(f"value of {key}")


TABLE = {*INTS, *LISTS, *ALWAYS, *OUTCOMES, "audit.sequence.end", "audit.sequence.previous_hash"}


def attributes(items: Any) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for item in items:
        if not isinstance(item, dict) or set(item) != {"key", "value"} or item["key"] in made:
            raise Bad("attribute")
        made[item["key"]] = typed(item["key"], item["value"])
    return made


def known(tree: Any, names: set[str]) -> None:
    if any(tree[name] not in (None, 0, "") for name in set(tree) - names):
        raise Bad("unknown member")


def parse(line: bytes) -> dict[str, Any] | None:
    """A line as a record; None when it is none. Raises Bad."""
    doubled = []

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        doubled.extend([1] if len(dict(pairs)) != len(pairs) else [])
        return dict(pairs)

    def constant(name: str) -> None:
        raise ValueError(name)

    try:
        tree = json.loads(line.decode(), object_pairs_hook=members, parse_constant=constant)
        json.dumps(tree, ensure_ascii=False).encode()  # half surrogate pairs
        ((group,),) = [tree["resourceLogs"]]
        ((scoped,),) = [group["scopeLogs"]]
        ((record,),) = [scoped["logRecords"]]
        resource, scope = group.get("resource", {}), scoped.get("scope", {})
        items, event = record["attributes"], record.get("eventName", "")
        lists = (items, resource.get("attributes", []))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    texts = (scope.get("name", ""), scope.get("version", ""), event)
    if not all(isinstance(one, list) for one in lists) or not all(isinstance(one, str) for one in texts):
        return None
    if doubled:
        raise Bad("a member twice")
    for part, names in (
        (tree, {"resourceLogs"}), (group, {"resource", "scopeLogs"}), (resource, {"attributes"}),
        (scoped, {"scope", "logRecords"}), (scope, {"name", "version"}), (record, MEMBERS),
    ):  # fmt: skip
        known(part, names)
    times = [record.get(name, 0) for name in ("timeUnixNano", "observedTimeUnixNano")]
    for time in times:
        if not re.fullmatch(r"0|[1-9]\d{0,19}", str(time), re.ASCII) or isinstance(time, bool) or int(time) >= 2**64:
            raise Bad("time")
    body = record.get("body")
    if body is not None and body != {}:
        if not isinstance(body, dict) or list(body) != ["stringValue"] or not isinstance(body["stringValue"], str):
            raise Bad("body")
    ids = [record.get(name, "") for name in ("spanId", "traceId")]
    if not all(isinstance(one, str) for one in ids):
        raise Bad("id")
    made = {"a": attributes(items), "event": event, "time": int(times[0]), "observed": int(times[1])}
    made |= {"body": (body or {}).get("stringValue") or None, "resource": attributes(lists[1]), "scope": texts[:2]}
    made |= {name: one.lower() if one.strip("0") else "" for name, one in zip(("spanId", "traceId"), ids, strict=True)}
    return made


def form(record: dict[str, Any], sequence: bool = True) -> bytes:
    out = ("mcp_audit.record.hash", *CARRIERS)
    kept = [key for key in record["a"] if key not in out and not key.startswith("audit.integrity.")]
    kept = [key for key in kept if sequence or not key.startswith("audit.sequence.")]
    kept.sort(key=lambda key: key.encode("utf-16-be"))
    made: dict[str, Any] = {"attributes": [{"key": key, "value": wire(record["a"][key])} for key in kept]}
    made |= {"eventName": record["event"], "timeUnixNano": str(record["time"])}
    made |= {name: record[name] for name in ("spanId", "traceId") if record[name]}
    return jcs(made)


def resource_form(record: dict[str, Any]) -> bytes:
    keys = sorted(record["resource"], key=lambda key: str(key).encode("utf-16-be"))
    items = [{"key": key, "value": wire(record["resource"][key])} for key in keys]
    name, version = record["scope"]
    return jcs({"resource": {"attributes": items}, "scope": {"name": name, "version": version}})


def check_alone(record: dict[str, Any]) -> bool:
    a, body = record["a"], record["body"]
    needed = ALWAYS + (OUTCOMES if record["event"] in CALLS else [])
    right = all(key in a for key in needed) and a["mcp_audit.record.hash"] == sha(form(record))
    digest = a.get("mcp_audit.content.digest")
    right = right and (body in (None, "{}") if digest is None else body is not None and sha(body.encode()) == digest)
    lasted = record["observed"] - record["time"] - 1000 * a.get("mcp_audit.duration_us", 0)
    right = right and record["observed"] > 0 and 0 <= lasted < (1000 if "mcp_audit.duration_us" in a else 1)
    right = right and record["resource"].get("mcp_audit.stream.id") == a["audit.sequence.stream_id"]
    return bool(
        right
        and a["audit.integrity.canonicalization"] == "otlp-json-jcs"
        and a["audit.schema.version"].split(".")[0] == "1"
    )


class Stream:
    """One file, read from its first line to its last, or to the hole that a power cut may have left."""

    def __init__(self, data: bytes, name: str, hole_allowed: Any = lambda first: False, ledger: bool = False) -> None:
        *whole, torn = data.split(b"\n")
        if ledger and whole and b"\0" in whole[-1] and not torn and not is_record(whole[-1]):
            whole.pop()  # the next writer sets it aside
        self.items, self.violated, self.unreadable, self.ended = len(whole) + (torn != b""), False, False, False
        self.records: list[dict[str, Any]] = []
        self.first: dict[str, Any] | None = None
        self.zeros = self.items == 1 and bool(whole) and b"\0" in whole[0]
        previous: str | None = None
        expected = 1
        for index, line in enumerate(whole):
            try:
                record = parse(line)
            except Bad:
                self.violated = True
                record = self.first = self.first or None
                expected, previous = expected + 1, None
                continue
            number = None if record is None else record["a"].get("audit.sequence.number")
            hole = record is None or (number is not None and number > expected)
            if hole and self.first is not None and not self.ended and hole_allowed(self.first):
                return
            if record is None:
                self.violated, self.unreadable = self.violated or self.first is not None, True
                continue
            version = str(record["a"].get("audit.schema.version", "1.0"))
            if self.first is None and version.split(".", maxsplit=1)[0] != "1":
                self.unreadable = True
                return
            self.violated |= self.ended or not check_alone(record) or number != expected
            back = record["a"].get("audit.sequence.previous_hash")
            self.violated |= back is not None if number == 1 else previous is not None and back != previous
            if self.first is None:
                self.first = record
                opened = record["a"].get("mcp_audit.lifecycle.kind") == "opened"
                self.violated |= index > 0 or not opened or record["event"] != "mcp_audit.lifecycle"
                self.violated |= record["a"].get("mcp_audit.resource.hash") != sha(resource_form(record))
                self.violated |= ledger and record["a"].get("mcp_audit.stream.file") != name
            self.violated |= resource_form(record) != resource_form(self.first)
            self.ended |= record["a"].get("audit.sequence.end") is True
            previous, expected = record["a"].get("mcp_audit.record.hash"), (number or expected) + 1
            self.records.append(record)

    @property
    def end(self) -> tuple[Any, Any]:
        last = self.records[-1]["a"] if self.records else {}
        return last.get("audit.sequence.number"), last.get("mcp_audit.record.hash")


def is_record(line: bytes) -> bool:
    try:
        return parse(line) is not None
    except Bad:
        return True


def verdict(directory: str, boot: str | None) -> str:
    """What the journal in ``directory`` is, read on a machine of this boot."""
    files: dict[str, bytes] = {}
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if name.endswith(".jsonl") and os.path.isfile(path) and not os.path.islink(path):
            with open(path, "rb") as file:
                files[name] = file.read()
    ledger = Stream(files.pop(LEDGER), LEDGER, ledger=True) if LEDGER in files else None
    bad, unreadable, said, by_file = False, False, {}, {}  # type: ignore[var-annotated]
    if ledger is not None:
        bad, unreadable = ledger.violated, ledger.unreadable
        for record in ledger.records:
            a = record["a"]
            kind, stream = a.get("mcp_audit.lifecycle.kind"), a.get("mcp_audit.stream.id")
            if kind not in ("opened", "closed", "adopted", "pruned") or (
                stream is None and record is ledger.records[0]
            ):
                continue
            entry = tuple(a.get(f"mcp_audit.stream.{name}") for name in ("file", "count", "head"))
            if None in (stream, *entry):
                bad = True
                continue
            one = said.setdefault(stream, {"file": entry[0]})
            bad |= one["file"] != entry[0] or by_file.setdefault(entry[0], stream) != stream
            group = "opened" if kind == "opened" else "over"
            bad |= "opened" not in one and (kind != "opened" or "over" in one)
            bad |= one.setdefault(group, entry) != entry
            if kind in ("closed", "adopted"):
                one.setdefault("settled", (kind, a.get("mcp_audit.stream.reason")))
            one["pruned"] = one.get("pruned") or kind == "pruned"
    present, streams, ids = set(), {}, {}  # type: ignore[var-annotated]
    for name, data in files.items():

        def allowed(first: dict[str, Any]) -> bool:
            one = said.get(first["resource"].get("mcp_audit.stream.id"), {})
            kind, reason = one.get("settled", (None, None))
            if kind is not None:
                return kind == "adopted" and reason in ("power", "sealed")
            other = first["a"].get("mcp_audit.boot.id")
            return boot is not None and other is not None and other != boot

        found = Stream(data, name, allowed)
        stream = None if found.first is None else found.first["resource"].get("mcp_audit.stream.id")
        one = said.get(stream if stream is not None else by_file.get(name))
        bad |= found.violated
        if one is None:
            bad |= found.items > 1 and (ledger is not None or found.violated or not found.unreadable)
            unreadable |= found.unreadable and not found.zeros
        else:
            present.add(stream if stream is not None else by_file[name])
            unreadable |= found.unreadable
            head = None if found.first is None else found.first["a"].get("mcp_audit.record.hash")
            bad |= one["file"] != name or ("opened" in one and head != one["opened"][2])
            if "over" in one and found.end != one["over"][1:]:
                lost = one.get("settled") in (("adopted", "power"), ("adopted", "sealed"))
                bad |= not (lost and (found.end[0] or 0) < one["over"][1])
        streams.setdefault(stream, found)
        for record in found.records:
            same = ids.setdefault(record["a"].get("audit.record.id"), record)
            bad |= form(same, sequence=False) != form(record, sequence=False)
    for stream, one in said.items():
        bad |= stream not in present and not one["pruned"] and "opened" in one
    for found in streams.values():
        opened = {} if found.first is None else found.first["a"]
        before = streams.get(opened.get("mcp_audit.stream.previous_id", ""))
        back = opened.get("mcp_audit.stream.previous_hash")
        if before is not None and back is not None and not before.violated and before.end[1] != back:
            other = before.first is not None and boot is not None and before.first["a"].get("mcp_audit.boot.id") != boot
            bad |= before.ended or not other
    return "violated" if bad else "unreadable" if unreadable or (ledger is None and not files) else "valid"
