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
