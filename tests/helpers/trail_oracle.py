# SPDX-License-Identifier: Apache-2.0
"""Journals made by an independent hand: the canonical form comes from an RFC 8785 library, names are spelled out.

Nothing here imports the package, so that a journal made here is an oracle against both its writer and its reader.
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
import uuid
from pathlib import Path
from typing import Any

import rfc8785

BOOT = "11111111-2222-4333-8444-555555555555"
START = 1_764_000_000_000_000_000
LEFT_OUT = {
    "mcp_audit.record.hash",
    "mcp_audit.collector.peer",
    "mcp_audit.collector.subject",
    "log.file.name",
    "log.file.path",
    "log.file.name_resolved",
    "log.file.path_resolved",
}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


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


def record_form(record: dict[str, Any]) -> bytes:
    """The canonical form of an OTLP/JSON log record that was written by the rules (not by the store)."""
    kept = [
        item
        for item in record["attributes"]
        if item["key"] not in LEFT_OUT and not item["key"].startswith("audit.integrity.")
    ]
    kept.sort(key=lambda item: item["key"].encode("utf-16-be"))
    form = {"attributes": kept, "eventName": record["eventName"], "timeUnixNano": record["timeUnixNano"]}
    for name in ("spanId", "traceId"):
        if record.get(name):
            form[name] = record[name]
    return rfc8785.dumps(form)


class Trail:
    """One segment: ``records`` are OTLP log records as Python values, to be tampered with before they are written."""

    def __init__(
        self,
        stream: str = "6f1d1c1e-0000-4000-8000-000000000001",
        service: str = "svc",
        boot: str = BOOT,
        previous: Trail | None = None,
        start: int = START,
        seed: int = 1,
    ) -> None:
        self.stream, self.now = stream, start
        self.random = random.Random(seed)
        self.name = f"20251124T160000Z-{4000 + seed}-{stream}.jsonl"
        self.resource = {"mcp_audit.stream.id": stream, "service.name": service, "host.name": "box"}
        self.scope = {"name": "opentelemetry.instrumentation.mcp_audit", "version": "0.1.0"}
        self.records: list[dict[str, Any]] = []
        self.head: str | None = None
        opened: dict[str, Any] = {
            "mcp_audit.lifecycle.kind": "opened",
            "mcp_audit.stream.file": self.name,
            "mcp_audit.resource.hash": sha(
                rfc8785.dumps(
                    {
                        "resource": {"attributes": sorted(wired(self.resource), key=lambda item: str(item["key"]))},
                        "scope": self.scope,
                    }
                )
            ),
            "mcp_audit.policy.hash": "0" * 64,
            "mcp_audit.settings.hash": "1" * 64,
            "mcp_audit.boot.id": boot,
            "mcp_audit.process.pid": 4000 + seed,
            "mcp_audit.process.start_time": "12345",
            "mcp_audit.versions": ["mcp 2.3.0", "opentelemetry-sdk 1.45.2"],
        }
        if previous is not None:
            opened["mcp_audit.stream.previous_id"] = previous.stream
            opened["mcp_audit.stream.previous_hash"] = previous.head
        self.system("opened", opened)

    def id(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def system(
        self, kind: str, attributes: dict[str, Any], event: str = "mcp_audit.lifecycle", end: bool = False
    ) -> None:
        self.add(
            event,
            {
                "audit.action": "START" if kind == "opened" else "STOP",
                "audit.outcome": "success",
                "audit.actor.id": "system",
                "audit.actor.type": "system",
                **attributes,
            },
            None,
            None,
            end,
        )

    def call(
        self,
        tool: str = "search",
        arguments: Any = None,
        outcome: str = "success",
        detail: str = "ok",
        user: str = "ada",
        duration_us: int = 1234,
        body: str | None = "",
        trace: str = "5b8efff798038103d269b633813fc60c",
        span: str = "eee19b7ec3c1b174",
        **extra: Any,
    ) -> None:
        if body == "":
            salted = {"arguments": {"query": "customers"} if arguments is None else arguments, "salt": "00" * 16}
            body = json.dumps(salted, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        call_id = self.id()
        attributes: dict[str, Any] = {
            "audit.record.id": call_id,
            "audit.action": "EXECUTE",
            "audit.outcome": outcome,
            "audit.actor.id": user,
            "audit.actor.type": "user",
            "audit.target.id": tool,
            "audit.target.type": "tool",
            "gen_ai.tool.name": tool,
            "mcp.method.name": "tools/call",
            "mcp_audit.outcome.detail": detail,
            "mcp_audit.decision": "allowed",
            "mcp_audit.duration_us": duration_us,
            "mcp_audit.actor.provenance": "verified",
            "mcp_audit.call.id": call_id,
            "mcp_audit.request.id": f"req-{len(self.records)}",
            "mcp_audit.level": "request",
            "user.id": user,
            **extra,
        }
        self.add("mcp_audit.tool_call", attributes, body, (trace, span), False, duration_us * 1000 + 7)

    def add(
        self,
        event: str,
        attributes: dict[str, Any],
        body: str | None,
        ids: tuple[str, str] | None,
        end: bool = False,
        lasted: int = 0,
    ) -> None:
        self.now += 1_000_000_000
        full = {
            "audit.record.id": self.id(),
            "audit.schema.version": "1.0",
            "audit.sequence.stream_id": self.stream,
            **attributes,
            "audit.sequence.number": len(self.records) + 1,
        }
        if self.head is not None:
            full["audit.sequence.previous_hash"] = self.head
        if end:
            full["audit.sequence.end"] = True
        if body is not None:
            full["mcp_audit.content.digest"] = sha(body.encode())
        record: dict[str, Any] = {"attributes": wired(dict(sorted(full.items())))}
        if body is not None:
            record["body"] = {"stringValue": body}
        record["eventName"] = event
        record["observedTimeUnixNano"] = str(self.now + lasted)
        if ids is not None:
            record["spanId"] = ids[1]
        record["timeUnixNano"] = str(self.now)
        if ids is not None:
            record["traceId"] = ids[0]
        self.head = sha(record_form(record))
        record["attributes"] += wired(
            {"mcp_audit.record.hash": self.head, "audit.integrity.canonicalization": "otlp-json-jcs"}
        )
        self.records.append(record)

    def close(self) -> None:
        self.system("closed", {"mcp_audit.lifecycle.kind": "closed"}, end=True)

    def line(self, record: dict[str, Any], resource: dict[str, Any] | None = None) -> bytes:
        attributes = wired(self.resource if resource is None else resource)
        tree = {
            "resourceLogs": [
                {
                    "resource": {"attributes": attributes},
                    "scopeLogs": [{"scope": self.scope, "logRecords": [record]}],
                }
            ]
        }
        return json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    def lines(self) -> list[bytes]:
        return [self.line(record) for record in self.records]

    def write(self, directory: Path, lines: list[bytes] | None = None) -> Path:
        path = directory / self.name
        path.write_bytes(b"".join(self.lines() if lines is None else lines))
        return path


def attribute(record: dict[str, Any], key: str) -> Any:
    """The wire value of an attribute; the very object, so that it can be changed in place."""
    return next(item["value"] for item in record["attributes"] if item["key"] == key)


def rehashed(record: dict[str, Any]) -> dict[str, Any]:
    """A copy with a right hash of its own, as someone makes it who knows the format but stops at one record."""
    made = copy.deepcopy(record)
    attribute(made, "mcp_audit.record.hash")["stringValue"] = sha(record_form(made))
    return made


def sample(calls: int = 5, **kwargs: Any) -> Trail:
    """A closed segment: opened, ``calls`` calls, closed."""
    trail = Trail(**kwargs)
    for number in range(calls):
        trail.call(f"tool_{number}")
    trail.close()
    return trail
