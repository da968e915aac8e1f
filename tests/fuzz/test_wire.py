# SPDX-License-Identifier: Apache-2.0
"""Whatever arrives on the wire: the audited server answers as the bare one, and each request understood has one record.

The same inputs go to two servers, one of them audited with every method recorded. ``MCP_AUDIT_FUZZ`` is their number
for all wires together (default 1,500), ``MCP_AUDIT_SEED`` what they are made from. ``make fuzz`` runs 100,000.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import stack
from inputs import inputs
from wires import Http, Stdio, Wire, resident

COUNT = int(os.environ.get("MCP_AUDIT_FUZZ") or 1_500)
SEED = int(os.environ.get("MCP_AUDIT_SEED") or 20261124)
BATCH = 100
MIB = 1024 * 1024
# What the audited server may grow beyond what the bare one grows from the first tenth of the inputs to the last.
GROWTH = 48 * MIB
# Each wire with its share of the inputs; HTTP is slower.
WIRES = {"stdio": 0.7, "http-stateful": 0.1, "http-stateless": 0.1, "http-modern": 0.1}
if not stack.V2:
    WIRES = {"stdio": 0.8, "http-stateful": 0.1, "http-stateless": 0.1}
pytestmark = pytest.mark.timeout(max(110, COUNT // 10))


def connect(wire: str, kind: str, directory: Path) -> Wire:
    directory.mkdir(exist_ok=True)
    if wire == "stdio":
        return Stdio(kind, directory)
    modern = wire == "http-modern"
    return Http(kind, directory, "http-stateless" if modern else wire, modern=modern)


@contextmanager
def pair(wire: str, tmp_path: Path) -> Iterator[list[Wire]]:
    """A bare and an audited server, killed at the end if something went wrong."""
    both = [connect(wire, kind, tmp_path / kind) for kind in ("bare", "audited")]
    try:
        yield both
    finally:
        for one in both:
            one.process.kill()


def batches(count: int) -> Iterator[list[bytes]]:
    made = inputs(SEED, count)
    while batch := list(islice(made, BATCH)):
        yield batch


@pytest.mark.parametrize("wire", WIRES)
def test_bare_and_audited_are_the_same_and_every_request_has_its_record(
    wire: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = max(150, int(COUNT * WIRES[wire]))
    answered: Counter[str] = Counter()
    early: list[int] = []
    late: list[int] = []
    done = 0
    with pair(wire, tmp_path) as both, ThreadPoolExecutor(2) as pool:
        for batch in batches(count):
            bare, audited = pool.map(lambda one, chunks=batch: sorted(one.exchange(chunks)), both)
            assert audited == bare, difference(bare, audited, batch)
            answered.update(understood(audited))
            done += len(batch)
            if not early and done >= count // 10:
                early = [resident(one.process) for one in both]
        late = [resident(one.process) for one in both]
        codes = [one.close() for one in both]
    assert codes[0] == codes[1]
    recorded, lines = records(tmp_path / "audited")
    # What was sent while the server was started, and not compared.
    recorded -= Counter({"marker-1": wire == "stdio", "0": wire != "http-modern"})
    missing, surplus = answered - recorded, recorded - answered
    assert missing == Counter(), f"answered without a record: {list(missing.items())[:10]}"
    # What was made and could not be delivered has its record too; nothing has two.
    twice = {number: times for number, times in surplus.items() if answered[number] and number not in ODD}
    assert twice == {}, f"more records than answers: {list(twice.items())[:10]}"
    grown = [after - before for before, after in zip(early, late, strict=True)]
    assert grown[1] <= max(grown[0], 0) + GROWTH, f"bytes grown, bare and audited: {grown}"
    verify(tmp_path / "audited")
    with capsys.disabled():
        print(
            f"\n{wire}: {done} inputs, {sum(answered.values())} requests answered, {sum(recorded.values())} records, "
            f"{sum(surplus.values())} of them without an answer, {lines} lines; resident MiB bare and audited: "
            f"{[size // MIB for size in early]} after a tenth, {[size // MIB for size in late]} at the end"
        )


# Ids that many inputs share, so that they tell nothing of one request; none at all is "".
ODD = {"", "True", "False", "None", "0", "1", "-1", "1.5", "2"}


def understood(answers: list[str]) -> Iterator[str]:
    """The ids of the requests that the server understood, by its answers: those that must have a record."""
    for answer in answers:
        found = parsed(answer)
        if found is None or not ({"result", "error"} & set(found)) or found.get("id") is None:
            continue
        if recorded_here(found):
            yield str(found["id"])


def recorded_here(answer: dict[str, Any]) -> bool:
    """Whether the request of this answer became one: over HTTP a refusal comes before that, and has its own record."""
    error = answer.get("error") or {}
    if stack.V2:
        # 2026-07-28 over HTTP: refused by its envelope or headers, before there is a request.
        return not (
            str(error.get("message")).startswith("params._meta ")
            or error.get("code") in (-32001, -32003, -32004, -32020)
        )
    # The id that mcp 1.x answers under to what is no message.
    return bool(answer["id"] != "server-error")


def parsed(answer: str) -> dict[str, Any] | None:
    """The JSON-RPC object in an answer: a line on stdio; status, and body or event, over HTTP."""
    start = answer.find("{")
    try:
        found = json.loads(answer[start:]) if start >= 0 else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def difference(bare: list[str], audited: list[str], batch: list[bytes]) -> str:
    only = [sorted((Counter(one) - Counter(other)).elements())[:3] for one, other in ((bare, audited), (audited, bare))]
    return f"only bare: {only[0]}, only audited: {only[1]}, of the inputs {batch[0][:80]!r}…"[:4_000]


def records(directory: Path) -> tuple[Counter[str], int]:
    """How many outcome records each request id has, and how many lines the journal has."""
    found: Counter[str] = Counter()
    lines = 0
    for path in sorted(directory.rglob("*.jsonl")):
        for line in path.open("rb"):
            lines += 1
            record = json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
            attributes = {item["key"]: item["value"] for item in record["attributes"]}
            if "mcp_audit.outcome.detail" in attributes:
                found[attributes.get("jsonrpc.request.id", {}).get("stringValue", "")] += 1
    return found, lines


def verify(directory: Path) -> None:
    command = [sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli", "verify", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
