# SPDX-License-Identifier: Apache-2.0
"""The journal's own records: each kind has exactly its attributes, and all come from the system itself."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from opentelemetry.instrumentation.mcp_audit.journal import events
from opentelemetry.instrumentation.mcp_audit.record.attributes import TABLE
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord

_COMMON = {"audit.actor.id": "system", "audit.actor.type": "system", "audit.schema.version": "1.0"}
_SEGMENT = {
    "mcp_audit.stream.id": "s",
    "mcp_audit.stream.file": "f",
    "mcp_audit.stream.count": 7,
    "mcp_audit.stream.head": "h",
}
_FIRST: dict[str, Any] = {
    "file": "f",
    "resource_hash": "r",
    "policy_hash": "p",
    "settings_hash": "s",
    "versions": ("python=3",),
    "process_start": "12",
}
_OPENED: dict[str, Any] = {
    "mcp_audit.lifecycle.kind": "opened",
    "mcp_audit.stream.file": "f",
    "mcp_audit.resource.hash": "r",
    "mcp_audit.policy.hash": "p",
    "mcp_audit.settings.hash": "s",
    "mcp_audit.versions": ["python=3"],
    "mcp_audit.process.pid": os.getpid(),
    "mcp_audit.process.start_time": "12",
}
_ADOPTED: dict[str, Any] = {
    **_SEGMENT,
    "mcp_audit.lifecycle.kind": "adopted",
    "mcp_audit.stream.reason": "killed",
    "mcp_audit.stream.torn_bytes": 0,
    "mcp_audit.stream.open_calls": 2,
}
_TURNED: dict[str, Any] = {
    "mcp_audit.policy.hash": "p",
    "mcp_audit.settings.hash": "s",
    "mcp_audit.process.pid": os.getpid(),
}


def _check(
    made: AuditRecord, action: str, expected: dict[str, Any], event: str = "lifecycle", outcome: str = "success"
) -> None:
    attributes = dict(made.attributes)
    assert len(str(attributes.pop("audit.record.id"))) == 36
    assert attributes == {**_COMMON, "audit.action": action, "audit.outcome": outcome, **expected}
    assert set(attributes) <= set(TABLE), "every attribute is in the table"
    assert made.event_name == f"mcp_audit.{event}"
    assert made.time == made.observed and abs(time.time_ns() - made.time) < 60 * 10**9
    assert (made.body, made.trace_id, made.span_id) == (None, "", "")


@pytest.mark.parametrize(
    ("previous", "more"),
    [
        (None, {}),
        (("before", None), {"mcp_audit.stream.previous_id": "before"}),
        (("before", "h"), {"mcp_audit.stream.previous_id": "before", "mcp_audit.stream.previous_hash": "h"}),
    ],
)
def test_opened(previous: tuple[str, str | None] | None, more: dict[str, str]) -> None:
    made = events.opened(**_FIRST, boot_id="b", previous=previous)
    _check(made, "START", {**_OPENED, "mcp_audit.boot.id": "b", **more})


def test_opened_where_the_system_knows_no_boot() -> None:
    _check(events.opened(**_FIRST, boot_id="", previous=None), "START", _OPENED)


def test_closed() -> None:
    _check(events.closed("f"), "STOP", {"mcp_audit.lifecycle.kind": "closed", "mcp_audit.stream.file": "f"})


@pytest.mark.parametrize(
    ("kind", "action"),
    [("instrumented", "START"), ("uninstrumented", "STOP"), ("reconfigured", "UPDATE"), ("stopped", "STOP")],
)
def test_turned(kind: events.Turn, action: str) -> None:
    _check(events.turned(kind, "p", "s"), action, {"mcp_audit.lifecycle.kind": kind, **_TURNED})


def test_the_ledgers_first_record() -> None:
    expected = {
        "mcp_audit.lifecycle.kind": "opened",
        "mcp_audit.stream.file": "ledger.jsonl",
        "mcp_audit.resource.hash": "r",
    }
    _check(events.ledger_begun("ledger.jsonl", "r"), "START", expected)


@pytest.mark.parametrize("boot", ["b", ""])
def test_ledger_opened(boot: str) -> None:
    known = {"mcp_audit.boot.id": boot} if boot else {}
    expected = {**_SEGMENT, "mcp_audit.lifecycle.kind": "opened", "mcp_audit.stream.count": 1, **known}
    _check(events.ledger_opened("s", "f", "h", boot), "START", expected)


def test_ledger_closed() -> None:
    _check(events.ledger_closed("s", "f", 7, "h"), "STOP", {**_SEGMENT, "mcp_audit.lifecycle.kind": "closed"})


@pytest.mark.parametrize("boot", ["b", ""])
def test_ledger_adopted(boot: str) -> None:
    made = events.ledger_adopted("s", "f", 7, "h", torn_bytes=0, reason="killed", open_calls=2, boot_id=boot)
    _check(made, "UPDATE", {**_ADOPTED, **({"mcp_audit.boot.id": boot} if boot else {})})


def test_ledger_pruned() -> None:
    expected = {**_SEGMENT, "mcp_audit.lifecycle.kind": "pruned", "mcp_audit.stream.reason": "because"}
    _check(events.ledger_pruned("s", "f", 7, "h", "because"), "DELETE", expected)


@pytest.mark.parametrize(
    ("reason", "kept"),
    [("full", "full"), ("x" * 2000, "x" * 1024), ("half \ud800", "half ?"), ("line\nbreak", "line\nbreak")],
)
def test_gap(reason: str, kept: str) -> None:
    expected = {
        "mcp_audit.gap.count": 3,
        "mcp_audit.gap.reason": kept,
        "mcp_audit.gap.mode": "journaled",
        "mcp_audit.gap.from": "10",
        "mcp_audit.gap.to": "20",
    }
    _check(events.gap(3, reason, 10, 20), "UPDATE", expected, event="gap", outcome="failure")


def test_every_record_has_an_id_of_its_own() -> None:
    assert len({str(events.closed("f").attributes["audit.record.id"]) for _ in range(100)}) == 100
