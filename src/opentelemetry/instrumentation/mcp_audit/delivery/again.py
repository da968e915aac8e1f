# SPDX-License-Identifier: Apache-2.0
"""Records that stand somewhere (journal, archive, database) as batches to be sent once more. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from .otlp import Batch, Run, head_of

MAX_BYTES = 1024 * 1024
MAX_RECORDS = 1_000


def batches(
    lines: Iterable[tuple[str, bytes]], max_bytes: int = MAX_BYTES, max_records: int = MAX_RECORDS
) -> Iterator[Batch]:
    """``lines``: where each comes from (for messages), and the line, which holds one record, without its end.

    Lines that follow each other and have the same resource and scope become one run. A batch has at least one record.
    """
    runs: list[Run] = []
    size = count = 0
    for place, line in lines:
        plain = line if head_of(line) is not None else _plain(line)
        head = head_of(plain)
        assert head is not None  # a line of one record, written by json a moment ago
        if runs and (size + len(plain) > max_bytes or count >= max_records):
            yield runs
            runs, size, count = [], 0, 0
        if runs and runs[-1].head == head and runs[-1].file == place:
            last = runs[-1]
            runs[-1] = last._replace(data=last.data + plain + b"\n", records=last.records + 1)
        else:
            runs.append(Run(place, 0, plain + b"\n", head, 1))
        size, count = size + len(plain) + 1, count + 1
    if runs:
        yield runs


def _plain(line: bytes) -> bytes:
    """The line in the spelling that can be joined with others: a carrier may have written members in another order."""
    (group,) = json.loads(line)["resourceLogs"]
    (scoped,) = group["scopeLogs"]
    (record,) = scoped["logRecords"]
    scopes = [{"scope": scoped.get("scope", {}), "logRecords": [record]}]
    tree = {"resourceLogs": [{"resource": group.get("resource", {}), "scopeLogs": scopes}]}
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()
