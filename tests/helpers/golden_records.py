# SPDX-License-Identifier: Apache-2.0
"""The records that both renderings are held to: each event, each outcome detail, each attribute, and awkward content.

``tests/render/golden/records.jsonl`` is what this makes, ``seed.jsonl`` and ``ocsf.jsonl`` beside it what becomes of it, line by
line. The renderings of the package and those of the Collector's transforms are compared with these files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trail_oracle import Trail

GOLDEN = Path(__file__).parents[1] / "render" / "golden"
RECORDS, SEED, OCSF = GOLDEN / "records.jsonl", GOLDEN / "seed.jsonl", GOLDEN / "ocsf.jsonl"
_IDS = ("5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174")
_OUTCOMES = {
    "success": ("ok",),
    "failure": (
        "tool_error",
        "invalid_arguments",
        "invalid_output",
        "unknown_tool",
        "unknown_method",
        "invalid_params",
        "protocol_error",
        "timeout",
        "denied",
    ),
    "unknown": ("cancelled", "client_gone", "input_required", "task_created", "abandoned"),
}
# Every attribute that a call's record may have, and that the calls of the oracle do not.
_EVERYTHING: dict[str, Any] = {
    "audit.actor.id": "ada",
    "audit.source.id": "192.168.1.1",
    "audit.source.type": "ipv4",
    "client.address": "192.168.1.1",
    "client.port": 4711,
    "gen_ai.agent.id": "agent-7",
    "gen_ai.agent.name": "Helper",
    "gen_ai.operation.name": "execute_tool",
    "jsonrpc.request.id": "17",
    "mcp.protocol.version": "2025-06-18",
    "mcp.session.id": "hmac-sha256:0a1b2c3d:" + "ab" * 32,
    "mcp_audit.actor.chain": ["agent-7", "gateway"],
    "mcp_audit.actor.client_id": "app-1",
    "mcp_audit.actor.issuer": "https://issuer.example",
    "mcp_audit.actor.scopes": ["read", "write"],
    "mcp_audit.actor.token.id": "jti-1",
    "mcp_audit.client.name": "Some Client",
    "mcp_audit.client.version": "1.2",
    "mcp_audit.data.classes": ["phi", "pii"],
    "mcp_audit.data.sensitivity": "high",
    "mcp_audit.data.subject": "subject-9",
    "mcp_audit.decision.by": "server",
    "mcp_audit.decision.reason": "policy",
    "mcp_audit.policy.hash": "0" * 64,
    "mcp_audit.policy.rule": "default",
    "mcp_audit.purpose": "treatment",
    "mcp_audit.purpose.source": "declared",
    "mcp_audit.redactions": ["/arguments/token key"],
    "mcp_audit.request.bytes": 120,
    "mcp_audit.request.digest": "hmac-sha256:0a1b2c3d:" + "cd" * 32,
    "mcp_audit.request.id": "req-abc123",
    "mcp_audit.resources": ["urn:li:dataset:1", 'a "quoted" \\ $1 ${2} <&> \u2028\x01 name', "pätient"],
    "mcp_audit.response.bytes": 4096,
    "mcp_audit.result.count": 5,
    "mcp_audit.retention.class": "hipaa-6y",
    "mcp_audit.state.given": "s1",
    "mcp_audit.state.issued": "s2",
    "mcp_audit.task.id": "task-1",
    "mcp_audit.tenant.id": "acme-corp",
    "mcp_audit.truncated": ["/arguments/note 70000"],
    "network.transport": "tcp",
    "rpc.response.status_code": "0",
    "user.email": "user@example.com",
    "user.roles": ["clerk"],
    "user_agent.original": "agent/1.0",
}
_AWKWARD: dict[str, Any] = {
    "null": None,
    "empty": {},
    "nothing": [],
    "nested": [{"a": None, "b": [1, -2.5, 1e21, 1e-7, True, False]}, [], {}],
    "large": 9007199254740991,
    "larger": "9007199254740993",
    "text": 'päss \x9b\u202e\u2028 "<&>" \\ $1 \U0001f642 \x00 end',
    "ключ": "",
}


def golden_trail() -> Trail:
    """All of them, in one segment."""
    trail = Trail(start=1_705_314_598_123_456_789)
    trail.call(
        "datahub_search", {"query": "customers", "limit": 10}, user="user123", duration_us=150_499, **_EVERYTHING
    )
    for outcome, details in _OUTCOMES.items():
        for detail in details:
            more = {} if outcome != "failure" else {"error.type": detail}
            decision = "denied" if detail == "denied" else "allowed"
            trail.call("tool", {}, outcome, detail, **more, **{"mcp_audit.decision": decision})
    _contents(trail)
    _callers(trail)
    _requests(trail)
    _others(trail)
    _lifecycle(trail)
    trail.close()
    return trail


def _text(**members: Any) -> str:
    return json.dumps({**members, "salt": "00" * 16}, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _contents(trail: Trail) -> None:
    for nanoseconds in (0, 999_999, 20_000_000, 100_000_000, 999_999_999):
        trail.now += nanoseconds - trail.now % 1_000_000_000
        trail.call("timed", duration_us=nanoseconds // 1000)
    trail.call("awkward", _AWKWARD)
    trail.call("answered", body=_text(arguments={"a": 1}, result={"content": [{"text": "x"}], "meta": None}))
    trail.call("answered", body=_text(arguments={}, result=[]))
    trail.call(
        "wrong", outcome="failure", body=_text(arguments={}, error={"code": -32602, "message": "no", "data": None})
    )
    trail.call("wrong", outcome="failure", body=_text(error={"type": "ValueError"}))
    trail.call("cut", body=_text(arguments={"$cut": 70000}, result={"$cut": 80000}))
    trail.call("listed", body=_text(arguments=[1, "two", None]))
    trail.call("texted", body=_text(arguments="just text", result=False))
    trail.call("nothing", body=_text(arguments=None))
    trail.call("salt only", body=_text())
    trail.call("digest only", body=None)


def _callers(trail: Trail) -> None:
    trail.call("t", user="batch", **{"audit.actor.type": "service"})
    trail.call("t", user="anonymous", **{"mcp_audit.actor.provenance": "none"})
    trail.call("", user="", **{"audit.actor.id": "ada", "client.address": "", "mcp_audit.request.id": ""})
    trail.call("t", **{"network.transport": "pipe", "gen_ai.agent.name": "Helper", "mcp_audit.duration_us": 500})
    trail.call("t", **{"audit.source.id": "host.example", "audit.target.id": "$1 \\1", "mcp_audit.resources": ["one"]})
    for actor, kind in (("anonymous", "user"), ("unknown", "user"), ("nightly", "service")):
        values = {"audit.actor.id": actor, "audit.actor.type": kind, "audit.outcome": "success", "audit.action": "READ"}
        trail.add("mcp_audit.request", {**values, "mcp_audit.resources": ["no target"]}, None, _IDS)


def _requests(trail: Trail) -> None:
    rows = [
        ("mcp_audit.resource_read", "READ", "resource", "resources/read", {"mcp.resource.uri": "file:///a"}),
        ("mcp_audit.prompt_get", "READ", "prompt", "prompts/get", {"gen_ai.prompt.name": "greet"}),
        ("mcp_audit.request", "UPDATE", "method", "tasks/cancel", {"mcp_audit.initiator": "client"}),
        ("mcp_audit.request", "EXECUTE", "method", "elicitation/create", {"mcp_audit.initiator": "server"}),
        ("mcp_audit.client_tool_call", "EXECUTE", "tool", "tools/call", {"gen_ai.tool.name": "search"}),
        ("mcp_audit.client_resource_read", "READ", "resource", "resources/read", {}),
        ("mcp_audit.client_prompt_get", "READ", "prompt", "prompts/get", {}),
        ("mcp_audit.client_request", "READ", "method", "tools/list", {}),
    ]
    for event, action, target, method, more in rows:
        role = {"mcp_audit.role": "client"} if event.startswith("mcp_audit.client_") else {}
        trail.add(
            event,
            {**_outcome(action, target, method, "success", "ok"), **more, **role},
            _text(arguments={"a": 1}),
            _IDS,
        )
    undelivered = _outcome("EXECUTE", "tool", "tools/call", "unknown", "ok") | {"error.type": "BrokenPipeError"}
    for name in ("mcp_audit.outcome.detail", "mcp_audit.decision", "mcp_audit.duration_us", "mcp_audit.level"):
        del undelivered[name]
    trail.add("mcp_audit.undelivered", undelivered, None, _IDS)


def _outcome(action: str, target: str, method: str, outcome: str, detail: str) -> dict[str, Any]:
    return {
        "audit.action": action,
        "audit.outcome": outcome,
        "audit.actor.id": "ada",
        "audit.actor.type": "user",
        "audit.target.id": "the target",
        "audit.target.type": target,
        "mcp.method.name": method,
        "mcp_audit.outcome.detail": detail,
        "mcp_audit.decision": "allowed",
        "mcp_audit.duration_us": 1500,
        "mcp_audit.actor.provenance": "declared",
        "mcp_audit.call.id": "call-1",
        "mcp_audit.request.id": "req-1",
        "mcp_audit.level": "request",
        "user.id": "ada",
    }


def _others(trail: Trail) -> None:
    refused = {
        **_outcome("EXECUTE", "endpoint", "unknown", "failure", "denied"),
        "audit.actor.id": "anonymous",
        "client.address": "203.0.113.9",
        "error.type": "401",
        "http.request.method": "POST",
        "http.response.status_code": 401,
        "mcp_audit.decision": "denied",
        "mcp_audit.decision.by": "http",
        "mcp_audit.decision.reason": "no token",
    }
    del refused["user.id"]
    trail.add("mcp_audit.access_denied", refused, None, _IDS)
    for source in ("2001:db8::/64", None):
        named = {} if source is None else {"audit.source.id": source, "audit.source.type": "ipv6"}
        trail.add("mcp_audit.summary", {**_SUMMARY, **named, "mcp_audit.summary.others": source is None}, None, None)
    gap = {"mcp_audit.gap.count": 3, "mcp_audit.gap.reason": "disk", "mcp_audit.gap.mode": "journaled"}
    between = {"mcp_audit.gap.from": "1705314598000000000", "mcp_audit.gap.to": "1705314599000000000"}
    trail.system("gap", {**gap, **between, "audit.outcome": "unknown"}, event="mcp_audit.gap")
    trail.system("beat", {"audit.action": "UPDATE"}, event="mcp_audit.heartbeat")
    trail.system("later", {"audit.action": "check it", "audit.outcome": "maybe"}, event="of.a.later.version")


_SUMMARY: dict[str, Any] = {
    "audit.action": "EXECUTE",
    "audit.outcome": "failure",
    "audit.actor.id": "anonymous",
    "audit.actor.type": "user",
    "http.response.status_code": 401,
    "mcp_audit.decision": "denied",
    "mcp_audit.decision.by": "http",
    "mcp_audit.decision.reason": "no token",
    "mcp_audit.summary.count": 90,
    "mcp_audit.summary.from": "1705314598000000000",
    "mcp_audit.summary.kind": "refusals",
    "mcp_audit.summary.to": "1705314599000000000",
}


def _lifecycle(trail: Trail) -> None:
    stream = {
        "mcp_audit.stream.id": "6f1d1c1e-0000-4000-8000-000000000002",
        "mcp_audit.stream.file": "x.jsonl",
        "mcp_audit.stream.count": 7,
        "mcp_audit.stream.head": "ab" * 32,
        "mcp_audit.stream.previous_id": "6f1d1c1e-0000-4000-8000-000000000003",
        "mcp_audit.stream.previous_hash": "cd" * 32,
        "mcp_audit.stream.reason": "killed",
        "mcp_audit.stream.torn_bytes": 12,
        "mcp_audit.stream.open_calls": 1,
    }
    for kind, action in (
        ("adopted", "UPDATE"),
        ("pruned", "DELETE"),
        ("reconfigured", "UPDATE"),
        ("instrumented", "START"),
        ("uninstrumented", "STOP"),
        ("stopped", "STOP"),
        ("made", "CREATE"),
    ):
        trail.system(kind, {"audit.action": action, "mcp_audit.lifecycle.kind": kind, **stream})
