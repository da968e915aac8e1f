# SPDX-License-Identifier: Apache-2.0
"""Rows in the text form of PostgreSQL's COPY, in one pass: by the driver, value by value, it takes three times as long.

https://www.postgresql.org/docs/current/sql-copy.html, "Text Format". Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Final

from .rows import Row
from .schema import COLUMNS

# JSON text has its line ends and tabs escaped already; the backslashes of that are all there is to escape in it.
_JSON: Final = ("params", "record", "line")
_SHORT: Final = tuple(name for name in COLUMNS if name not in _JSON)
# In the order of the cells below.
NAMES: Final = (*_SHORT, *_JSON)

_short_cells: Final = itemgetter(*_SHORT)
_json_cells: Final = itemgetter(*_JSON)
_TABS: Final = len(_SHORT) - 1
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"})
_NULL: Final = r"\N"
# Stands for it until the rest is escaped: no cell has a NUL, which PostgreSQL does not take.
_NO_CELL: Final = "\0"


def copy_text(rows: Sequence[Row]) -> bytes:
    """One line a row, its cells those of :data:`NAMES`."""
    return "".join(map(_line, rows)).encode()


def _line(row: Row) -> str:
    cells = [_NO_CELL if cell is None else cell if type(cell) is str else str(cell) for cell in _short_cells(row)]
    short = "\t".join(cells)
    if "\\" in short or "\n" in short or "\r" in short or short.count("\t") != _TABS:
        short = "\t".join(cell.translate(_ESCAPES) for cell in cells)
    params, record, line = _json_cells(row)
    params = _NULL if params is None else params.replace("\\", r"\\")
    record, line = record.replace("\\", r"\\"), line.replace("\\", r"\\")
    return f"{short.replace(_NO_CELL, _NULL)}\t{params}\t{record}\t{line}\n"
