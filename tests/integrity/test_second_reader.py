# SPDX-License-Identifier: Apache-2.0
"""A cold reader that has only the format agrees with ``verify`` on journals that were changed at random.

``MCP_AUDIT_TEST_SEED`` chooses the changes; ``MCP_AUDIT_TEST_JOURNALS`` how many (50).
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from falsifications import FALSIFICATIONS, Scene
from ledgers import Ledger, rechain
from second_reader import verdict
from trail_oracle import BOOT, Trail, attribute, rehashed, sample

from opentelemetry.instrumentation.mcp_audit.integrity.verify import verify_paths

SEED = int(os.environ.get("MCP_AUDIT_TEST_SEED", "4"))
JOURNALS = int(os.environ.get("MCP_AUDIT_TEST_JOURNALS", "50"))


def journal(directory: Path, rng: random.Random) -> None:
    """Streams of every fate: closed, adopted, pruned, still open, only prepared; some records changed before writing."""
    trails = [sample(rng.randint(1, 4), stream=f"6f1d1c1e-0000-4000-8000-00000000001{n}", seed=n) for n in range(3)]
    for number, boot in enumerate((BOOT, "other", BOOT, BOOT), 3):
        trail = Trail(stream=f"6f1d1c1e-0000-4000-8000-00000000001{number}", seed=number, boot=boot)
        for _ in range(rng.randint(0, 3) if number < 6 else 0):
            trail.call("search", {"q": 'ü\n"\\'})
        trails.append(trail)
    *known, prepared = trails
    ledger = Ledger()
    for trail in known:
        ledger.opened(trail)
    for trail in trails[:3]:
        ledger.closed(trail)
    ledger.pruned(trails[0])
    if rng.random() < 0.5:
        ledger.adopted(trails[4], rng.choice(["power", "killed", "sealed"]))
    cut = rng.choice(known).records
    if rng.random() < 0.2 and len(cut) > 1:
        cut.pop()
    if rng.random() < 0.3:
        record = rng.choice(rng.choice([*known, ledger]).records)
        item = rng.choice(record["attributes"])
        value = item["value"].get("stringValue")
        if value is not None and item["key"] != "mcp_audit.record.hash":
            item["value"]["stringValue"] = value + "x"
            if rng.random() < 0.5:
                record["attributes"] = rehashed(record)["attributes"]
    if rng.random() < 0.2:
        rechain(rng.choice([*known, ledger]), 1) if rng.random() < 0.5 else rechain(ledger)
    for trail in [*trails[1:], ledger]:
        trail.write(directory)
    assert attribute(prepared.records[0], "mcp_audit.stream.file")["stringValue"] == prepared.name


def flip(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def zeros(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    length = min(rng.choice([1, 40, 4096]), len(data) - at)
    return data[:at] + b"\0" * length + data[at + length :]


def lines(change: Callable[[list[bytes], random.Random], list[bytes]]) -> Callable[[bytes, random.Random], bytes]:
    return lambda data, rng: b"".join(change(data.splitlines(keepends=True), rng))


def drop(all_lines: list[bytes], rng: random.Random) -> list[bytes]:
    at = rng.randrange(len(all_lines))
    return all_lines[:at] + all_lines[at + 1 :]


def double(all_lines: list[bytes], rng: random.Random) -> list[bytes]:
    at = rng.randrange(len(all_lines))
    return all_lines[: at + 1] + all_lines[at:]


def swap(all_lines: list[bytes], rng: random.Random) -> list[bytes]:
    one, two = rng.randrange(len(all_lines)), rng.randrange(len(all_lines))
    made = list(all_lines)
    made[one], made[two] = made[two], made[one]
    return made


CONTENT: list[Callable[[bytes, random.Random], bytes]] = [
    flip,
    zeros,
    lambda data, rng: data[: rng.randrange(len(data))],
    lambda data, rng: data + rng.choice([b"\0" * 50, b"x\n", b'{"a":1}\n', b"{", b"\n", b"\0" * 9 + b"\n"]),
    lambda data, rng: b"",
    lines(drop),
    lines(double),
    lines(swap),
    lines(lambda all_lines, rng: all_lines[: rng.randrange(len(all_lines) + 1)]),
]


def mutate(directory: Path, rng: random.Random) -> str:
    paths = sorted(directory.glob("*.jsonl"))
    path = rng.choice([*paths, directory / "ledger.jsonl"])
    kind = rng.randrange(12)
    if not path.exists() or not path.stat().st_size:
        return "nothing"
    if kind == 0:
        path.unlink()
        return f"deleted {path.name}"
    if kind == 1 and path.name != "ledger.jsonl":
        path.rename(directory / f"20251124T160000Z-1-{rng.randrange(10)}.jsonl")
        return f"renamed {path.name}"
    if kind == 2:
        brought = sample(rng.randint(0, 2), stream=f"00000000-0000-4000-8000-00000000000{rng.randrange(9)}", seed=77)
        brought.write(directory, brought.lines()[: rng.choice([1, 1, 2, 99])])
        return "brought in a segment"
    at = rng.randrange(len(CONTENT))
    path.write_bytes(CONTENT[at](path.read_bytes(), rng))
    return f"content {at} of {path.name}"


@pytest.mark.parametrize("number", range(JOURNALS))
def test_both_agree(tmp_path: Path, number: int) -> None:
    rng = random.Random(f"{SEED}-{number}")
    journal(tmp_path, rng)
    done = [mutate(tmp_path, rng) for _ in range(rng.choice([0, 1, 1, 1, 2]))]
    boot = rng.choice([BOOT, "other", "third"])
    report = verify_paths([tmp_path], boot_id=boot)
    told = [(found.kind, os.path.basename(found.file), found.line, found.sentence) for found in report.all_findings()]
    assert verdict(str(tmp_path), boot) == report.verdict, (SEED, done, boot, told)


@pytest.mark.parametrize("row", FALSIFICATIONS, ids=lambda row: row.name)
def test_both_agree_on_the_falsifications(tmp_path: Path, row: object) -> None:
    scene = Scene()
    row.do(scene)  # type: ignore[attr-defined]
    scene.write(tmp_path)
    assert verdict(str(tmp_path), BOOT) == verify_paths([tmp_path], boot_id=BOOT).verdict


def test_the_changes_are_of_every_kind(tmp_path: Path) -> None:
    """Otherwise agreement would mean little."""
    found: Counter[str] = Counter()
    for number in range(60):
        rng = random.Random(f"kinds-{number}")
        place = tmp_path / str(number)
        place.mkdir()
        journal(place, rng)
        for _ in range(rng.choice([0, 1, 1])):
            mutate(place, rng)
        found[verify_paths([place], boot_id=BOOT).verdict] += 1
    assert found["valid"] >= 5 and found["violated"] >= 20
