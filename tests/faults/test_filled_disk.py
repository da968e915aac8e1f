# SPDX-License-Identifier: Apache-2.0
"""A real server's disk, filled and freed under load: calls run on, and what could not be recorded is counted exactly.

MCP_AUDIT_TEST_SEED chooses when, and how much is freed.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from journal_files import calls, records
from killing import Tally, run
from launching import free_ports, http_command
from small_disk import small_disk
from stdio import StdioServer
from under_load import SERVER, OverHttp, number_of, params

SEED = int(os.environ.get("MCP_AUDIT_TEST_SEED", "20261124"))
ROUNDS = 3
PADDING = 3000
SETTINGS = {"OTEL_MCP_AUDIT_SEGMENT_BYTES": str(128 * 1024)}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "size=6m") as place:
        yield place


def fill_and_free(disk: Path, chance: random.Random, more: Callable[[int], None]) -> None:
    """Fill the disk while ``more`` calls are answered, free a part of it, all of it, and go on, several times."""
    for _ in range(ROUNDS):
        more(chance.randrange(20, 60))
        filler = take_all_room(disk)
        more(chance.randrange(40, 80))
        # A few pages, which the next calls take again, while the journal says that it can be written.
        os.truncate(filler, filler.stat().st_size - chance.randrange(1, 8) * 4096)
        more(chance.randrange(20, 60))
        filler.unlink()
        more(chance.randrange(20, 60))


def take_all_room(disk: Path) -> Path:
    """As fast as a log that nobody rotates, to the last page."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file, pytest.raises(OSError) as caught:
        while True:
            file.write(bytes(4096))
    assert caught.value.errno == errno.ENOSPC
    return filler


def judge(journal: Path, answered: set[int], stderr: str) -> None:
    found = records(journal)
    numbers = Counter(number_of(record) for record in found if record["event"] == "mcp_audit.tool_call")
    gaps = [record["mcp_audit.gap.count"] for record in found if record["event"] == "mcp_audit.gap"]
    lost = answered - set(numbers)
    print(f"{len(answered)} answered, {len(numbers)} recorded, {len(gaps)} gaps of {sum(gaps)}, seed {SEED}")
    assert set(numbers) <= answered and set(numbers.values()) == {1}
    assert sum(gaps) == len(lost) > 0
    assert {record["mcp_audit.outcome.detail"] for record in found if record["event"] == "mcp_audit.tool_call"} == {
        "ok"
    }
    # Each file is filled and freed at least ROUNDS times: the loss is said, and its end.
    assert stderr.count("AUDIT RECORDS ARE BEING LOST") >= ROUNDS
    assert stderr.count("can be written again") == stderr.count("AUDIT RECORDS ARE BEING LOST")
    for command in ("verify", "adopt", "verify"):
        # A server that ends itself with the signal that it was sent leaves its last segment to the next one.
        tally = Tally("filled disk")
        run(command, journal, tally)
        assert tally.problems == []
    assert not list(journal.glob("*.calls"))
    assert calls(journal) == [record for record in found if record["event"] == "mcp_audit.tool_call"]


@pytest.mark.timeout(120)
def test_a_server_over_stdio(disk: Path, tmp_path: Path) -> None:
    chance, numbers, journal = random.Random(SEED), itertools.count(1), disk / "journal"
    sent: set[int] = set()
    with StdioServer(journal, {**SETTINGS, "MCP_AUDIT_TEST_BEGAN": str(tmp_path / "began")}, SERVER) as server:

        def more(count: int) -> None:
            for _ in range(count):
                sent.add(number := next(numbers))
                server.send(
                    number, "tools/call", params("work", number, chance.randrange(30), chance.randrange(PADDING))
                )
            # The other half is in flight while the disk fills or is freed.
            server.wait_for_count(1 + len(sent) - count // 2)

        fill_and_free(disk, chance, more)
        server.wait_for_count(1 + len(sent))
    assert all(server.answers[number]["result"]["isError"] is False for number in sent)
    assert server.strangers == []
    judge(journal, sent, server.stderr.decode())


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("form", "processes"), [("uvicorn", 1), ("uvicorn workers", 2)])
def test_a_server_over_http(disk: Path, tmp_path: Path, form: str, processes: int) -> None:
    chance, journal = random.Random(f"{SEED} {form}"), disk / "journal"
    ports = free_ports(1)
    env = {**SETTINGS, "OTEL_MCP_AUDIT_DIR": str(journal)}
    began, command = tmp_path / "began", http_command(form, ports)
    server = OverHttp(command, ports, itertools.count(1), chance, began, env, padding=PADDING)

    def more(count: int) -> None:
        server.wait_for_count(len(server.answered) + count)

    try:
        # What a worker says of its own start would be lost on a full disk as well, and counted.
        while len(set(server.answered.values())) < processes:
            more(1)
        fill_and_free(disk, chance, more)
        server.end()
    finally:
        server.kill()
    judge(journal, set(server.answered), server.stderr())
