# SPDX-License-Identifier: Apache-2.0
"""Secrets that show by their shape, wherever in a text they stand.

A detector is a name (the rule that the manifest and ``[REDACTED:<rule>]`` show), needles (plain strings of which one
must be in a text, a search at C speed, before anything dearer runs) and a function that yields the spans to replace.
Every function is linear in the text: a pattern starts at a literal, and what it scanned is either taken or skipped.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Detector:
    """``find`` yields spans in order, without overlap.

    One of ``needles`` (in the text) or ``lower`` (in its lower case) must be there, and ``also`` too, for a find; or
    ``likely`` decides, where no needle exists.
    """

    rule: str
    find: Callable[[str], Iterator[Span]]
    needles: tuple[str, ...] = ()
    lower: tuple[str, ...] = ()
    also: str = ""
    likely: Callable[[str], bool] | None = None

    def possible(self, text: str, low: str) -> bool:
        """Whether ``find`` could find something; ``low`` is ``text.lower()``. Also true of any text that contains text."""
        if self.likely is not None:
            return self.likely(text)
        for needle in self.needles:
            if needle in text:
                return self.also in text
        for needle in self.lower:
            if needle in low:
                return True
        return False


def _pattern(pattern: str) -> Callable[[str], Iterator[Span]]:
    """Spans of group 1 if there is one, else of the match. Only for patterns that take all they scan, or a bounded part."""
    compiled = re.compile(pattern)
    group = 1 if compiled.groups else 0

    def find(text: str) -> Iterator[Span]:
        for match in compiled.finditer(text):
            yield match.span(group)

    return find


_JWT_PART: Final = re.compile(r"[A-Za-z0-9_-]*")


def find_jwt(text: str) -> Iterator[Span]:
    """``eyJ…`` (base64url of ``{"``), a dot and at least one more part; JWS, JWE and unsecured tokens (RFC 7515, 7516)."""
    start = text.find("eyJ")
    while start >= 0:
        end = _end_of_part(text, start)
        parts = 0
        while end - start >= 8 and parts < 4 and text.startswith(".", end):
            after = _end_of_part(text, end + 1)
            if parts == 0 and after - end < 5:
                break
            end, parts = after, parts + 1
        if parts:
            yield start, end
        # Without a dot behind this run no other start inside it can do better.
        start = text.find("eyJ", end)


def _end_of_part(text: str, start: int) -> int:
    match = _JWT_PART.match(text, start)
    return match.end() if match else start


_PEM: Final = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_PEM_END: Final = re.compile(r"-----END [A-Z0-9 ]{0,40}-----")


def find_private_key(text: str) -> Iterator[Span]:
    """A PEM block of a private key (RFC 7468), to its end line; one without an end reaches to the end of the text."""
    position = 0
    while match := _PEM.search(text, position):
        end = _PEM_END.search(text, match.end())
        position = end.end() if end else len(text)
        yield match.start(), position


_SK: Final = re.compile(r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{20,}")


def find_model_key(text: str) -> Iterator[Span]:
    """``sk-…`` as model providers give out; one digit at least, since words joined by hyphens look the same."""
    for match in _SK.finditer(text):
        if not match.group().isascii() or any(map(match.group().__contains__, "0123456789")):
            yield match.span()


# After the scheme the password ends at the last @ of the authority: people forget to quote one.
_URL_PASSWORD: Final = re.compile(r"://[^\s/?#:@\"'<>\\]*:([^\s/?#\"'<>\\]+)@")


def find_url_password(text: str) -> Iterator[Span]:
    """The password of ``scheme://user:password@host`` (RFC 3986, 3.2.1)."""
    for match in _URL_PASSWORD.finditer(text):
        yield match.span(1)


_SCHEME: Final = re.compile(r"(bearer|basic)(?:\s{1,8}|%20|\+)([A-Za-z0-9._~+/=%-]{3,})", re.IGNORECASE)
_SCHEME_WORDS: Final = frozenset(
    "auth authentication authorization access token tokens realm scheme schemes format credential credentials error and "
    "are but can cannot for from has header headers was were with the this that not only required missing invalid "
    "expired instead must method methods should type value".split()
)


def find_bearer(text: str) -> Iterator[Span]:
    """The credentials after ``Bearer`` (RFC 6750) or, when they decode to ``user:password``, ``Basic`` (RFC 7617)."""
    for match in _SCHEME.finditer(text):
        value = match.group(2)
        if match.group(1).lower() == "bearer":
            if value.rstrip(".").lower() not in _SCHEME_WORDS:
                yield match.span(2)
        elif _is_basic(value):
            yield match.span(2)


def _is_basic(value: str) -> bool:
    # 64 characters are enough to see the colon or to see that this is a word; all of it would be work without an end.
    head = value.replace("%3D", "=").replace("%3d", "=")[:64].rstrip("=.")
    head += "A" if len(head) % 4 == 1 else ""
    try:
        plain = base64.b64decode(head + "=" * (-len(head) % 4), validate=True)
        return b":" in plain and min(plain) >= 32
    except (binascii.Error, ValueError):
        return False


# Not inside a longer number, and not the decimals of one.
_CARD: Final = re.compile(r"(?<![0-9])(?<![0-9]\.)[0-9](?:[ -]?[0-9]){12,18}")
_DIGITS: Final = re.compile(r"[0-9]+")
# An honest text has few candidates that fail; behind so many, candidates are taken for cards unchecked, so that the
# time stays bounded and nothing slips through.
_CARD_ATTEMPTS: Final = 5_000
_DOUBLED: Final = str.maketrans("0123456789", "0246813579")


def find_card(text: str) -> Iterator[Span]:
    """Payment card numbers: 13 to 19 digits, single spaces or hyphens between, a plausible issuer, Luhn (ISO/IEC 7812)."""
    position = attempts = 0
    while match := _CARD.search(text, position):
        start, end = match.span()
        if _DIGITS.match(text, end):
            # The digits go on. Either one long number, or groups of which the last was cut: look at whole groups only.
            end = _group_start(text, start, end)
        found = 0
        while end - start >= 13:
            digits = text[start:end].replace(" ", "").replace("-", "")
            if len(digits) < 13:
                break
            if _is_issuer(digits):
                attempts += 1
                if attempts > _CARD_ATTEMPTS or _is_luhn(digits):
                    found = end
                    break
            end = _group_start(text, start, end)
        if found:
            yield start, found
            position = found
        else:
            group = _DIGITS.match(text, start)
            position = group.end() if group else start + 1


def _group_start(text: str, start: int, end: int) -> int:
    """Where the group of digits before the last one ends; ``start`` if there is none before."""
    return max(text.rfind(" ", start, end), text.rfind("-", start, end), start)


def is_card(digits: str) -> bool:
    """Whether ASCII digits can be a card number: length, first digits of an issuer, Luhn check digit."""
    return 13 <= len(digits) <= 19 and digits.isascii() and _is_issuer(digits) and _is_luhn(digits)


def _is_issuer(digits: str) -> bool:
    """The ranges that card networks use, with their lengths, of 13 to 19 digits."""
    size = len(digits)
    if digits[0] == "4":
        return size in (13, 16, 19)
    if digits[0] == "6":
        return True
    two = int(digits[:2])
    if two in (34, 37):
        return size == 15
    if two in (30, 36, 38, 39):
        return size in (14, 16, 19)
    if two in (50, 56, 57, 58):
        return True
    return size >= 16 if two in (22, 23, 24, 25, 26, 27, 35) else 51 <= two <= 55 and size == 16


def _is_luhn(digits: str) -> bool:
    # Every second digit from the right is doubled and its own digits added up: 0 2 4 6 8 1 3 5 7 9.
    return (sum(map(int, digits[-1::-2])) + sum(map(int, digits[-2::-2].translate(_DOUBLED)))) % 10 == 0


_TEN_DIGITS: Final = b"0123456789"


def has_card_digits(text: str) -> bool:
    """Whether a card number could stand in a text: 13 digits at all, then 13 with at most one separator between."""
    raw = text.encode("utf-8", "replace")
    return len(raw) - len(raw.translate(None, _TEN_DIGITS)) >= 13 and _CARD.search(text) is not None


# Quicker than five needles: a pattern that starts with a literal.
_GITHUB: Final = re.compile(r"gh[pousr]_")

# In the order they run: what is found first is replaced first.
DETECTORS: Final = (
    Detector("private_key", find_private_key, needles=("PRIVATE KEY",)),
    Detector("jwt", find_jwt, needles=("eyJ",)),
    Detector("aws_key", _pattern(r"(?:AKIA|ASIA)[A-Z0-9]{16}"), needles=("AKIA", "ASIA")),
    Detector(
        "github_token",
        _pattern(r"gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"),
        likely=lambda text: _GITHUB.search(text) is not None or "github_pat_" in text,
    ),
    Detector("slack_token", _pattern(r"xox[a-z]-[A-Za-z0-9-]{10,}"), needles=("xox",)),
    Detector("google_key", _pattern(r"AIza[A-Za-z0-9_-]{35,}"), needles=("AIza",)),
    Detector("stripe_key", _pattern(r"[sr]k_(?:live|test)_[A-Za-z0-9]{10,}"), needles=("k_live_", "k_test_")),
    Detector("model_key", find_model_key, needles=("sk-",)),
    Detector("url_credentials", find_url_password, needles=("@",), also="://"),
    Detector("bearer", find_bearer, lower=("bearer", "basic")),
    Detector("card", find_card, likely=has_card_digits),
)


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
