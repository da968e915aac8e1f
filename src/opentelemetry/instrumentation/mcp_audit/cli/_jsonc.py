# SPDX-License-Identifier: Apache-2.0
"""Where things stand in a JSON text, so that it can be changed in place: values with the offsets of their first and
last character. Reads what editors write: comments (``//``, ``/* */``) and commas before a closing bracket too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

Kind = Literal["object", "array", "string", "other"]

# Configurations nest four deep; a text that nests a thousand deep would end the parser instead of being one.
_DEPTH: Final = 100
_BLANK: Final = re.compile(r"(?:[ \t\r\n]+|//[^\r\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING: Final = re.compile(r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"')
_OTHER: Final = re.compile(r"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


class JsoncError(ValueError):
    """The text is no JSON; the message says where and what was expected."""


@dataclass(slots=True)
class Value:
    """One value of the text: ``text[start:end]`` is it. ``string`` is set for strings, ``items`` and ``members`` for
    arrays and objects, in order; keys may come twice."""

    kind: Kind
    start: int
    end: int
    string: str = ""
    items: list[Value] = field(default_factory=list)
    members: list[tuple[str, Value]] = field(default_factory=list)

    def all(self, key: str) -> list[Value]:
        """The values of every member with this key."""
        return [value for name, value in self.members if name == key]


def parse(text: str) -> Value:
    """The one value of ``text``. Raises :class:`JsoncError`."""
    reader = _Reader(text)
    at = reader.blank(1 if text.startswith("\ufeff") else 0)
    value = reader.value(at, _DEPTH)
    if reader.blank(value.end) != len(text):
        raise reader.error(reader.blank(value.end), "the end of the text")
    return value


def replace(text: str, edits: Sequence[tuple[int, int, str]]) -> str:
    """``text`` with each ``text[start:end]`` put in the place of another text; edits must not overlap."""
    for start, end, new in sorted(edits, key=lambda edit: edit[0], reverse=True):
        text = text[:start] + new + text[end:]
    return text


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text

    def error(self, at: int, expected: str) -> JsoncError:
        line, column = self._text.count("\n", 0, at) + 1, at - self._text.rfind("\n", 0, at)
        return JsoncError(f"line {line}, column {column}: expected {expected}")

    def blank(self, at: int) -> int:
        """The offset of what comes after white space and comments."""
        found = _BLANK.match(self._text, at)
        return found.end() if found is not None else at

    def value(self, at: int, depth: int) -> Value:
        if depth == 0:
            raise self.error(at, f"at most {_DEPTH} levels")
        opening = self._text[at : at + 1]
        if opening == "{":
            return self._object(at, depth)
        if opening == "[":
            return self._array(at, depth)
        if opening == '"':
            return self._string(at, "a string")
        found = _OTHER.match(self._text, at)
        if found is None:
            raise self.error(at, "a value")
        return Value("other", at, found.end())

    def _string(self, at: int, expected: str) -> Value:
        found = _STRING.match(self._text, at)
        if found is None:
            raise self.error(at, expected)
        return Value("string", at, found.end(), string=json.loads(found.group()))

    def _object(self, start: int, depth: int) -> Value:
        made = Value("object", start, start)
        at = self.blank(start + 1)
        while self._text[at : at + 1] != "}":
            key = self._string(at, 'a name in quotes or "}"')
            at = self.blank(key.end)
            if self._text[at : at + 1] != ":":
                raise self.error(at, '":"')
            value = self.value(self.blank(at + 1), depth - 1)
            made.members.append((key.string, value))
            at = self._after(value.end, "}")
        made.end = at + 1
        return made

    def _array(self, start: int, depth: int) -> Value:
        made = Value("array", start, start)
        at = self.blank(start + 1)
        while self._text[at : at + 1] != "]":
            made.items.append(self.value(at, depth - 1))
            at = self._after(made.items[-1].end, "]")
        made.end = at + 1
        return made

    def _after(self, at: int, closing: str) -> int:
        at = self.blank(at)
        if self._text[at : at + 1] == ",":
            return self.blank(at + 1)
        if self._text[at : at + 1] != closing:
            raise self.error(at, f'"," or "{closing}"')
        return at
