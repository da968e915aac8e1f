# SPDX-License-Identifier: Apache-2.0
"""A restatement, in Python, of the few parts of Splunk's language that the add-on uses. It is not Splunk.

It reads what the add-on's files say (conf files, macros, searches, ``eval``) as Splunk's documentation describes it, so
that their logic can be run on events. What Splunk itself makes of them, its documentation and not this file decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Conf = dict[str, dict[str, str]]
_TOKEN = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'[^']*'|\d+(?:\.\d+)?|[A-Za-z_]\w*|==|!=|<=|>=|[-+*/<>=(),])""")


def conf(path: Path) -> Conf:
    """The stanzas of a conf file; a ValueError for a line that is none, a setting twice, or a stanza twice."""
    found: Conf = {}
    current: dict[str, str] | None = None
    text = path.read_text().replace("\\\n", "\n\0")
    for line in re.split(r"\n(?!\0)", text):
        line = line.replace("\n\0", "\n")
        if not line.strip() or line.startswith("#"):
            continue
        if stanza := re.fullmatch(r"\[(.*)\]", line):
            if stanza[1] in found:
                raise ValueError(f"{path.name}: [{stanza[1]}] twice")
            current = found[stanza[1]] = {}
            continue
        key, equals, value = line.partition(" = ")
        if not equals or current is None or key != key.strip() or key in current:
            raise ValueError(f"{path.name}: {line!r}")
        current[key] = value.strip()
    return found


def expand(search: str, macros: Mapping[str, str]) -> str:
    """The search with its macros put in. A KeyError for one that is not defined."""
    while found := re.search(r"`([^`]*)`", search):
        search = search[: found.start()] + macros[found[1]] + search[found.end() :]
    return search


def commands(search: str) -> list[tuple[str, str]]:
    """Each command's name and the rest of it. A search that begins without a pipe begins with ``search``."""
    parts = [part.strip() for part in re.findall(r'(?:"(?:[^"\\]|\\.)*"|[^|"])+', search.replace("|s$", "$"))]
    first = [] if search.lstrip().startswith("|") else [("search", parts.pop(0))]
    split = [part.split(None, 1) for part in parts if part]
    return first + [(words[0], words[1] if len(words) > 1 else "") for words in split]


