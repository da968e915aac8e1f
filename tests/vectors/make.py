# SPDX-License-Identifier: Apache-2.0
"""Writes ``records.json``: test vectors of format 1.0 for other implementations. ``python tests/vectors/make.py``

It knows nothing of the package: the forms come from the RFC 8785 library, the lines from ``json``. Each vector:

``name``, ``why``     what it is for
``line``              the OTLP/JSON line as text, without its line end; spelling and order matter for writers only
``written``           true: a writer makes exactly this line; false: what a reader may find on the way
``record``            the log record in that line, parsed
``canonical_form``    RFC 8785 text whose UTF-8 bytes are hashed, and ``record_hash``, SHA-256 as hex
``resource_form``, ``resource_hash``   the same of resource and scope
``body``, ``content_digest``           the body's text and SHA-256 of its UTF-8 bytes, both null when there is none

``refused`` lists lines that are violations, whatever their hash says.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import rfc8785

PATH = Path(__file__).with_name("records.json")
STREAM = "6f1d1c1e-0000-4000-8000-000000000001"
SCOPE = {"name": "opentelemetry.instrumentation.mcp_audit", "version": "0.1.0"}
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PREVIOUS = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
LEFT_OUT = (
    "mcp_audit.record.hash",
    "mcp_audit.collector.peer",
    "mcp_audit.collector.subject",
    "log.file.name",
    "log.file.path",
    "log.file.name_resolved",
    "log.file.path_resolved",
)
RESOURCE = {
    "mcp_audit.stream.id": STREAM,
    "service.name": "patients",
    "host.name": "box",
    "deployment.\u00e9": "\U0001f600",
}
PLAIN = {
    "audit.record.id": "019ab6b0-5c00-7000-8000-000000000001",
    "audit.action": "EXECUTE",
    "audit.outcome": "success",
    "audit.actor.id": "ada",
    "audit.actor.type": "user",
    "audit.schema.version": "1.0",
    "gen_ai.tool.name": "search",
    "mcp_audit.duration_us": 1234,
}
BODY = '{"arguments":{"query":"customers"},"salt":"000102030405060708090a0b0c0d0e0f"}'
HARD = "\u00e9\u2028\u2029\U0001f600\x00\x01\x1f\x7f\x80\"\\/<>&'\b\f\n\r\t\ufeff\uffff\u0301e\u0301"


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def utf16(key: str) -> bytes:
    return key.encode("utf-16-be")


def wire(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, list):
        return {"arrayValue": {"values": [{"stringValue": item} for item in value]}}
    return {"stringValue": value}


def wired(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": wire(value)} for key, value in attributes.items()]


def typed(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Attributes sorted by key, integers as decimal strings, however they were spelled."""
    made = []
    for item in sorted(items, key=lambda item: utf16(item["key"])):
        ((kind, value),) = item["value"].items()
        made.append({"key": item["key"], "value": {kind: str(value) if kind == "intValue" else value}})
    return made


def canonical(record: dict[str, Any]) -> str:
    kept = [
        item
        for item in record["attributes"]
        if item["key"] not in LEFT_OUT and not item["key"].startswith("audit.integrity.")
    ]
    form: dict[str, Any] = {
        "attributes": typed(kept),
        "eventName": record["eventName"],
        "timeUnixNano": str(record["timeUnixNano"]),
    }
    for name in ("spanId", "traceId"):
        if record.get(name, "").strip("0"):
            form[name] = record[name].lower()
    return rfc8785.dumps(form).decode()


