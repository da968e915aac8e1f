# SPDX-License-Identifier: Apache-2.0
"""``otel-mcp-audit reconcile``: which records are in one place and not in another."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final, TextIO

import click

from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord
from opentelemetry.instrumentation.mcp_audit.journal.reader import in_time_order
from opentelemetry.instrumentation.mcp_audit.render.text import visible

from ._output import found, readable, with_ledgers
from ._stores import is_store, opened

EPILOG = """\b
Examples:
  otel-mcp-audit reconcile ~/.local/state/otel-mcp-audit/server /var/lib/otelcol/audit
  otel-mcp-audit reconcile journal:/var/log/mcp-audit/server postgresql://audit@db/audit
  otel-mcp-audit reconcile /var/lib/otelcol/audit sqlite:////srv/audit.db --ids missing.txt

\b
Exit codes: 0 B has all that A has; 1 B lacks records; 2 a place could not be read, or wrong usage."""

_SHOWN: Final = 20
_AT_ONCE: Final = 10_000


@click.command(epilog=EPILOG)
@click.argument("a")
@click.argument("b")
@click.option(
    "--ids", type=click.File("w", encoding="ascii", lazy=False), help="Write the ids that B lacks here, one a line."
)
@click.option("--json", "machine", is_flag=True, help="One JSON object.")
def command(a: str, b: str, ids: TextIO | None, machine: bool) -> None:
    """Say which records of A are not in B, by record id.

    A place is a journal directory (also as journal:DIR), a file or directory that a Collector wrote, or a database that
    `sink` or a Collector wrote (postgresql://…, clickhouse://…, …). What B has and A has not is counted too: of a journal that was pruned, or another server's records.
    """
    with Comparison() as comparison:
        counts = [comparison.add(side, _ids(place)) for side, place in enumerate((a, b))]
        missing, more = comparison.count(0), comparison.count(1)
        if ids is not None:
            for record_id in comparison.only(0):
                ids.write(f"{record_id}\n")
        shown = list(islice(comparison.only(0), _SHOWN))
    if machine:
        click.echo(
            json.dumps(
                {
                    "a": {"place": _named(a), "records": counts[0], "only": missing},
                    "b": {"place": _named(b), "records": counts[1], "only": more},
                    "missing_in_b": shown,
                }
            )
        )
    else:
        _print(a, b, counts, missing, more, shown)
    raise click.exceptions.Exit(1 if missing else 0)


class Comparison:
    """Record ids of two places, in a temporary database that spills to the disk and goes away with its connection."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")
        self._database.execute("CREATE TABLE held (id TEXT, side INTEGER, PRIMARY KEY (id, side)) WITHOUT ROWID")

    def __enter__(self) -> Comparison:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def add(self, side: int, ids: Iterator[str]) -> int:
        """Take the ids of a place; how many different ones there are."""
        while batch := [(record_id, side) for record_id in islice(ids, _AT_ONCE)]:
            self._database.executemany("INSERT OR IGNORE INTO held VALUES (?, ?)", batch)
        (count,) = self._database.execute("SELECT count(*) FROM held WHERE side = ?", (side,)).fetchone()
        return int(count)

    def only(self, side: int) -> Iterator[str]:
        """The ids that this place has and the other has not, in order."""
        rows = self._database.execute(
            "SELECT id FROM held AS one WHERE side = ? "
            "AND NOT EXISTS (SELECT 1 FROM held WHERE id = one.id AND side = 1 - one.side) ORDER BY id",
            (side,),
        )
        return (str(record_id) for (record_id,) in rows)

    def count(self, side: int) -> int:
        """How many there are of these."""
        return sum(1 for _ in self.only(side))


def _ids(place: str) -> Iterator[str]:
    if is_store(place):
        with opened(place) as store:
            yield from store.record_ids()
        return
    journal = found(with_ledgers([place.removeprefix("journal:")]))
    for record in readable(in_time_order(journal.files), missed=bool(journal.problems)):
        # Ids are compared as databases keep them: a UUID has one spelling there.
        record_id = _id(record)
        if record_id is not None:
            yield record_id


def _id(record: StoredRecord) -> str | None:
    return None if record.record_id is None else record.record_id.lower()


def _print(a: str, b: str, counts: Sequence[int], missing: int, more: int, shown: Sequence[str]) -> None:
    click.echo(f"{counts[0]} records in A {visible(_named(a))}")
    click.echo(f"{counts[1]} records in B {visible(_named(b))}")
    for record_id in shown:
        click.echo(f"  only in A: {visible(record_id)}")
    if missing > len(shown):
        click.echo(f"  … and {missing - len(shown)} more (--ids FILE writes all)")
    if more:
        click.echo(f"{more} records are only in B")
    click.echo(f"{missing} records of A are not in B" if missing else "B has every record of A")


def _named(place: str) -> str:
    """A place without the password that its URL may hold."""
    scheme, separator, rest = place.partition("://")
    if not separator or "@" not in rest:
        return place
    user, _, host = rest.rpartition("@")
    return f"{scheme}://{user.partition(':')[0]}@{host}"
