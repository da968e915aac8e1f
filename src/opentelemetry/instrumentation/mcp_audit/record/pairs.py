# SPDX-License-Identifier: Apache-2.0
"""Values of ``name = value`` pairs inside a text, where the name is sensitive: error texts, URLs, JSON in a string."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from .detectors import Span

_NAME_CHARS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."
_NAME_MAX: Final = 64
_TAIL: Final = re.compile(r"[\w\-]{0,64}(?: (?:number|code|string|value))?")
_SEPARATOR: Final = re.compile(
    r"""\\{0,8}["'`]?[ \t]{0,8}(?:(?:=>|[=:])|%3[AaDd])=?(?:\s{0,8}(?=["'`{[\\])|[ \t]{0,8})"""
)
# What may stand before a separator when the text is JSON text, where a tab is written \t and a quote \".
_MAYBE_SEPARATOR: Final = re.compile(r"""(?:[\\"'`\s]|(?<=\\)[tnr]){0,32}(?:[=:>]|%3)""")
_FLAG: Final = re.compile(r"[ \t]+(?=[^\s-])")
_QUOTE: Final = re.compile(r"""(\\{0,8})(["'`])""")
_BARE: Final = re.compile(r"""(?:(?!%26)[^\s"'`&,;)}\]<>|\\]|\\(?![nrt"'`\\]))+""")
_LINE: Final = re.compile(r"""(?:[^\r\n"'`\\<>]|\\(?![nr"'`\\]))+""")
_IN_BRACKETS: Final = re.compile(
    r"""[\[\]{}]|"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|'[^'\\]*(?:\\.[^'\\]*)*(?:'|\\?\Z)""", re.S
)
# Headers and connection strings hold spaces and semicolons: all of the line is the value.
_WHOLE_LINE: Final = ("cookie", "authorization", "connection")
# What is written behind a name without being a secret: nothing, or the type of a parameter in code.
NO_SECRETS: Final = frozenset(
    "null none nil true false undefined str string int integer number bool boolean bytes any object optional "
    "required".split()
)


def separates(text: str) -> bool:
    """Whether a JSON text may have in one of its strings what stands between a name and a value.

    The colon behind the name of a member follows a quote; in a string such a quote is escaped.
    """
    return (
        "=" in text
        or "\\" in text
        or "<" in text
        or text.count(":") != text.count('":')
        or "--" in text
        or "%3" in text
    )


class PairFinder:
    """Finds the values of ``name = value`` pairs in a text whose name is sensitive.

    Covers ``password=x``, ``?token=x&``, ``"api_key": "x"`` in JSON inside a string (also escaped more than once),
    ``Cookie: x``, ``--secret x``, ``<pin>x</pin>``. ``names`` are words separated by a space, ``sensitive`` judges a whole
    name, ``marker`` is the form of what was redacted before.
    """

    def __init__(self, names: tuple[str, ...], sensitive: Callable[[str], bool], marker: re.Pattern[str]) -> None:
        spelled = [r"[ _.\-]?".join(map(re.escape, name.split())) for name in sorted(names, key=len, reverse=True)]
        self._start = re.compile("|".join(spelled) or r"(?!)")
        self._needles = _needles(names)
        self._sensitive = sensitive
        self._marker = marker

    @property
    def needles(self) -> tuple[str, ...]:
        """Of which one is in the lower case of every text that :meth:`find` finds something in."""
        return self._needles

    def possible(self, low: str) -> bool:
        """Whether a name may stand in the text; ``low`` is its lower case."""
        for needle in self._needles:
            if needle in low:
                return True
        return False

    def suspects(self, text: str, low: str) -> bool:
        """Whether :meth:`find` could find something in the text, or in a string of which it is the JSON text.

        The caller has judged the names of members themselves, so that ``"max_tokens":5`` does not count.
        """
        if not self.possible(low):
            return False
        for head, _, end in self._names(text, low):
            if text[head : head + 1] == "-" or _MAYBE_SEPARATOR.match(text, end):
                return True
        return False

    def _names(self, text: str, low: str) -> Iterator[tuple[int, str, int]]:
        """Start, name and end of every sensitive name in the text."""
        if len(low) != len(text):
            low = "".join([char.lower() if len(char.lower()) == 1 else char for char in text])
        position = 0
        while match := self._start.search(low, position):
            start = match.start()
            window = text[max(position, start - _NAME_MAX) : start]
            head = start - len(window) + len(window.rstrip(_NAME_CHARS))
            if head < start and head and text[head - 1] == "\\" and text[head] in "nrtbf":
                head += 1  # the letter of an escape, not of the name
            tail = _TAIL.match(text, match.end())
            end = tail.end() if tail else match.end()
            if self._sensitive(text[head:end]):
                yield head, text[head:end], end
            elif self._sensitive(text[head : match.end()]) and text[match.end() : end].startswith(" "):
                end = match.end()
                yield head, text[head:end], end
            position = end

    def find(self, text: str) -> Iterator[Span]:
        """Spans of the values, without the quotes around them."""
        done = 0
        for head, name, end in self._names(text, text.lower()):
            if head < done:
                continue  # inside the value of the one before
            start = self._value_start(text, head, name, end)
            if start is None or self._marker.match(text, start):
                continue
            span = self._value(text, start, name)
            value = text[span[0] : span[1]]
            if value and value.lower() not in NO_SECRETS and not self._marker.fullmatch(value):
                yield span
            done = span[1]

    @staticmethod
    def _value_start(text: str, head: int, name: str, end: int) -> int | None:
        if match := _SEPARATOR.match(text, end):
            return match.end()
        if text[end : end + 1] == ">" and text[head - 1 : head] == "<":
            return end + 1
        flag = _FLAG.match(text, end) if name.startswith("--") else None
        return flag.end() if flag else None

    @staticmethod
    def _value(text: str, start: int, name: str) -> Span:
        quote = _QUOTE.match(text, start)
        if quote:
            return quote.end(), _closing_quote(text, quote)
        if text[start : start + 1] in ("{", "["):
            return start, _closing_bracket(text, start)
        low = name.lower()
        pattern = _LINE if any(word in low for word in _WHOLE_LINE) else _BARE
        match = pattern.match(text, start)
        return start, match.end() if match else start


def _needles(names: tuple[str, ...]) -> tuple[str, ...]:
    """For every name one of its words, few and short: what no text without them can match."""
    words: list[str] = []
    for name in sorted(names, key=len):
        if not any(needle in word for needle in words for word in name.split()):
            words.append("key" if "key" in name.split() else max(name.split(), key=len))
    return tuple(words)


def _closing_quote(text: str, quote: re.Match[str]) -> int:
    """Where the quoted value ends: at the same quote, as often escaped; an open one reaches to the end of the text."""
    escape, sign = quote.group(1), quote.group(2)
    position = quote.end()
    while True:
        end = text.find(sign, position)
        if end < 0:
            return len(text)
        slashes = end - len(text[position:end].rstrip("\\")) - position
        # Not escaped at this level: as many backslashes as the opening one, or, at the outermost, an even number.
        if (slashes == len(escape)) if escape else slashes % 2 == 0:
            return end - slashes if escape else end
        position = end + 1


def _closing_bracket(text: str, start: int) -> int:
    """Where the bracket at ``start`` closes, strings skipped; one left open reaches to the end of the text."""
    depth = 0
    for match in _IN_BRACKETS.finditer(text, start):
        sign = match.group()
        if sign in ("{", "["):
            depth += 1
        elif sign in ("}", "]"):
            depth -= 1
            if depth == 0:
                return match.end()
    return len(text)