def record_of(
    attributes: dict[str, Any],
    body: str | None = None,
    ids: tuple[str, str] | None = (TRACE, SPAN),
    event: str = "mcp_audit.tool_call",
    place: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A record as a writer makes it: members and attributes in their order, its hash last."""
    full = {**attributes, "audit.sequence.stream_id": STREAM, **(place or {"audit.sequence.number": 1})}
    if body is not None:
        full["mcp_audit.content.digest"] = sha(body)
    record: dict[str, Any] = {"attributes": wired(dict(sorted(full.items())))}
    if body is not None:
        record["body"] = {"stringValue": body}
    record |= {"eventName": event, "observedTimeUnixNano": "1764000000001235234"}
    if ids is not None:
        record["spanId"] = ids[1]
    record["timeUnixNano"] = "1764000000000001234"
    if ids is not None:
        record["traceId"] = ids[0]
    record["attributes"] += wired(
        {"mcp_audit.record.hash": sha(canonical(record)), "audit.integrity.canonicalization": "otlp-json-jcs"}
    )
    return record


def line_of(record: Any) -> str:
    tree = {
        "resourceLogs": [
            {"resource": {"attributes": wired(RESOURCE)}, "scopeLogs": [{"scope": SCOPE, "logRecords": [record]}]}
        ]
    }
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":"))


def vector(
    name: str, why: str, record: dict[str, Any], line: str | None = None, written: bool = True
) -> dict[str, Any]:
    resource_form = rfc8785.dumps({"resource": {"attributes": typed(wired(RESOURCE))}, "scope": SCOPE}).decode()
    body = record.get("body", {}).get("stringValue") or None
    form = canonical(record)
    return {
        "name": name,
        "why": why,
        "line": line or line_of(record),
        "written": written,
        "record": record,
        "canonical_form": form,
        "record_hash": sha(form),
        "resource_form": resource_form,
        "resource_hash": sha(resource_form),
        "body": body,
        "content_digest": None if body is None else sha(body),
    }


def found(name: str, why: str, record: dict[str, Any], line: str | None = None) -> dict[str, Any]:
    """A vector that a reader may find and no writer makes."""
    return vector(name, why, record, line, written=False)


def written() -> list[dict[str, Any]]:
    hard_body = json.dumps(
        {"arguments": {HARD: [HARD, -1, True, None]}, "salt": "00" * 16}, ensure_ascii=False, separators=(",", ":")
    )
    return [
        vector("plain", "a tool call with a body", record_of(PLAIN, BODY)),
        vector(
            "chained",
            "it points back to the record before it",
            record_of(PLAIN, BODY, place={"audit.sequence.number": 2, "audit.sequence.previous_hash": PREVIOUS}),
        ),
        vector(
            "end",
            "the last record of a stream: no trace, no body, a boolean",
            record_of(
                {
                    **PLAIN,
                    "audit.actor.id": "system",
                    "audit.actor.type": "system",
                    "mcp_audit.lifecycle.kind": "closed",
                },
                ids=None,
                event="mcp_audit.lifecycle",
                place={
                    "audit.sequence.number": 9007199254740993,
                    "audit.sequence.previous_hash": PREVIOUS,
                    "audit.sequence.end": True,
                },
            ),
        ),
        vector("no body", "level metadata: no body and no digest", record_of(PLAIN)),
        vector("absent ids", "no trace: the members are left out", record_of(PLAIN, BODY, ids=None)),
        vector(
            "hard strings",
            "escapes, U+2028, emoji, a byte order mark, DEL, both spellings of e acute: none is normalised",
            record_of({**PLAIN, "gen_ai.tool.name": HARD, "user_agent.original": "\x1b[31m\u202e"}, hard_body),
        ),
        vector(
            "int64 limits",
            "integers are decimal strings, beyond 2^53 too",
            record_of(
                {**PLAIN, "mcp_audit.request.bytes": 2**63 - 1, "mcp_audit.response.bytes": -(2**63), "client.port": 0}
            ),
        ),
        vector(
            "empty strings", "an empty value is a value", record_of({**PLAIN, "user.id": "", "mcp_audit.purpose": ""})
        ),
        vector(
            "lists",
            "order and repetition count; an item may be empty",
            record_of(
                {**PLAIN, "user.roles": ["b", "a", "", "b"], "mcp_audit.redactions": ["/arguments/password key"]}
            ),
        ),
        vector(
            "future attributes",
            "a later 1.x adds attributes: they are covered, whatever their type, and sort among the others",
            record_of({**PLAIN, "zz.new": "x", "audit.new": 5, "a": False, "mcp_audit.new.list": ["x"]}),
        ),
    ]


def read() -> list[dict[str, Any]]:
    plain = record_of(PLAIN, BODY)
    carried = json.loads(json.dumps(plain))
    carried["attributes"] += wired(
        {
            "mcp_audit.collector.peer": "10.0.0.1",
            "mcp_audit.collector.subject": "CN=box",
            "log.file.name": "a.jsonl",
            "log.file.path": "/a.jsonl",
            "log.file.name_resolved": "a.jsonl",
            "log.file.path_resolved": "/a.jsonl",
        }
    )
    sealed = json.loads(json.dumps(plain))
    sealed["attributes"] += wired(
        {"audit.integrity.signature": "AAAA", "audit.integrity.algorithm": "x", "audit.integrity.n": 1}
    )
    shuffled = {name: plain[name] for name in reversed(plain)}
    shuffled["attributes"] = list(reversed(plain["attributes"]))
    numbers = json.loads(json.dumps(record_of({**PLAIN, "mcp_audit.request.bytes": 2**63 - 1})))
    for item in numbers["attributes"]:
        if "intValue" in item["value"]:
            item["value"]["intValue"] = int(item["value"]["intValue"])
    numbers["timeUnixNano"] = int(numbers["timeUnixNano"])
    # The key with U+10000 stands before that with U+FFFF: the order is by UTF-16 code units, not by code points.
    astral = record_of({**PLAIN, "x.\uffff": "after", "x.\U00010000": "before"})
    without = record_of(PLAIN, ids=None)
    escaped = json.dumps(json.loads(line_of(record_of({**PLAIN, "gen_ai.tool.name": HARD}))), ensure_ascii=True)
    view = {name: value for name, value in plain.items() if name not in ("body", "observedTimeUnixNano")}
    return [
        found("carrier keys", "added on the way, left out of the form", carried),
        found("integrity attributes", "all of audit.integrity.* is left out of the form", sealed),
        found("zero ids", "all-zero ids are absent ids", {**without, "traceId": "0" * 32, "spanId": "0" * 16}),
        found("empty ids", "so are empty ones", {**without, "traceId": "", "spanId": ""}),
        found(
            "uppercase ids",
            "ids are lowercase in the form",
            {**plain, "traceId": TRACE.upper(), "spanId": SPAN.upper()},
        ),
        found("another order", "readers depend on no order of members or attributes", shuffled),
        found("numbers", "a store gave integers and times as JSON numbers (mind those beyond 2^53)", numbers),
        found("utf-16 order", "attribute keys sort by UTF-16 code units", astral),
        found(
            "escaped",
            "another escape spelling of the same values",
            record_of({**PLAIN, "gen_ai.tool.name": HARD}),
            escaped.replace("/", "\\/"),
        ),
        found("metadata view", "without body and observed time it keeps its hash; its digest stays", view),
        found("empty body member", "{} is no body", {**without, "body": {}}),
        found("empty body string", "an empty string is no body", {**without, "body": {"stringValue": ""}}),
    ]


def refused() -> list[dict[str, str]]:
    plain = record_of(PLAIN)
    twice = {**plain, "attributes": [*plain["attributes"], *wired({"user.id": "a"}), *wired({"user.id": "b"})]}
    double = {**plain, "attributes": [*plain["attributes"], {"key": "x", "value": {"doubleValue": 1.5}}]}
    empty = {**plain, "attributes": [*plain["attributes"], {"key": "x", "value": {"arrayValue": {"values": []}}}]}
    member = line_of(plain).replace('"eventName":', '"eventName":"mcp_audit.prompt_get","eventName":')
    half = line_of(plain).replace('"stringValue":"search"', '"stringValue":"\\ud800"')
    return [
        {"name": "repeated attribute", "line": line_of(twice)},
        {"name": "repeated member", "line": member},
        {"name": "double", "line": line_of(double)},
        {"name": "empty list", "line": line_of(empty)},
        {"name": "half a surrogate pair", "line": half},
    ]


def vectors() -> dict[str, Any]:
    return {"format": "1.0", "vectors": [*written(), *read()], "refused": refused()}


def text() -> str:
    """The file's text: ASCII, so that no editor or version control changes a character of it."""
    return json.dumps(vectors(), indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="ascii")