class Expression:
    """An ``eval`` expression. ``fields``: the names that it reads."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        at, text = 0, text.strip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise ValueError(f"cannot be read: {text[at:]!r}")
            self._tokens.append(found[1])
            at = found.end()
        self._at = 0
        self.fields: set[str] = set()
        self._run = self._either()
        if self._at != len(self._tokens):
            raise ValueError(f"more than an expression: {text!r}")

    def __call__(self, row: Mapping[str, Any]) -> Any:
        return self._run(row)

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self, wanted: str = "") -> str:
        token = self._peek()
        if not token or (wanted and token != wanted):
            raise ValueError(f"{wanted or 'a value'} is missing at {self._tokens[self._at :]}")
        self._at += 1
        return token

    def _chain(self, below: Callable[[], Any], *operators: str) -> Any:
        left = below()
        while self._peek() in operators:
            operator, before, right = self._take(), left, below()
            left = lambda row, o=operator, a=before, b=right: _apply(o, a(row), b(row))  # noqa: E731
        return left

    def _either(self) -> Any:
        return self._chain(self._both, "OR")

    def _both(self) -> Any:
        return self._chain(self._compared, "AND")

    def _compared(self) -> Any:
        return self._chain(self._sum, "==", "=", "!=", "<", ">", "<=", ">=")

    def _sum(self) -> Any:
        return self._chain(self._product, "+", "-")

    def _product(self) -> Any:
        return self._chain(self._one, "*", "/")

    def _one(self) -> Any:
        token = self._take()
        if token == "(":
            inner = self._either()
            self._take(")")
            return inner
        if token[0] == '"':
            return lambda row: token[1:-1]
        if token[0].isdigit():
            return lambda row: float(token)
        if self._peek() == "(":
            return self._call(token)
        name = token.strip("'")
        self.fields.add(name)
        return lambda row: row.get(name)

    def _call(self, name: str) -> Any:
        self._take("(")
        arguments = []
        while self._peek() != ")":
            arguments.append(self._either())
            if self._peek() == ",":
                self._take()
        self._take(")")
        function = _FUNCTIONS[name]
        return lambda row: function(row, *arguments)


def _apply(operator: str, left: Any, right: Any) -> Any:
    if operator in ("AND", "OR"):
        return bool(left and right) if operator == "AND" else bool(left or right)
    if left is None or right is None:
        return None
    if operator in "+-*/":
        a, b = float(left), float(right)
        return {"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else None}[operator]
    if isinstance(left, str) != isinstance(right, str):
        left, right = str(left), str(right)
    return {
        "==": left == right,
        "=": left == right,
        "!=": left != right,
        "<": left < right,
        ">": left > right,
        "<=": left <= right,
        ">=": left >= right,
    }[operator]


def _case(row: Row, *pairs: Any) -> Any:
    return next((then(row) for when, then in zip(pairs[::2], pairs[1::2], strict=True) if when(row)), None)


def _relative(row: Row, now: Any, how: Any) -> float:
    found = re.fullmatch(r"-(\d+)([md])", how(row))
    assert found is not None
    return float(now(row)) - {"m": 60, "d": 86400}[found[2]] * int(found[1])


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "coalesce": lambda row, *of: next((value for one in of if (value := one(row)) is not None), None),
    "if": lambda row, when, then, other: then(row) if when(row) else other(row),
    "case": _case,
    "null": lambda row: None,
    "true": lambda row: True,
    "isnull": lambda row, of: of(row) is None,
    "isnotnull": lambda row, of: of(row) is not None,
    "tonumber": lambda row, of: float(of(row)),
    "mvjoin": lambda row, of, by: None if of(row) is None else by(row).join(of(row)),
    "now": lambda row: row["now()"],
    "relative_time": _relative,
    "strftime": lambda row, of, how: str(of(row)),
}


def run(search: str, events: list[Row], now: float) -> list[Row]:
    """What a search that begins with ``tstats`` finds in these indexed events. Other commands than it uses: a KeyError."""
    rows = events
    for name, rest in commands(search):
        rows = _COMMANDS[name](rows, rest, now)
    return rows


def assignments(text: str) -> list[tuple[str, Expression]]:
    """``a=…, b=…`` of an ``eval``."""
    parts = re.split(r",\s*(?=\w+=[^=])", text)
    return [(part.partition("=")[0].strip(), Expression(part.partition("=")[2])) for part in parts]


def aggregates(text: str) -> list[tuple[str, str, str]]:
    """Function, field and new name of each ``f(x) as y`` or ``count as y``."""
    found = re.findall(r"(\w+)(?:\(([\w.]+)\))?\s+as\s+(\w+)", text)
    return [(function, field, name) for function, field, name in found]


def _tstats(rows: list[Row], rest: str, now: float) -> list[Row]:
    head, condition, by = re.split(r"\swhere\s|\sby\s", rest)
    wanted = {key: value.strip('"') for key, value in (term.split("=", 1) for term in condition.split())}
    keys = by.split()
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if all(row.get(key) == value for key, value in wanted.items()) and all(key in row for key in keys):
            groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    made = []
    for key, group in groups.items():
        new = dict(zip(keys, key, strict=True))
        for function, field, name in aggregates(head):
            values = [row[field] for row in group] if field else []
            new[name] = {"count": lambda of: len(group), "min": min, "max": max}[function](values)  # noqa: B023
        made.append(new)
    return made


def _eval(rows: list[Row], rest: str, now: float) -> list[Row]:
    for name, expression in assignments(rest):
        rows = [{**row, name: expression({**row, "now()": now})} for row in rows]
    return rows


def _where(rows: list[Row], rest: str, now: float) -> list[Row]:
    expression = Expression(rest)
    return [row for row in rows if expression({**row, "now()": now})]


def _sort(rows: list[Row], rest: str, now: float) -> list[Row]:
    limit, *keys = rest.split()
    assert limit == "0"
    return sorted(rows, key=lambda row: [row[key] for key in keys])


def _streamstats(rows: list[Row], rest: str, now: float) -> list[Row]:
    options, by = rest.split(" by ")
    assert options.startswith("current=f window=1 global=f ")
    before: dict[Any, Row] = {}
    made = []
    for row in rows:
        last = before.get(row[by], {})
        made.append({**row, **{name: last.get(field) for _, field, name in aggregates(options)}})
        before[row[by]] = row
    return made


_COMMANDS: dict[str, Callable[[list[Row], str, float], list[Row]]] = {
    "tstats": _tstats,
    "eval": _eval,
    "where": _where,
    "sort": _sort,
    "streamstats": _streamstats,
    "table": lambda rows, rest, now: [{name: row.get(name) for name in rest.split()} for row in rows],
}
